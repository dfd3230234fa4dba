"""Rotation and scale on plain tensors: (..., 5) = [q, s], algebra (..., 4) = [φ, σ = log s]."""
import torch
from torch import Tensor

from pypose_core.lie import se3, so3
from pypose_core.lie.se3 import join


def exp(x: Tensor) -> Tensor:
    """[exp(φ), e^σ]; (..., 4) -> (..., 5)."""
    return torch.cat([so3.exp(x[..., :3]), x[..., 3:].exp()], -1)


def log(X: Tensor) -> Tensor:
    """[log(q), log s]; (..., 5) -> (..., 4)."""
    return torch.cat([so3.log(X[..., :4]), X[..., 4:].log()], -1)


def mul(X: Tensor, Y: Tensor) -> Tensor:
    """[q₁ o q₂, s₁ s₂]; (..., 5), (..., 5) -> (..., 5)."""
    return torch.cat([so3.mul(X[..., :4], Y[..., :4]), X[..., 4:] * Y[..., 4:]], -1)


def inv(X: Tensor) -> Tensor:
    """[q*, 1/s]; (..., 5) -> (..., 5)."""
    return torch.cat([so3.inv(X[..., :4]), 1 / X[..., 4:]], -1)


def act(X: Tensor, p: Tensor) -> Tensor:
    """s R p; (..., 5), (..., 3) -> (..., 3)."""
    return X[..., 4:] * so3.act(X[..., :4], p)


def act_homogeneous(X: Tensor, p: Tensor) -> Tensor:
    """[s R v, w] for p = [v, w]; (..., 5), (..., 4) -> (..., 4)."""
    return join(act(X, p[..., :3]), p[..., 3:])


def adj(X: Tensor, a: Tensor) -> Tensor:
    """X Exp(a) = Exp(adj(X, a)) X: [R φ, σ]; (..., 5), (..., 4) -> (..., 4)."""
    return join(so3.act(X[..., :4], a[..., :3]), a[..., 3:])


def adjt(X: Tensor, a: Tensor) -> Tensor:
    """Exp(a) X = X Exp(adjt(X, a)): [Rᵀ φ, σ]; (..., 5), (..., 4) -> (..., 4)."""
    return join(so3.adjt(X[..., :4], a[..., :3]), a[..., 3:])


def jlp(x: Tensor, b: Tensor) -> Tensor:
    """Left Jacobian times b: [J(φ) b_φ, b_σ]; (..., 4), (..., 4) -> (..., 4)."""
    return join(so3.jlp(x[..., :3], b[..., :3]), b[..., 3:])


def jl_invp(x: Tensor, a: Tensor) -> Tensor:
    """Inverse of the left Jacobian times a; (..., 4), (..., 4) -> (..., 4)."""
    return join(so3.jl_invp(x[..., :3], a[..., :3]), a[..., 3:])


def jinvp(X: Tensor, a: Tensor) -> Tensor:
    """jl_invp(log X, a); (..., 5), (..., 4) -> (..., 4)."""
    return join(so3.jinvp(X[..., :4], a[..., :3]), a[..., 3:])


def matrix(X: Tensor) -> Tensor:
    """[[s R, 0], [0, 1]]; (..., 5) -> (..., 4, 4)."""
    sR = X[..., 4:, None] * so3.matrix(X[..., :4])
    return torch.cat([torch.cat([sR, torch.zeros_like(sR[..., :1])], -1), se3.last_row(X)], -2)


def hat(x: Tensor) -> Tensor:
    """The matrix whose exponential is matrix(exp(x)): [[φ× + σ I, 0], [0, 0]]; (..., 4) -> (..., 4, 4)."""
    eye = torch.eye(3, dtype=x.dtype, device=x.device)
    return torch.nn.functional.pad(so3.hat(x[..., :3]) + x[..., 3:, None] * eye, (0, 1, 0, 1))


def vee(m: Tensor) -> Tensor:
    """Inverse of hat; (..., 4, 4) -> (..., 4)."""
    return torch.cat([so3.vee(m[..., :3, :3]), m[..., :1, 0]], -1)


def left_tangent(X: Tensor, g: Tensor) -> Tensor:
    """Gradient to the coordinates, seen from Exp(δ) X: [½ vec(g_q o q*), s g_s]; -> (..., 4)."""
    return torch.cat([so3.left_tangent(X[..., :4], g[..., :4]), X[..., 4:] * g[..., 4:]], -1)
