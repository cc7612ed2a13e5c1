#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Gather the points of objects over their tracks; same as `lidistill object_bank`."""

import sys

from _door import enter

if __name__ == "__main__":
    sys.exit(enter("object_bank"))
