#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Damage every input format at random and see what the readers say; see tests/robustness."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # trials run in a forked process
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.robustness.mutate_run import main

if __name__ == "__main__":
    sys.exit(main())
