# SPDX-License-Identifier: Apache-2.0
"""Trials of what ``lidistill view`` reads: info files, clouds and banks."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from lidistill.converters.infos import write_infos
from lidistill.converters.object_bank.build import BankReader, build_bank
from lidistill.converters.object_bank.options import BankOptions
from lidistill.visualization.objects.recording import record_scene
from lidistill.visualization.objects.sheet import write_sheets
from tests.converters.object_bank.scenes import ListSource, make_scene
from tests.robustness.mutate_form import FREE, OPTIONAL, RAW, WORDS, Format, fresh, why
from tests.robustness.mutate_kinds import ANY, JSON, PICKLE, points
from tests.robustness.mutate_tracks import npz

SHOWN = {"": "a page shows what its files say"}


def views(root: Path) -> None:
    tracks = make_scene(root / "points", keys=3, sweeps=False, ground=900)
    build_bank(ListSource(tracks), root / "bank", BankOptions(mirror=True))
    frames = [
        {
            "token": frame.token,
            "scene_name": "scene",
            "timestamp": frame.seconds,
            "lidar_points": {"lidar_path": frame.path.name, "num_pts_feats": 5},
            "images": {},
            "instances": [{"bbox_3d": [9.0, 2, -1, 4, 2, 1.5, 0.1], "bbox_label_3d": 0}],
        }
        for frame in tracks.frames
    ]
    samples = root / "samples/LIDAR_TOP"
    samples.parent.mkdir()
    (root / "points").rename(samples)
    metainfo = {"dataset": "nuscenes", "version": "v1.0-mini", "info_version": "1.1",
                "categories": {"car": 0}}  # fmt: skip
    write_infos(root / "infos.pkl", metainfo, frames, {}, str(root))


def read_sheets(root: Path) -> Any:
    out = fresh(root)
    bank = BankReader(root / "bank")
    pages = write_sheets(bank, root / "infos.pkl", root, out, frames=3, objects=1)
    return {path.name: path.read_text() for path in pages}


class _Heard:
    """Stands for rerun: keeps what was logged."""

    ViewCoordinates = SimpleNamespace(RIGHT_HAND_Z_UP="up")

    def __init__(self, *_args: Any, **_options: Any) -> None:
        self.logged: list[Any] = []
        self.blueprint = mock.MagicMock()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: [name, *args, *options.values()]

    def log(self, path: str, what: Any, **_options: Any) -> None:
        self.logged.append([path, what])

    def save(self, path: str) -> None:
        Path(path).write_bytes(b"RRF2")


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def read_recording(root: Path) -> Any:
    heard = _Heard()
    heard.RecordingStream = lambda *_args, **_options: heard
    with mock.patch.dict(sys.modules, rerun=heard):
        bank = BankReader(root / "bank")
        record_scene(root / "infos.pkl", root, fresh(root) / "scene.rrd", None, bank)
    return _plain(heard.logged)


_KINDS = (
    why(RAW, "flipped bits", "absurd value")
    | why(WORDS, "wrong type")
    | why(OPTIONAL, "missing key", "null", "entry twice", "list for a record")
)
VIEWS = (
    Format("view.infos.pkl", views, "infos.pkl", read_sheets, ANY | PICKLE, _KINDS, SHOWN),
    Format(
        "view.points",
        views,
        "samples/LIDAR_TOP/*.bin",
        read_sheets,
        ANY | points(5),
        why(RAW, "flipped bits", "cut", "zeros", "longer", "NaN", "absurd value"),
        SHOWN,
    ),
    Format(
        "view.bank.npz",
        views,
        "bank/scene.npz",
        read_sheets,
        ANY | npz(),
        why(RAW, "absurd value", "NaN", "wrong type") | why(OPTIONAL, "wrong shape"),
        SHOWN,
    ),
    Format(
        "view.bank.manifest.json",
        views,
        "bank/manifest.json",
        read_sheets,
        ANY | JSON,
        why(WORDS, *JSON, "flipped bits"),
        FREE,
    ),
    Format("recording.infos.pkl", views, "infos.pkl", read_recording, ANY | PICKLE, _KINDS, SHOWN),
)
