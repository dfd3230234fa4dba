"""Points, pixels and the errors between them, for pinhole cameras given by an intrinsic matrix."""
from __future__ import annotations

import torch
from torch import Tensor

from pypose_core.geometry.homogeneous import homo2cart
from pypose_core.lie.checking import is_SE3
from pypose_core.lie.lietensor import LieTensor


def _check(points: Tensor | None, pixels: Tensor | None, intrinsics: Tensor) -> None:
    if points is not None and points.shape[-1] != 3:
        raise ValueError(f'points must be (..., N, 3), got {tuple(points.shape)}')
    if pixels is not None and pixels.shape[-1] != 2:
        raise ValueError(f'pixels must be (..., N, 2), got {tuple(pixels.shape)}')
    if intrinsics.shape[-2:] != (3, 3):
        raise ValueError(f'intrinsics must be (..., 3, 3), got {tuple(intrinsics.shape)}')


def point2pixel(points: Tensor, intrinsics: Tensor, extrinsics: LieTensor | None = None) -> Tensor:
    """Project points: π(K T p) with π division by depth.

    Args:
        points: (..., N, 3), in the camera's frame (z ahead), or with `extrinsics` in the world's.
        intrinsics: K (..., 3, 3) in pixels.
        extrinsics: T_camera_world (..., 7).

    Returns:
        pixels (..., N, 2).
    """
    _check(points, None, intrinsics)
    if extrinsics is not None:
        if not is_SE3(extrinsics):
            raise TypeError('extrinsics must be an SE3 LieTensor')
        points = extrinsics.unsqueeze(-2) @ points
    return homo2cart(points @ intrinsics.mT)


def pixel2point(pixels: Tensor, depth: Tensor, intrinsics: Tensor) -> Tensor:
    """The points at given depths: z K⁻¹ [u, v, 1], in the camera's frame.

    Args:
        pixels: (..., N, 2).
        depth: z (..., N), along the optical axis.
        intrinsics: K (..., 3, 3), upper triangular.

    Returns:
        points (..., N, 3).
    """
    _check(None, pixels, intrinsics)
    if depth.shape[-1] != pixels.shape[-2]:
        raise ValueError(f'{pixels.shape[-2]} pixels need as many depths, got {tuple(depth.shape)}')
    fx, fy, skew = (intrinsics[..., i, j, None] for i, j in ((0, 0), (1, 1), (0, 1)))
    cx, cy = intrinsics[..., 0, 2, None], intrinsics[..., 1, 2, None]
    if bool((fx == 0).any()) or bool((fy == 0).any()):
        raise ValueError('a focal length is zero')
    y = (pixels[..., 1] - cy) / fy
    x = (pixels[..., 0] - cx - skew * y) / fx
    return torch.stack([x * depth, y * depth, depth.expand(x.shape)], -1)


def reprojerr(points: Tensor, pixels: Tensor, intrinsics: Tensor, extrinsics: LieTensor | None = None,
              reduction: str = 'none') -> Tensor:
    """point2pixel(points, intrinsics, extrinsics) - pixels.

    Args:
        pixels: (..., N, 2), others as in point2pixel().
        reduction: 'none': (..., N, 2); 'norm': the distance (..., N); 'sum': the sum of both components (..., N).
    """
    _check(points, pixels, intrinsics)
    if reduction not in ('none', 'norm', 'sum'):
        raise ValueError(f"reduction must be 'none', 'norm' or 'sum', not {reduction!r}")
    error = point2pixel(points, intrinsics, extrinsics) - pixels
    if reduction == 'norm':
        return error.norm(dim=-1)
    return error.sum(-1) if reduction == 'sum' else error
