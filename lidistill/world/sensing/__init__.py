# SPDX-License-Identifier: Apache-2.0
"""What sensors see of a scene: rays, LiDAR scans, camera images, visibility."""
