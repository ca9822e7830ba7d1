"""`python -m pipelines.edit`."""

import sys

from pipelines.edit.command import main

if __name__ == "__main__":
    sys.exit(main())
