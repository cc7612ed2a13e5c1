#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Turn raw nuScenes or KITTI into info files; same as `lidistill create_data`."""

import sys

from lidistill.cli import main

if __name__ == "__main__":
    sys.exit(main(["create_data", *sys.argv[1:]]))
