# SPDX-License-Identifier: Apache-2.0
"""The pair table of a sparse convolution, as `lidistill.ops.sparse.neighbours` makes it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

# Ranks that one step of the kernels handles together: small enough that the rows of a block, of
# its neighbours and of one weight stay in the second-level cache at 128 channels.
BLOCK = 256


@dataclass(frozen=True)
class PairTable:
    """Pairs of (input voxel, output voxel) of each kernel offset.

    Attributes:
        ins: (P,) int32 input rows, by offset, then by rank.
        outs: (P,) int32 output rows, in the same order.
        in_starts: (K, blocks + 1) int64, first pair of each block of ``BLOCK`` input ranks.
        out_starts: (K, blocks + 1) int64, first pair of each block of ``BLOCK`` output ranks.
        in_order: (V_in,) int32 row of each input rank.
        out_order: (V_out,) int32 row of each output rank.
    """

    ins: Int32
    outs: Int32
    in_starts: Int64
    out_starts: Int64
    in_order: Int32
    out_order: Int32
    _kept: dict[torch.device, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def num_in(self) -> int:
        """Number of input voxels."""
        return len(self.in_order)

    @property
    def num_out(self) -> int:
        """Number of output voxels."""
        return len(self.out_order)

    @property
    def volume(self) -> int:
        """Number of kernel offsets, K."""
        return len(self.in_starts)

    @property
    def num_blocks(self) -> int:
        """Number of blocks of output ranks."""
        return self.out_starts.shape[1] - 1

    @property
    def pairs(self) -> tuple[Int32, Int32, Int64, Int32]:
        """What the kernels read: ins, outs, out_starts, out_order."""
        return self.ins, self.outs, self.out_starts, self.out_order

    def inverse(self) -> PairTable:
        """The table of the inverse convolution: inputs and outputs change places."""
        return PairTable(
            self.outs,
            self.ins,
            self.out_starts,
            self.in_starts,
            self.out_order,
            self.in_order,
            {device: pairs.flip(1) for device, pairs in self._kept.items()},
        )

    def pairs_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The pairs for sums in torch, kept on the device that asked for them.

        Returns:
            Input and output rows (K, 2, P of the largest offset) int32, -1 behind an offset's own,
            on ``device``; pairs of each offset (K,) int64, on the CPU.
        """
        bounds = torch.from_numpy(self.out_starts[:, [0, -1]].copy())
        counts = bounds[:, 1] - bounds[:, 0]
        if device not in self._kept:
            width = int(counts.max()) if len(counts) else 0
            pairs = torch.full((self.volume, 2, width), -1, dtype=torch.int32)
            for k, (first, last) in enumerate(bounds.tolist()):
                pairs[k, 0, : last - first] = torch.from_numpy(self.ins[first:last])
                pairs[k, 1, : last - first] = torch.from_numpy(self.outs[first:last])
            self._kept[device] = pairs.to(device)
        return self._kept[device], counts

    def sources(self) -> Int32:
        """(K, V_out) int32: the input row that each output row reads through an offset, or -1."""
        dense = np.full((self.volume, self.num_out), -1, dtype=np.int32)
        for k, (first, last) in enumerate(self.out_starts[:, [0, -1]]):
            dense[k, self.outs[first:last]] = self.ins[first:last]
        return dense
