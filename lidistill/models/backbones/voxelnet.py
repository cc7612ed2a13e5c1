# SPDX-License-Identifier: Apache-2.0
"""VoxelNet: the sparse encoder of SECOND, read out as a bird's-eye-view map."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lidistill.models.backbones.sparse_blocks import lay_out, sparse_tensor
from lidistill.registry import MODELS


@MODELS.register_module()
class VoxelNet(nn.Module):
    """SLidR's detection student: OpenPCDet's VoxelBackBone8x with a 64-channel output layer.

    Submanifold and stride-2 convolutions bring the voxels to an eighth of the resolution along y
    and x; z shrinks to one slice. Features are L2-normalised on the voxels, then laid out densely.
    Parameter names and shapes are those of SLidR's checkpoints (720,064 parameters).

    Args:
        in_channels: F' of the voxel features: mean of x, y, z, intensity.
        out_channels: width of the map, per z slice.
        normalize: scale voxel features to unit length before laying them out.

    Source: Yan et al., "SECOND", Sensors 2018; SLidR, CVPR 2022, section 4.1.
    """

    stride = 8

    def __init__(
        self, in_channels: int = 4, out_channels: int = 64, normalize: bool = True
    ) -> None:
        super().__init__()
        import spconv.pytorch as spconv

        self.out_channels = out_channels
        self.normalize = normalize
        self.conv_input = _layer("subm", in_channels, 16, "subm1")
        self.conv1 = spconv.SparseSequential(_layer("subm", 16, 16, "subm1"))
        self.conv2 = _stage(16, 32, "2")
        self.conv3 = _stage(32, 64, "3")
        self.conv4 = _stage(64, 64, "4", padding=(0, 1, 1))
        self.conv_out = _layer(
            "conv", 64, 128, "down_out", kernel=(3, 1, 1), stride=(2, 1, 1), padding=0
        )
        # Its weight memory is read as [in, out], see lidistill.compat.spconv_layers.
        self.final = spconv.SparseConv3d(
            128, out_channels, 1, stride=1, padding=0, bias=False, indice_key="final"
        )

    def forward(
        self,
        voxel_features: Tensor,
        voxel_coords: Tensor,
        spatial_shape: tuple[int, int, int] = (40, 1024, 1024),
        batch_size: int = 1,
    ) -> Tensor:
        """Bird's-eye-view map.

        Args:
            voxel_features: (V, in_channels) float.
            voxel_coords: (V, 4) int32 (batch, z, y, x).
            spatial_shape: cells along (z, y, x); SLidR: 40 x 1024 x 1024 at 0.2 x 0.1 x 0.1 m.
            batch_size: number of samples B.

        Returns:
            (B, out_channels * slices, Y / 8, X / 8), rows y, columns x; zero where no voxel is.
            One z slice remains of 40 cells.
        """
        x: Any = sparse_tensor(voxel_features, voxel_coords, spatial_shape, batch_size)
        for stage in (self.conv_input, self.conv1, self.conv2, self.conv3, self.conv4):
            x = stage(x)
        x = self.final(self.conv_out(x))
        if self.normalize:
            x = x.replace_feature(F.normalize(x.features, dim=1))
        return lay_out(x).flatten(1, 2)  # (B, C, Z, Y, X) -> (B, C * Z, Y, X)


def _layer(
    kind: str,
    in_channels: int,
    out_channels: int,
    indice_key: str,
    kernel: int | tuple[int, int, int] = 3,
    stride: int | tuple[int, int, int] = 1,
    padding: int | tuple[int, int, int] = 1,
) -> Any:
    """Sparse convolution, batch norm, ReLU."""
    import spconv.pytorch as spconv

    options: dict[str, Any] = {"bias": False, "indice_key": indice_key, "padding": padding}
    if kind == "subm":
        convolution: nn.Module = spconv.SubMConv3d(in_channels, out_channels, kernel, **options)
    else:
        convolution = spconv.SparseConv3d(
            in_channels, out_channels, kernel, stride=stride, **options
        )
    norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)
    return spconv.SparseSequential(convolution, norm, nn.ReLU())


def _stage(
    in_channels: int, channels: int, name: str, padding: int | tuple[int, int, int] = 1
) -> Any:
    """A stride-2 convolution and two submanifold ones."""
    import spconv.pytorch as spconv

    return spconv.SparseSequential(
        _layer("conv", in_channels, channels, f"down{name}", stride=2, padding=padding),
        _layer("subm", channels, channels, f"subm{name}"),
        _layer("subm", channels, channels, f"subm{name}"),
    )
