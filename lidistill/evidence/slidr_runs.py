# SPDX-License-Identifier: Apache-2.0
"""Steps that `lidistill demo` and `lidistill evidence slidr` share: world, training, probes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lidistill import compat
from lidistill.engine.configs.read import load_config
from lidistill.engine.test import drop_teacher_checkpoints
from lidistill.evaluation.probes.result import ProbeResult, ProbeSettings
from lidistill.io import exclusive
from lidistill.parallel import available_cpus

SUPERPIXELS = "superpixels/slic_150"  # below the data, as every config has it
SUPERPIXEL_SIGMA = 1.0  # the paper's 3 pixels at 1600 x 900, on images a quarter as wide


@dataclass(frozen=True)
class WorldData:
    """An embedded world on disk, converted and with superpixels.

    Attributes:
        root: folder in nuScenes' layout.
        name: words for tables, e.g. ``embedded world demo, seed 0, nuScenes layout``.
        commands: what was run, one shell command a line.
    """

    root: Path
    name: str
    commands: tuple[str, ...]


def prepare_world(
    out: Path,
    preset: str,
    seed: int,
    say: Callable[[str], None] = lambda _line: None,
) -> WorldData:
    """Generate the world, convert it, make superpixels; what exists already is not made again."""
    with exclusive(out, "makes a world"):
        return _prepare_alone(out, preset, seed, say)


def _prepare_alone(out: Path, preset: str, seed: int, say: Callable[[str], None]) -> WorldData:
    from lidistill.converters.nuscenes.convert import convert_nuscenes
    from lidistill.converters.superpixels.make import make_superpixels
    from lidistill.world import generate

    root, jobs = out / "nuscenes", available_cpus()
    commands = (
        f"lidistill world --layout nuscenes --preset {preset} --seed {seed} --out {out}",
        f"lidistill create_data nuscenes --root {root}",
        f"lidistill superpixels {root}/lidistill_infos_train.pkl --data-root {root} "
        f"--out {root}/{SUPERPIXELS} --sigma {SUPERPIXEL_SIGMA:g}",
    )
    say(commands[0])
    generate(out, layout="nuscenes", preset=preset, seed=seed, jobs=jobs)
    say(commands[1])
    convert_nuscenes(root, version_of(root), jobs=jobs)
    say(commands[2])
    make_superpixels(
        root / "lidistill_infos_train.pkl",
        root,
        root / SUPERPIXELS,
        sigma=SUPERPIXEL_SIGMA,
        jobs=jobs,
    )
    name = f"embedded world {preset}, seed {seed}, nuScenes layout"
    return WorldData(root, name, commands)


def version_of(root: Path) -> str:
    """Version of the only tables in a data root of nuScenes' layout."""
    return next(path.name for path in sorted(root.glob("v1.0-*")) if path.is_dir())


def build_model(config: Path, checkpoint: Path | None, seed: int) -> Any:
    """The Distiller of a config; its student with random weights of ``seed``, or a checkpoint's.

    The random weights are those that a training with this seed starts from. It is on the GPU where
    there is one.
    """
    return student_of(load_config(config), checkpoint, seed)


def student_of(cfg: Any, checkpoint: Path | None, seed: int) -> Any:
    """As :func:`build_model`, from a config in memory, which is left as it is."""
    from mmengine.device import get_device
    from mmengine.runner import set_random_seed

    from lidistill.distill.weights import load_weights
    from lidistill.registry import MODELS

    compat.apply()
    cfg = copy.deepcopy(cfg)
    drop_teacher_checkpoints(cfg)
    set_random_seed(seed)
    model = MODELS.build(cfg.model)
    if checkpoint is not None:
        load_weights(model.student, checkpoint)
    return model.to(get_device()).eval()


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model with weights is."""
    return next(model.parameters()).device


def probe_batches(
    config: Path, data_root: Path | str, split: str, device: torch.device | str = "cpu"
) -> Any:
    """Batches of the config's ``probe_train_dataloader`` or ``test_dataloader`` on a device."""
    from mmengine.runner import Runner

    from lidistill.engine.loops.probing import Batches

    cfg = load_config(config, data_root=str(data_root))
    name = {"train": "probe_train_dataloader", "val": "test_dataloader"}[split]
    return Batches(Runner.build_dataloader(cfg[name], seed=0), device)


def batches_on(loader: Any, device: torch.device | str) -> Any:
    """Batches of a data loader's config on a device."""
    from mmengine.runner import Runner

    from lidistill.engine.loops.probing import Batches

    return Batches(Runner.build_dataloader(loader, seed=0), device)


def probe_checkpoint(
    config: Path,
    data_root: Path | str,
    checkpoint: Path | None,
    seed: int,
    settings: ProbeSettings | None = None,
) -> ProbeResult:
    """Linear probe of a checkpoint, or of the random initial weights where it is None."""
    from lidistill.engine.loops.probing import probe_student

    model = build_model(config, checkpoint, seed)
    with torch.no_grad():
        return probe_student(
            model,
            probe_batches(config, data_root, "train", device_of(model)),
            probe_batches(config, data_root, "val", device_of(model)),
            settings,
        )


def probe_inputs(
    config: Path, data_root: Path | str, seed: int, settings: ProbeSettings | None = None
) -> ProbeResult:
    """MLP on the raw inputs of the same frames."""
    from dataclasses import replace

    from lidistill.engine.loops.probing import probe_raw_inputs

    return probe_raw_inputs(
        probe_batches(config, data_root, "train"),
        probe_batches(config, data_root, "val"),
        replace(settings or ProbeSettings(), seed=seed),
    )
