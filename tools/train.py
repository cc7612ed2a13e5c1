#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Train a model: `tools/train.py CONFIG`; same as `lidistill train`."""

import sys

from _door import enter

if __name__ == "__main__":
    sys.exit(enter("train"))
