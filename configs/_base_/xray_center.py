# SPDX-License-Identifier: Apache-2.0
"""X-Ray's transforms and taps for a CenterPoint of two tasks."""

from lidistill.datasets.object_complete.transforms import ComposeObjectComplete, SplitObjectComplete

both = dict(type=ComposeObjectComplete, bank="object_bank", view="both")
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
