# SPDX-License-Identifier: Apache-2.0
"""PointDistiller's local distillation, all forms, against the authors' own functions."""

import json

import numpy as np
import pytest
import torch

from lidistill.losses.local_graph import (
    channel_maximum,
    edge_rows,
    local_graph_loss,
    release_weights,
    top_places,
)
from lidistill.ops.graphs.local_graph import feature_graph
from tests.conftest import parity_files

SIDES = ("teacher", "student")


def as_rows(array, form):
    """Places of all samples as rows (n, C), and the sample of each."""
    if form == "voxel":
        return array, torch.zeros(len(array), dtype=torch.long)
    batch, channels = array.shape[:2]
    rows = array.reshape(batch, channels, -1).transpose(1, 2).reshape(-1, channels)
    return rows, torch.arange(batch).repeat_interleave(len(rows) // batch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", parity_files("pointdistiller", "pd_*.npz"))
def test_local_distillation(path, dtype):
    data = np.load(path)
    meta = json.loads(str(data["meta"]))
    form = meta["form"]
    leaves = {
        name: torch.from_numpy(data[name]).to(dtype).requires_grad_(name != "teacher")
        for name in data.files
        if name in SIDES or name.endswith(("_adapt_weight", "_bn_weight", "_bn_bias"))
        if not name.startswith("grad_")
    }
    teacher, sample = as_rows(leaves["teacher"], form)
    student, _ = as_rows(leaves["student"], form)
    batch = len(data["query_index"])
    importance = (
        torch.from_numpy(data["importance"]).to(dtype)
        if form == "voxel"
        else channel_maximum(teacher)
    )
    queries = top_places(importance, sample, meta["num_query"])
    graph = feature_graph(teacher, sample, queries, meta["k"])
    places = len(teacher) // batch
    np.testing.assert_array_equal(queries.reshape(batch, -1) % places, data["query_index"])
    np.testing.assert_array_equal(
        np.sort(graph.index.numpy() % places, -1).reshape(data["knn_index"].shape),
        data["knn_index"],
    )

    sides = {}
    for side, rows in zip(SIDES, (teacher, student), strict=True):
        name = f"{side}_adapt"
        parts = [leaves[f"{name}_{part}"] for part in ("weight", "bn_weight", "bn_bias")]
        sides[side] = edge_rows(rows, graph, *parts, residual=meta["fuse"] == "residual")
        mean, variance = sides[side].mean, sides[side].variance
        unbiased = variance * graph.num_edges / (graph.num_edges - 1)
        np.testing.assert_allclose(0.1 * mean, data[f"{name}_bn_running_mean_after"], atol=1e-6)
        np.testing.assert_allclose(
            0.9 + 0.1 * unbiased, data[f"{name}_bn_running_var_after"], rtol=1e-5
        )
    if meta["reweight"]:
        nuscenes = "nus" in path.name
        weights = release_weights(
            "bev_nuscenes" if nuscenes else form,
            importance[queries],
            batch,
            meta.get("temperature", 0.01),
        )
    loss = local_graph_loss(
        sides["student"],
        sides["teacher"],
        graph,
        weights if meta["reweight"] else None,
        meta["pool"],
        "mean" if meta["reweight"] else "l2",
    )
    np.testing.assert_allclose(loss.item(), float(data["loss"]), rtol=1e-5)

    loss.backward()
    for name in data.files:
        if name.startswith("grad_"):
            expected = data[name]
            np.testing.assert_allclose(
                leaves[name.removeprefix("grad_")].grad,
                expected,
                atol=1e-4 * np.abs(expected).max(),
                err_msg=name,
            )
