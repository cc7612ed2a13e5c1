# SPDX-License-Identifier: Apache-2.0
"""The tools that write, each as a command on a small input, and how their results are compared."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from tests.converters.fake_kitti import write_fake_kitti
from tests.converters.fake_nuscenes import write_fake_nuscenes
from tests.datasets.mini import make_mini
from tests.export import minkowski
from tests.export.samples import SIZES, checkpoint, shake

ROOT = Path(__file__).resolve().parents[2]
PRETRAIN = ROOT / "configs" / "slidr" / "demo_pretrain.py"
TOOLS = {
    "world": "world --layout kitti --preset tiny --out {out}",
    "nuscenes": "create_data nuscenes --root {data}/nuscenes --out-dir {out} --jobs 2",
    "kitti": "create_data kitti --root {data}/kitti --out-dir {out} --jobs 2",
    "superpixels": "superpixels {data}/mini/infos.pkl --data-root {data}/mini --out {out} "
    "--segments 20 --jobs 2",
    "cache_teacher": "cache_teacher {pretrain} --infos {data}/mini/infos.pkl --data-root "
    "{data}/mini --checkpoint {data}/teacher.pth --workers 0 --size 48 80 --out {out}",
    "export": "export {data}/iter_3.pth {out}/theirs.pth --to slidr",
}
"""``{out}`` is the folder that a tool fills."""

LONG = os.environ.get("LIDISTILL_LONG", "0") == "1"
"""Whether tests run that would take CI too long."""


def make_material(data: Path) -> Path:
    """Everything that the tools read; returns ``data``."""
    from lidistill.distill.teacher import Teacher
    from lidistill.engine.configs.read import load_config
    from lidistill.models.backbones.sparse_unet import SparseUNet

    scenes = [f"scene-{k}" for k in range(4)]
    root = write_fake_nuscenes(data / "nuscenes", scenes, "v1.0-fake")
    splits = {"fake_train": scenes[:3], "fake_val": scenes[3:]}
    (root / "v1.0-fake" / "splits.json").write_text(json.dumps(splits))
    write_fake_kitti(data / "kitti")
    make_mini(data / "mini")
    torch.manual_seed(0)
    teacher = load_config(PRETRAIN).model.teacher
    network = Teacher(teacher["model"], taps={"map": ""}).model
    torch.save(network.state_dict(), data / "teacher.pth")
    student = shake(SparseUNet(**SIZES, out_channels=0))
    head = nn.Linear(minkowski.PLANES[-1], minkowski.OUT)
    checkpoint(data / "iter_3.pth", student, point=head, image=nn.Conv2d(2, 3, 1))
    return data


def words_of(tool: str, data: Path, out: Path) -> list[str]:
    """What stands after ``lidistill``."""
    return TOOLS[tool].format(data=data, out=out, pretrain=PRETRAIN).split()


def command(*words: str) -> list[str]:
    """The whole command line."""
    return [sys.executable, "-m", "lidistill.cli", *words]


def environment() -> dict[str, str]:
    """Variables of a command that runs this checkout, on one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def digest(folder: Path) -> dict[str, str]:
    """Checksum of every file below a folder that is part of a result."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def leftovers(folder: Path) -> list[str]:
    """Files that a killed writer left below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp*")]
