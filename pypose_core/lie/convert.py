"""Between LieTensors and rotation matrices, Euler angles and raw quaternions."""
from __future__ import annotations

import warnings

import torch
from torch import Tensor

from pypose_core.lie import so3 as rotations
from pypose_core.lie.dispatch import plain
from pypose_core.lie.groups import SE3, SO3, RxSO3, RxSO3_type, SE3_type, Sim3, Sim3_type, SO3_type
from pypose_core.lie.lietensor import LieTensor
from pypose_core.lie.ltype import LieType


def _checked(mat) -> Tensor:
    mat = plain(mat) if isinstance(mat, Tensor) else torch.tensor(mat)
    if mat.dim() < 2 or tuple(mat.shape[-2:]) not in ((3, 3), (3, 4), (4, 4)):
        raise ValueError(f'a matrix must be 3x3, 3x4 or 4x4 in its last two dimensions, '
                         f'but the shape is {tuple(mat.shape)}')
    return mat


def _check_last_row(mat: Tensor, rtol: float, atol: float) -> None:
    if mat.shape[-2:] == (4, 4):
        row = torch.tensor([0, 0, 0, 1], dtype=mat.dtype, device=mat.device)
        if not torch.allclose(mat[..., 3, :], row.expand_as(mat[..., 3, :]), rtol=rtol, atol=atol):
            warnings.warn('the last rows of the 4x4 matrices are not all [0, 0, 0, 1]', stacklevel=3)


def _check_rotation(R: Tensor, rtol: float, atol: float) -> None:
    with torch.no_grad():
        eye = torch.eye(3, dtype=R.dtype, device=R.device)
        if not torch.allclose(R @ R.mT, eye.expand_as(R), rtol=rtol, atol=atol):
            raise ValueError('the rotation matrices are not all orthogonal')
        one = torch.ones(R.shape[:-2], dtype=R.dtype, device=R.device)
        if not torch.allclose(torch.linalg.det(R), one, rtol=rtol, atol=atol):
            raise ValueError('the determinants of the rotation matrices are not all 1')


def _quaternion(R: Tensor, atol: float) -> Tensor:
    """Quaternion of a rotation matrix, with the largest component from the trace that loses nothing.

    Source: Shepperd, Quaternion from rotation matrix, 1978.
    """
    xx, yy, zz = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    yz, zx, xy = R[..., 1, 2] + R[..., 2, 1], R[..., 2, 0] + R[..., 0, 2], R[..., 0, 1] + R[..., 1, 0]
    wx, wy, wz = R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]
    # Each row is 4 q times one of its components; that component squared is a quarter of the row's own entry.
    rows = torch.stack([
        torch.stack([1 + xx - yy - zz, xy, zx, wx], -1),
        torch.stack([xy, 1 - xx + yy - zz, yz, wy], -1),
        torch.stack([zx, yz, 1 - xx - yy + zz, wz], -1),
        torch.stack([wx, wy, wz, 1 + xx + yy + zz], -1)], -2)
    # PyPose's choice, so that signs agree: w where z's entry is positive and the trace lets it.
    negative, x_over_y, x_under_y = zz < atol, xx > yy, xx < -yy
    choice = torch.where(negative, torch.where(x_over_y, 0, 1), torch.where(x_under_y, 2, 3))
    index = choice[..., None, None].expand(choice.shape + (1, 4))
    row = rows.gather(-2, index).squeeze(-2)
    pivot = row.gather(-1, choice[..., None])
    return row / (2 * pivot.sqrt())


def mat2SO3(mat, check: bool = True, rtol: float = 1e-5, atol: float = 1e-5) -> SO3:
    """Rotation matrices (or the rotations of 3x4, 4x4 ones) to SO3; `check` raises where they are none."""
    R = _checked(mat)[..., :3, :3]
    if check:
        _check_rotation(R, rtol, atol)
    return SO3(_quaternion(R, atol))


def _translation(mat: Tensor) -> Tensor:
    if mat.shape[-1] == 3:
        return torch.zeros(mat.shape[:-2] + (3,), dtype=mat.dtype, device=mat.device)
    return mat[..., :3, 3]


def mat2SE3(mat, check: bool = True, rtol: float = 1e-5, atol: float = 1e-5) -> SE3:
    """Matrices of rigid motions (3x3: without translation) to SE3."""
    mat = _checked(mat)
    if check:
        _check_last_row(mat, rtol, atol)
    return SE3(torch.cat([_translation(mat), mat2SO3(mat, check, rtol, atol).tensor()], -1))


def _scale_and_rotation(mat: Tensor, check: bool, rtol: float, atol: float) -> tuple[Tensor, Tensor]:
    sR = mat[..., :3, :3]
    cube = torch.linalg.det(sR)
    if check and bool((cube <= atol ** 3).any()):
        raise ValueError('a matrix has a determinant that is not positive: no scale and rotation')
    s = (cube ** (1 / 3))[..., None]
    return s, mat2SO3(sR / s[..., None], check, rtol, atol).tensor()


def mat2Sim3(mat, check: bool = True, rtol: float = 1e-5, atol: float = 1e-5) -> Sim3:
    """Matrices of similarities to Sim3."""
    mat = _checked(mat)
    if check:
        _check_last_row(mat, rtol, atol)
    s, q = _scale_and_rotation(mat, check, rtol, atol)
    return Sim3(torch.cat([_translation(mat), q, s], -1))


def mat2RxSO3(mat, check: bool = True, rtol: float = 1e-5, atol: float = 1e-5) -> RxSO3:
    """Matrices of rotations with scale to RxSO3."""
    s, q = _scale_and_rotation(_checked(mat), check, rtol, atol)
    return RxSO3(torch.cat([q, s], -1))


def from_matrix(mat, ltype: LieType, check: bool = True, rtol: float = 1e-5, atol: float = 1e-5) -> LieTensor:
    """Matrices to LieTensors of the group type `ltype`."""
    converters = {SO3_type: mat2SO3, SE3_type: mat2SE3, Sim3_type: mat2Sim3, RxSO3_type: mat2RxSO3}
    if ltype not in converters:
        raise ValueError(f'ltype must be SO3_type, SE3_type, Sim3_type or RxSO3_type, not {ltype}')
    return converters[ltype](mat, check=check, rtol=rtol, atol=atol)


def euler2SO3(euler) -> SO3:
    """Roll, pitch, yaw (..., 3) to SO3: R = Rz(yaw) Ry(pitch) Rx(roll)."""
    euler = plain(euler) if isinstance(euler, Tensor) else torch.tensor(euler)
    half = euler / 2
    (sr, sp, sy), (cr, cp, cy) = half.sin().unbind(-1), half.cos().unbind(-1)
    return SO3(torch.stack([sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
                            cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy], -1))


def quat2unit(input: LieTensor, eps: float = 1e-12) -> LieTensor:
    """Group elements with their quaternions normalised; the input is left as it is."""
    if not isinstance(input, LieTensor) or input.ltype.on_manifold:
        warnings.warn('the input of quat2unit is no group element and is returned as it is', stacklevel=2)
        return input
    lo, hi = input.ltype.group.rotation
    if bool((torch.linalg.vector_norm(plain(input)[..., lo:hi], dim=-1) < eps).any()):
        raise ValueError('a quaternion is zero and cannot be normalised')
    return input.kind(input.ltype.group.functions['normalized'](plain(input)))


def vec2skew(input: Tensor) -> Tensor:
    """[v]× so that [v]× u = v × u; (..., 3) -> (..., 3, 3)."""
    v = plain(input)
    if v.shape[-1] != 3:
        raise ValueError(f'the last dimension must be 3, but the shape is {tuple(v.shape)}')
    return rotations.hat(v)
