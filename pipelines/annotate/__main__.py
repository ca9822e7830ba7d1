"""``python -m pipelines.annotate``."""

import sys

from pipelines.annotate.command import main

sys.exit(main())
