# SPDX-License-Identifier: Apache-2.0
"""nuScenes' detection scores, by the devkit."""
