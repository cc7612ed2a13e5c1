# SPDX-License-Identifier: Apache-2.0
"""KITTI's object benchmark, or any data set in its layout, to info files."""
