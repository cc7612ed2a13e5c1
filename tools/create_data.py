#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Turn raw nuScenes or KITTI into info files; same as `lidistill create_data`."""

import sys

from _door import enter

if __name__ == "__main__":
    sys.exit(enter("create_data"))
