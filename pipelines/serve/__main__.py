"""`python -m pipelines.serve`."""

import sys

from pipelines.serve.command import main

if __name__ == "__main__":
    sys.exit(main())
