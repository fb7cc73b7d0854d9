"""Run the packages' tests from their source folders, without installing them."""

import os
import sys
from pathlib import Path

for package in sorted(Path(__file__).parent.glob("dit-toolkit-plugin-*")):
    sys.path.insert(0, str(package))
os.environ.setdefault("OMP_NUM_THREADS", "1")
