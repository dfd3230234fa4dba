"""PyPose's module `pp.lietensor.operation`: matrices of the groups, of plain tensors.

Its autograd functions (`SO3_Log`, ...) have no counterpart: LieTensor's methods are differentiable as they are.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core.lie.convert import vec2skew
from pypose_core.lie.dispatch import plain
from pypose_core.lie.groups import SE3, SO3, RxSO3, Sim3, rxso3, se3, sim3, so3
from pypose_core.lie.lietensor import LieTensor


def _of(kind: type[LieTensor], method: str) -> Callable[[Tensor], Tensor]:
    """A method of a kind of LieTensors as a function of their coordinates (..., width)."""
    def function(x: Tensor) -> Tensor:
        return getattr(kind(plain(x)), method)()
    function.__doc__ = f'`{kind.__name__}.{method}` of coordinates.'
    return function


so3_Jl, so3_Jl_inv = _of(so3, 'Jl'), _of(so3, 'Jl_inv')
se3_Jl, se3_Jl_inv = _of(se3, 'Jl'), _of(se3, 'Jl_inv')
rxso3_Jl, rxso3_Jl_inv = _of(rxso3, 'Jl'), _of(rxso3, 'Jl_inv')
sim3_Jl, sim3_Jl_inv = _of(sim3, 'Jl'), _of(sim3, 'Jl_inv')
SO3_Adj, SE3_Adj = _of(SO3, 'adjoint'), _of(SE3, 'adjoint')
RxSO3_Adj, Sim3_Adj = _of(RxSO3, 'adjoint'), _of(Sim3, 'adjoint')
SO3_Matrix, RxSO3_Matrix4x4 = _of(SO3, 'matrix'), _of(RxSO3, 'matrix')
SE3_Matrix = SE3_Matrix4x4 = _of(SE3, 'matrix')
Sim3_Matrix = Sim3_Matrix4x4 = _of(Sim3, 'matrix')


def RxSO3_Matrix(X: Tensor) -> Tensor:
    """Scaled rotation matrices (..., 3, 3) of (..., 5)."""
    return RxSO3_Matrix4x4(X)[..., :3, :3]


def RxSO3_Rotation(X: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of (..., 5)."""
    return SO3_Matrix(X[..., :4])


def SO3_Matrix4x4(X: Tensor) -> Tensor:
    """Homogeneous matrices (..., 4, 4) of rotations (..., 4)."""
    T = torch.nn.functional.pad(SO3_Matrix(X), (0, 1, 0, 1))
    T[..., 3, 3] = 1
    return T


def calcQ(x: Tensor) -> Tensor:
    """The upper right block (..., 3, 3) of the left Jacobian of twists (..., 6)."""
    return se3_Jl(x)[..., :3, 3:]


def rxso3_Ws(x: Tensor) -> Tensor:
    """W (..., 3, 3) with Exp([τ, φ, σ]) = [W τ, ...], of [φ, σ] (..., 4)."""
    x = plain(x)
    unit = torch.eye(3, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 3, 3)
    return plain(sim3(torch.cat([unit, x.unsqueeze(-2).expand(*x.shape[:-1], 3, 4)], -1)).Exp())[..., :3].mT


def _adjoint(x: Tensor, size: int, parts: list[tuple[int, int, Tensor]]) -> Tensor:
    """(..., size, size), zero but for blocks (..., a, b) at their places."""
    out = plain(x).new_zeros(*x.shape[:-1], size, size)
    for i, j, block in parts:
        out[..., i:i + block.shape[-2], j:j + block.shape[-1]] = block
    return out


def so3_adj(x: Tensor) -> Tensor:
    """Matrices ad (..., 3, 3) of the Lie bracket, ad(x) y = [x, y]."""
    return vec2skew(x)


def se3_adj(x: Tensor) -> Tensor:
    """Matrices ad (..., 6, 6) of twists."""
    tau, phi = vec2skew(x[..., :3]), vec2skew(x[..., 3:])
    return _adjoint(x, 6, [(0, 0, phi), (0, 3, tau), (3, 3, phi)])


def rxso3_adj(x: Tensor) -> Tensor:
    """Matrices ad (..., 4, 4)."""
    return _adjoint(x, 4, [(0, 0, vec2skew(x[..., :3]))])


def sim3_adj(x: Tensor) -> Tensor:
    """Matrices ad (..., 7, 7)."""
    tau, phi, sigma = plain(x).split([3, 3, 1], -1)
    scaled = vec2skew(phi) + sigma.unsqueeze(-1) * torch.eye(3, dtype=x.dtype, device=x.device)
    return _adjoint(x, 7, [(0, 0, scaled), (0, 3, vec2skew(tau)), (0, 6, -tau.unsqueeze(-1)), (3, 3, vec2skew(phi))])


def SO3_Act_Jacobian(p: Tensor) -> Tensor:
    """Derivative (..., 3, 3) of Exp(δ) p by δ at zero, p (..., 3) the point that was moved already."""
    return -vec2skew(p)


def SE3_Act_Jacobian(p: Tensor) -> Tensor:
    """The same (..., 3, 6) for twists."""
    eye = torch.eye(3, dtype=p.dtype, device=p.device).expand(*p.shape[:-1], 3, 3)
    return torch.cat([eye, SO3_Act_Jacobian(p)], -1)


def RxSO3_Act_Jacobian(p: Tensor) -> Tensor:
    """The same (..., 3, 4) for scaled rotations."""
    return torch.cat([SO3_Act_Jacobian(p), p.unsqueeze(-1)], -1)


def Sim3_Act_Jacobian(p: Tensor) -> Tensor:
    """The same (..., 3, 7) for similarities."""
    return torch.cat([SE3_Act_Jacobian(p), p.unsqueeze(-1)], -1)


def SO3_Act4_Jacobian(p: Tensor) -> Tensor:
    """Of homogeneous points (..., 4): (..., 4, 3)."""
    return torch.nn.functional.pad(SO3_Act_Jacobian(p[..., :3]), (0, 0, 0, 1))


def SE3_Act4_Jacobian(p: Tensor) -> Tensor:
    """Of homogeneous points (..., 4): (..., 4, 6)."""
    J = SE3_Act_Jacobian(p[..., :3])
    return torch.nn.functional.pad(torch.cat([J[..., :3] * p[..., 3:, None], J[..., 3:]], -1), (0, 0, 0, 1))


def RxSO3_Act4_Jacobian(p: Tensor) -> Tensor:
    """Of homogeneous points (..., 4): (..., 4, 4)."""
    return torch.nn.functional.pad(RxSO3_Act_Jacobian(p[..., :3]), (0, 0, 0, 1))


def Sim3_Act4_Jacobian(p: Tensor) -> Tensor:
    """Of homogeneous points (..., 4): (..., 4, 7)."""
    scaled = torch.nn.functional.pad(p[..., :3, None], (0, 0, 0, 1))
    return torch.cat([SE3_Act4_Jacobian(p), scaled], -1)
