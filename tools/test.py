#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint: `tools/test.py CONFIG CHECKPOINT`; same as `lidistill test`."""

import sys

from _door import enter

if __name__ == "__main__":
    sys.exit(enter("test"))
