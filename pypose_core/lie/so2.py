"""Rotations of the plane on plain tensors: unit complex numbers (..., 2), algebra (..., 1) = [θ]."""
import torch
from torch import Tensor

from pypose_core.lie.se3 import join


def turn(v: Tensor) -> Tensor:
    """A quarter turn: (x, y) -> (-y, x); (..., 2)."""
    return torch.stack([-v[..., 1], v[..., 0]], -1)


def exp(x: Tensor) -> Tensor:
    """[cos θ, sin θ]; (..., 1) -> (..., 2)."""
    return torch.cat([x.cos(), x.sin()], -1)


def log(X: Tensor) -> Tensor:
    """The angle in (-π, π]; (..., 2) -> (..., 1)."""
    return torch.atan2(X[..., 1:], X[..., :1])


def mul(X: Tensor, Y: Tensor) -> Tensor:
    """Complex product; (..., 2), (..., 2) -> (..., 2)."""
    return X[..., :1] * Y + X[..., 1:] * turn(Y)


def inv(X: Tensor) -> Tensor:
    """The conjugate; (..., 2) -> (..., 2)."""
    return torch.cat([X[..., :1], -X[..., 1:]], -1)


act = mul   # a point of the plane is a complex number, too


def act_homogeneous(X: Tensor, p: Tensor) -> Tensor:
    """[R v, w] for p = [v, w]; (..., 2), (..., 3) -> (..., 3)."""
    return join(mul(X, p[..., :2]), p[..., 2:])


def adj(X: Tensor, a: Tensor) -> Tensor:
    """The group is commutative: a itself, broadcast to X; (..., 2), (..., 1) -> (..., 1)."""
    return a + 0 * X[..., :1]


adjt = jinvp = adj


def jlp(x: Tensor, b: Tensor) -> Tensor:
    """b itself, broadcast to x; (..., 1), (..., 1) -> (..., 1)."""
    return b + 0 * x


jl_invp = jlp


def matrix(X: Tensor) -> Tensor:
    """[[c, -s], [s, c]]; (..., 2) -> (..., 2, 2)."""
    return torch.stack([X, turn(X)], -1)


def hat(x: Tensor) -> Tensor:
    """[[0, -θ], [θ, 0]]; (..., 1) -> (..., 2, 2)."""
    o = torch.zeros_like(x)
    return torch.cat([o, -x, x, o], -1).unflatten(-1, (2, 2))


def vee(m: Tensor) -> Tensor:
    """Inverse of hat; (..., 2, 2) -> (..., 1)."""
    return (m[..., 1:, 0] - m[..., :1, 1]) / 2


def left_tangent(X: Tensor, g: Tensor) -> Tensor:
    """Gradient to the coordinates, seen from Exp(δ) X; (..., 2), (..., 2) -> (..., 1)."""
    return (turn(X) * g).sum(-1, keepdim=True)
