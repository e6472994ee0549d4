"""``python -m decloud_pl.cli``: ``decloud-trainer`` without the script on the path."""

import sys

from decloud_pl.cli import main

sys.exit(main())
