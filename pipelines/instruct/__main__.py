"""``python -m pipelines.instruct``."""

import sys

from pipelines.instruct.command import main

sys.exit(main())
