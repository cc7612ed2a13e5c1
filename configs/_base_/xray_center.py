# SPDX-License-Identifier: Apache-2.0
"""X-Ray's transforms, taps and weights for a CenterPoint of two tasks."""

from lidistill.datasets.object_complete.transforms import ComposeObjectComplete, SplitObjectComplete
from lidistill.methods import XRay

complete = dict(type=ComposeObjectComplete, bank="object_bank")  # of a teacher's own config
both = dict(complete, view="both")
split = dict(type=SplitObjectComplete)
heads = [
    dict(
        classes=f"pts_bbox_head.task_heads.{task}.heatmap",
        boxes=[
            f"pts_bbox_head.task_heads.{task}.{part}" for part in ("reg", "height", "dim", "rot")
        ],
    )
    for task in range(2)
]
xray = dict(
    type=XRay,
    feature="pts_neck[0]",
    heads=heads,
    weights=dict(feature=1.0, classes=1.0, boxes=0.25),
)
