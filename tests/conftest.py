"""Nothing a test does may leave its folder or this machine."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
