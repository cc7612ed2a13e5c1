# SPDX-License-Identifier: Apache-2.0
"""One file a paper. Importing this package registers every method."""

from lidistill.methods.slidr import SLidR

__all__ = ["SLidR"]
