"""Run ``decloud-trainer`` as ``python -m decloud_pl.cli``."""

import sys

from decloud_pl.cli import main

sys.exit(main())
