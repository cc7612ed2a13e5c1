# SPDX-License-Identifier: Apache-2.0
"""A frozen image teacher's maps, kept on disk: the teacher runs once an image, not once an epoch.

What is kept is the map of the *whole* image at one input size. Two ways to use it:

- ``exact``: for images of the batch that are the whole image at that size (a plain resize), the map
  is the teacher's own output but for the rounding to half precision. Cropped or mirrored images run
  through the teacher. Maps that are missing are made on the way.
- ``replay``: crops, mirrors and resizes are replayed on the map, by reading it bilinearly where the
  augmented image's cells lie. This is *not* what the teacher would give on the augmented image: a
  convolution or attention sees other surroundings, another scale and, mirrored, other edges. It is
  exact only where the augmentation is the plain resize.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidistill import io
from lidistill.distill.caches.store import TOOL, FeatureStore
from lidistill.distill.outputs import FeatureMap
from lidistill.distill.taps import TappedModel

MODES = ("exact", "replay")


class TeacherCache:
    """Stands between a :class:`lidistill.distill.teacher.Teacher` and its forward pass.

    Args:
        folder: Of the store; see :class:`lidistill.distill.caches.store.FeatureStore`.
        size: (H, W) of the whole images that the teacher sees.
        mode: ``exact`` or ``replay``, see the module.
        budget_gib: Disk space that ``exact`` may fill.
        missing: With ``replay``, for images without a map: ``error``, or ``live`` to run the
            teacher on the augmented image.
        inputs: JSON values: how the images are normalised, see
            :func:`lidistill.engine.configs.caches.note_inputs`; None says nothing of it.
        files: What a store that is made remembers of its images, see
            :func:`lidistill.distill.caches.files.glances`.
    """

    def __init__(
        self,
        folder: str | Path,
        size: tuple[int, int],
        mode: str = "replay",
        budget_gib: float = 100.0,
        missing: str = "error",
        inputs: Any = None,
        files: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        if mode not in MODES or missing not in ("error", "live"):
            raise ValueError(
                f"mode: expected one of {', '.join(MODES)}, got {mode!r}; missing: expected error "
                f"or live, got {missing!r}"
            )
        self.folder, self.size, self.mode = Path(folder), (int(size[0]), int(size[1])), mode
        self.budget_gib, self.missing, self.inputs = budget_gib, missing, inputs
        self.files = files
        self.store: FeatureStore | None = None

    def open(self, teacher: TappedModel, create: bool = True) -> FeatureStore:
        """The store of a teacher; checked once.

        Raises:
            DataError: It holds maps of another teacher or size, or there is none.
            ValueError: The teacher takes more than images.
        """
        if self.store is None:
            if tuple(teacher.inputs or ()) != ("images",):
                raise ValueError(
                    f"only teachers of images alone can be cached, inputs=('images',); got "
                    f"inputs={teacher.inputs}"
                )
            parameters = parameters_of(teacher, self.size, self.inputs)
            self.store = FeatureStore(self.folder, parameters, self.budget_gib, create, self.files)
        return self.store

    def outputs(self, teacher: TappedModel, batch: Any) -> Any:
        """Tapped outputs on a batch, from the store where it has them.

        Args:
            teacher: The one this cache belongs to.
            batch: A :class:`lidistill.datasets.frame.PairBatch`.
        """
        if getattr(batch, "image_tokens", None) is None:
            raise ValueError(
                "a teacher cache needs a batch that names its images; collate_pairs does, your "
                "own collate function must fill image_tokens, image_from_file and file_size"
            )
        store = self.open(teacher, create=self.mode == "exact")
        exact = is_whole(batch, self.size)
        usable = exact if self.mode == "exact" else torch.ones_like(exact)
        taps = list(teacher.taps.taps)
        kept = self._read(store, batch.image_tokens, usable.tolist(), taps)
        live_rows = [row for row, maps in enumerate(kept) if maps is None]
        if live_rows and self.mode == "replay" and self.missing == "error":
            self._refuse([batch.image_tokens[row] for row in live_rows])
        live: dict[str, Tensor] = {}
        if live_rows:
            images = batch.images[torch.tensor(live_rows, device=batch.images.device)]
            live = live_maps(teacher, images)
            if self.mode == "exact":
                for place, row in enumerate(live_rows):
                    if usable[row]:
                        keep(store, batch.image_tokens[row], live, place)
        outputs = teacher.taps.outputs_type()
        for tap in taps:
            setattr(outputs, tap, FeatureMap(self._join(tap, kept, live, live_rows, batch)))
        return outputs

    def _read(
        self, store: FeatureStore, tokens: Sequence[str], usable: Sequence[bool], taps: list[str]
    ) -> list[dict[str, np.ndarray] | None]:
        """Maps by tap of each image, None where one is missing."""

        def one(row: int) -> dict[str, np.ndarray] | None:
            found = {}
            for tap in taps if usable[row] else ():
                values = store.read(tokens[row], tap)
                if values is not None:
                    found[tap] = values
            return found if len(found) == len(taps) else None

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, range(len(tokens))))

    def _join(
        self,
        tap: str,
        kept: Sequence[Any],
        live: dict[str, Tensor],
        live_rows: list[int],
        batch: Any,
    ) -> Tensor:
        """(B, C, h, w) of kept and live maps, in the batch's order."""
        device = batch.images.device
        rows = [row for row, maps in enumerate(kept) if maps is not None]
        if not rows:
            return live[tap]
        stack = torch.from_numpy(np.stack([kept[row][tap] for row in rows])).to(device).float()
        if self.mode == "replay":
            index = torch.tensor(rows, device=device)
            stack = replay(
                stack,
                batch.image_from_file[index],
                batch.file_size[index],
                self.size,
                tuple(batch.images.shape[2:]),
            )
        if not live_rows:
            return stack
        other = live[tap].float()
        if other.shape[2:] != stack.shape[2:]:
            other = F.interpolate(other, stack.shape[2:], mode="bilinear", align_corners=True)
        joined = stack.new_empty(len(kept), *stack.shape[1:])
        joined[torch.tensor(rows, device=device)] = stack
        joined[torch.tensor(live_rows, device=device)] = other
        return joined

    def _refuse(self, tokens: Sequence[str]) -> None:
        raise io.DataError(
            f"{len(tokens)} images of this batch have no map in the teacher cache.",
            path=self.folder,
            token=tokens[0],
            fix=f"run: {TOOL} CONFIG (it fills the gaps), or set missing='live' in the config.",
        )


def live_maps(teacher: TappedModel, images: Tensor) -> dict[str, Tensor]:
    """Maps (B, C, h, w) of every tap, by a forward pass.

    Raises:
        ValueError: The images are placeholders, or a tap gives no map.
    """
    if bool(images.isnan().any()):
        raise ValueError(
            "the batch holds no images, PackPairs(placeholders=True), but its teacher must see "
            "some; load images, or fill the cache first with " + TOOL
        )
    outputs = teacher.run(SimpleNamespace(images=images))
    maps = {tap: getattr(outputs, tap) for tap in teacher.taps.taps}
    wrong = [tap for tap, value in maps.items() if not isinstance(value, FeatureMap)]
    if wrong:
        raise ValueError(f"taps {wrong} give no map (B, C, h, w); only maps can be cached")
    return {tap: value.features for tap, value in maps.items()}


def keep(store: FeatureStore, token: str, maps: dict[str, Tensor], row: int) -> bool:
    """Write one image's maps; False where nothing was written."""
    written = [
        store.write(token, tap, value[row].float().cpu().numpy()) for tap, value in maps.items()
    ]
    return any(written)


def parameters_of(
    teacher: TappedModel, size: tuple[int, int], inputs: Any = None
) -> dict[str, Any]:
    """What a cache must agree on with its reader; of inputs that are not known, on nothing."""
    known = {} if inputs is None else {"inputs": inputs}
    return {
        **known,
        "teacher": fingerprint(teacher.model),
        "taps": {name: str(tap) for name, tap in teacher.taps.taps.items()},
        "autocast": teacher.autocast,
        "size": list(size),
    }


def fingerprint(model: nn.Module) -> str:
    """Hash of a network: its modules with their numbers, and its weights.

    Weights alone would not do: a dilated network has those of the plain one.
    """
    digest = hashlib.sha256(repr(model).encode())
    for name, module in model.named_modules():
        numbers = {
            key: value
            for key, value in sorted(vars(module).items())
            if isinstance(value, bool | int | float) and key != "training" and key[0] != "_"
        }
        digest.update(f"{name}{numbers}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(values.shape)}{values.dtype}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def is_whole(batch: Any, size: tuple[int, int], tolerance: float = 1e-3) -> Tensor:
    """Which images of a batch are the whole file at that size: no crop, no mirror.

    Args:
        batch: A :class:`lidistill.datasets.frame.PairBatch`.
        size: (H, W).
        tolerance: Pixels.

    Returns:
        (B,) bool, on the CPU.
    """
    if tuple(batch.images.shape[2:]) != size:
        return torch.zeros(len(batch.images), dtype=torch.bool)
    gap = batch.image_from_file.double() - whole_from_file(batch.file_size, size)  # (B, 3, 3)
    rows, columns = batch.file_size.double().T
    zero, one = torch.zeros_like(rows), torch.ones_like(rows)
    corners = torch.stack(
        [torch.stack([zero, columns]), torch.stack([zero, rows]), torch.stack([one, one])]
    )  # (3, 2, B): the first pixel and the last
    moved = torch.einsum("bij,jkb->bik", gap, corners)
    return (moved.abs().amax((1, 2)) < tolerance).cpu()


def whole_from_file(file_size: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3, 3) plain resize (`crop_resize_affine`) of files (B, 2), rows and columns, to size."""
    scale = torch.tensor(size, device=file_size.device).double() / file_size.double()  # (B, 2)
    affine = torch.zeros(len(file_size), 3, 3, dtype=torch.float64, device=file_size.device)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, 2, 2] = scale[:, 1], scale[:, 0], 1.0
    affine[:, 0, 2], affine[:, 1, 2] = 0.5 * scale[:, 1] - 0.5, 0.5 * scale[:, 0] - 0.5
    return affine


def replay(
    maps: Tensor,
    image_from_file: Tensor,
    file_size: Tensor,
    size: tuple[int, int],
    image_hw: tuple[int, ...],
    cells: tuple[int, int] | None = None,
) -> Tensor:
    """Maps of whole images, read bilinearly where the cells of the augmented images lie.

    Cells and pixels are tied corner to corner (``align_corners=True``), as everywhere in
    image-to-LiDAR methods here.

    Args:
        maps: (B, C, h, w) of the whole images.
        image_from_file: (B, 3, 3) pixel (u, v, 1) of the augmented image from that of the file.
        file_size: (B, 2) rows and columns of the files.
        size: (H, W) of the whole images that gave the maps.
        image_hw: (H', W') of the augmented images.
        cells: (h', w') of the result; None takes (h, w), so that nothing of a crop is lost.

    Returns:
        (B, C, h', w').
    """
    rows, columns = cells or (maps.shape[2], maps.shape[3])
    down = torch.linspace(0, image_hw[0] - 1, rows, dtype=torch.float64, device=maps.device)
    right = torch.linspace(0, image_hw[1] - 1, columns, dtype=torch.float64, device=maps.device)
    v, u = torch.meshgrid(down, right, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1)  # (3, h' * w')
    affine = whole_from_file(file_size, size) @ torch.linalg.inv(image_from_file.double())
    whole = (affine @ pixels)[:, :2]  # (B, 2, h' * w') u, v
    last = torch.tensor([max(size[1] - 1, 1), max(size[0] - 1, 1)], device=maps.device).double()
    grid = 2.0 * whole / last[:, None] - 1.0
    grid = grid.transpose(1, 2).reshape(len(maps), rows, columns, 2).to(maps.dtype)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)
