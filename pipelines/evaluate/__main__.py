"""``python -m pipelines.evaluate``."""

import sys

from pipelines.evaluate import main

sys.exit(main())
