# SPDX-License-Identifier: Apache-2.0
"""How a world lies on disk: nuScenes' and KITTI's files."""
