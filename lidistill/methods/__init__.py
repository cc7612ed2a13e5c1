# SPDX-License-Identifier: Apache-2.0
"""One file a paper. Importing this package registers every method."""

from lidistill.methods.feature_kd import FeatureKD
from lidistill.methods.monotakd import MonoTAKD
from lidistill.methods.pointdistiller import PointDistiller
from lidistill.methods.ppkt import PPKT
from lidistill.methods.scalr import ScaLR
from lidistill.methods.slidr import SLidR
from lidistill.methods.stslidr import STSLidR
from lidistill.methods.unidistill import UniDistill
from lidistill.methods.xray import XRay

__all__ = [
    "PPKT",
    "FeatureKD",
    "MonoTAKD",
    "PointDistiller",
    "SLidR",
    "STSLidR",
    "ScaLR",
    "UniDistill",
    "XRay",
]
