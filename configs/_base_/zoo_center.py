# SPDX-License-Identifier: Apache-2.0
"""The same objectives for the world's CenterPoint, whose heatmaps stand in two tasks."""

from mmengine.config import read_base

with read_base():
    from .zoo_anchor import *

for terms in zoo.values():
    for term in terms.values():
        term.update(tap="pts_neck[0]")
heatmaps = dict(
    heatmap1=dict(logits, tap="pts_bbox_head.task_heads.0.heatmap"),
    heatmap2=dict(logits, tap="pts_bbox_head.task_heads.1.heatmap"),
)
zoo["bernoulli"] = {
    name: dict(heatmap, loss=dict(type=bernoulli_kd), weight=4.0)
    for name, heatmap in heatmaps.items()
}
zoo["pivotal"] = {
    name: dict(heatmap, loss=dict(type=pivotal_logits), places=pivotal, weight=15.0)
    for name, heatmap in heatmaps.items()
}
