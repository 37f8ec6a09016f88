"""``python -m monitor`` is ``vqwatch``."""

import sys

from monitor.cli import main

sys.exit(main())
