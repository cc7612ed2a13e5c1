#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Print a resolved config and where its classes stand; same as `lidistill show_config`."""

import sys

from _door import enter

if __name__ == "__main__":
    sys.exit(enter("show_config"))
