# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ``mmcv._ext``, the compiled half of mmcv."""
