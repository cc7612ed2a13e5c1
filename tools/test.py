#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint: `tools/test.py CONFIG CHECKPOINT`; same as `lidistill test`."""

import sys

from lidistill.cli import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
