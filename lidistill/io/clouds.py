# SPDX-License-Identifier: Apache-2.0
"""Whether bytes can be a point cloud of so many columns: a file's size alone cannot tell.

Columns differ in how large their values are: x and y are tens of metres, z a few, an intensity lies
in 0..1 or 0..255. Read with the right width, a column keeps its kind; with a wrong one, all columns
hold a mixture. So the width is where the columns' means explain most of the values' variance.
On KITTI, SemanticKITTI and the embedded world the true width explains 0.38 to 0.87 of it, another
(that is no multiple) at most a fifth of that.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FAR_METRES = 1000.0
ABSURD_METRES = 1e6  # not even a broken sensor sees so far
NO_SQUARE = 1e19  # float32 has no square of it: losses and norms would overflow
FEW = 0.01  # share of points that may lie beyond: reflections, dust on the lens
WIDTHS = range(3, 9)
BLOCKS = 8  # pieces of a file that are looked at for its width
EVIDENCE = 0.04  # below, no width explains the values: no verdict
CLEARLY = 0.75  # the wished width must explain so much of what the best one does
FEW_POINTS = 64  # below, chance orders them
SORTED = 0.25  # the parts of a transposed array explain as much as columns do
SAME = 0.97  # a width that explains as much as its multiple is the true one

_NPY = (
    "python -c \"import sys, numpy; numpy.load(sys.argv[1]).astype('<f4').tofile(sys.argv[2])\" "
    "OLD NEW"
)
_OPEN3D = (
    'python -c "import sys, numpy, open3d; p = open3d.t.io.read_point_cloud(sys.argv[1]).point; '
    "numpy.hstack([p['positions'].numpy(), p['intensity'].numpy()]).astype('<f4')"
    '.tofile(sys.argv[2])" OLD.pcd NEW (OLD must end in .pcd or .ply)'
)
_HEADERS = (
    (b"\x93NUMPY", "a numpy file (.npy) with its header", _NPY),
    (b"# .PCD", "a PCD file with its header", _OPEN3D),
    (b"VERSION", "a PCD file with its header", _OPEN3D),
    (b"ply\n", "a PLY file with its header", _OPEN3D),
    (b"ply\r\n", "a PLY file with its header", _OPEN3D),
    (b"LASF", "a LAS file with its header", "read it with laspy, then numpy's tofile."),
    (b"PK\x03\x04", "a zip or npz archive", "unpack it."),
    (b"\x1f\x8b", "a gzip archive", "unpack it: gunzip < OLD > NEW"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
)


def header_fault(head: bytes) -> tuple[str, str] | None:
    """What the first 256 bytes say that a file is, with the command to convert it; or None."""
    for begin, what, command in _HEADERS:
        if head.startswith(begin):
            fix = command if command.endswith(".") else f"convert it: {command}"
            return what, fix
    printable = b"0123456789+-.,;eE \t\r\n"
    if len(head) > 16 and not head.strip(printable):
        return "numbers as text", (
            "convert it: python -c \"import sys, numpy; numpy.loadtxt(sys.argv[1]).astype('<f4')"
            '.tofile(sys.argv[2])" OLD NEW'
        )
    return None


def cloud_fault(points: NDArray[np.float32]) -> str | None:
    """What tells that values (N, F) are no cloud of F columns, or None.

    NaN and infinite values are not looked at.
    """
    near = points.max(initial=0.0) < FAR_METRES and points.min(initial=0.0) > -FAR_METRES
    if not near:  # perhaps another column, or a NaN
        xyz = np.abs(points[:, :3])
        far = int(((xyz >= FAR_METRES) & np.isfinite(xyz)).any(axis=1).sum())
        if far > max(3, FEW * len(points)):
            return (
                f"{far} of {len(points)} points lie a kilometre or more away"
                f"{_likely(points) or ': not metres, or not seen from the sensor'}"
            )
        absurd = (xyz >= ABSURD_METRES) & np.isfinite(xyz)
        size = np.abs(points)
        wild = absurd.any() or bool(((size >= NO_SQUARE) & np.isfinite(size)).any())
        if wild:
            return f"it holds values like {float(size[np.isfinite(size)].max()):g}"
    block = _blocks(points)
    if block is not None:
        small = (block != 0) & (np.abs(block) < 1e-20)  # NaN compares as False
        if small.mean() > 0.1 or not block[:, ::2].any():
            return f"most values are no coordinates{_likely(points) or ''}"
        width = likely_width(block, points.shape[1])
        if width != points.shape[1]:
            return f"its values repeat with a period of {width}: likely {width} values per point"
    if _column_by_column(points):
        return "its values come column by column, first every x: likely a transposed array"
    return None


def likely_width(block: NDArray[np.floating], width: int) -> int:
    """The number of columns that a run of values shows.

    Args:
        block: (R, L) values, L a multiple of every width.
        width: The wished one; given back unless another is clearly better.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.log1p(np.abs(np.nan_to_num(block, posinf=0, neginf=0))).clip(0, 12)
    total = float(size.var())
    if total == 0:
        return width
    run = size.mean(axis=0) - size.mean()  # (L,) mean of each place
    share = {
        w: float((run.reshape(-1, w).mean(axis=0) ** 2).mean()) / total for w in {*WIDTHS, width}
    }
    best = max(share.values())
    if best < EVIDENCE:
        return width
    likely = min(w for w, value in share.items() if value >= SAME * best)
    clear = share[width] < CLEARLY * best or (width % likely == 0 and share[likely] > 0)
    return likely if clear else width


def _column_by_column(points: NDArray[np.float32]) -> bool:
    """Whether parts of the file, and not columns, tell large values from small ones."""
    if len(points) < FEW_POINTS:
        return False
    some = points[:: max(1, len(points) // 512)]
    if _explained(some) >= EVIDENCE:  # as of every cloud of a sensor
        return False
    parts = points.reshape(-1).reshape(points.shape[1], -1)
    return _explained(parts.T) > SORTED


def _explained(rows: NDArray[np.floating]) -> float:
    """Share of the values' variance that the means of columns explain."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.log1p(np.abs(np.nan_to_num(rows, posinf=0, neginf=0))).clip(0, 12)
    total = float(size.var())
    return float(size.mean(axis=0).var()) / total if total else 1.0


def _blocks(points: NDArray[np.floating]) -> NDArray[np.floating] | None:
    """(R, L) pieces of the file, spread evenly; None for a few points."""
    values, length = points.reshape(-1), math.lcm(*WIDTHS, points.shape[1])
    rows = len(values) // length
    if rows == 0:
        return None
    block = values[: rows * length].reshape(rows, length)
    return np.asarray(block[:: max(1, rows // BLOCKS)][:BLOCKS])


def _likely(points: NDArray[np.float32]) -> str | None:
    """What else the bytes of a cloud that is none may be."""
    flat = np.ascontiguousarray(points).reshape(-1)
    doubles = flat[: len(flat) // 2 * 2].view("<f8")
    with np.errstate(all="ignore"):
        if _coordinates(doubles):
            block = _blocks(doubles[: len(doubles) // 12 * 12].reshape(-1, 4))
            width = 0 if block is None else likely_width(block, 4)
            return f": likely float64 (doubles){f', {width} values per point' if width else ''}"
        if _coordinates(flat.view(">f4")):
            return ": likely big-endian float32"
        block = _blocks(points)
        width = points.shape[1] if block is None else likely_width(block, points.shape[1])
    return None if width == points.shape[1] else f": likely {width} values per point"


def _coordinates(values: NDArray[np.floating]) -> bool:
    """Whether nearly all values are as large as coordinates and intensities are."""
    size = np.abs(values)
    good = (size < 10 * FAR_METRES) & ((size == 0) | (size > 1e-12))
    return bool(len(values)) and bool(good.mean() > 0.99)
