"""Rigid motions of the plane on plain tensors: (..., 4) = [x, y, cos θ, sin θ], twists (..., 3) = [ρ, θ].

The integral of a twist is V(θ) ρ with V = c_1 I + θ c_2 J, J the quarter turn, c_k(θ²) Stumpff functions.
"""
import torch
from torch import Tensor

from pypose_core.lie import so2
from pypose_core.lie.se3 import join, last_row
from pypose_core.lie.so2 import turn
from pypose_core.lie.so3 import jinv_coefficient
from pypose_core.lie.stumpff import stumpff


def _times(c: list[Tensor], theta: Tensor, v: Tensor) -> Tensor:
    """V(θ) v."""
    return c[1] * v + theta * c[2] * turn(v)


def _inverse_times(c: list[Tensor], theta: Tensor, t: Tensor) -> Tensor:
    """V(θ)⁻¹ t = (θ/2 cot(θ/2)) t - θ/2 J t."""
    return (1 - theta * theta * jinv_coefficient(c)) * t - theta / 2 * turn(t)


def _derivative(c: list[Tensor], theta: Tensor, rho: Tensor) -> Tensor:
    """d(V(θ) ρ)/dθ; with dc_k/dx = (k c_{k+2} - c_{k+1})/2."""
    return theta * (c[3] - c[2]) * rho + (c[2] + theta * theta * (2 * c[4] - c[3])) * turn(rho)


def exp(x: Tensor) -> Tensor:
    """[V(θ) ρ, cos θ, sin θ]; (..., 3) -> (..., 4)."""
    rho, theta = x[..., :2], x[..., 2:]
    return torch.cat([_times(stumpff(theta * theta, 2), theta, rho), so2.exp(theta)], -1)


def log(X: Tensor) -> Tensor:
    """[V(θ)⁻¹ t, θ]; (..., 4) -> (..., 3)."""
    theta = so2.log(X[..., 2:])
    return torch.cat([_inverse_times(stumpff(theta * theta, 4), theta, X[..., :2]), theta], -1)


def mul(X: Tensor, Y: Tensor) -> Tensor:
    """[t₁ + R₁ t₂, R₁ R₂]; (..., 4), (..., 4) -> (..., 4)."""
    return torch.cat([act(X, Y[..., :2]), so2.mul(X[..., 2:], Y[..., 2:])], -1)


def inv(X: Tensor) -> Tensor:
    """[-Rᵀ t, Rᵀ]; (..., 4) -> (..., 4)."""
    r = so2.inv(X[..., 2:])
    return torch.cat([-so2.mul(r, X[..., :2]), r], -1)


def act(X: Tensor, p: Tensor) -> Tensor:
    """R p + t; (..., 4), (..., 2) -> (..., 2)."""
    return X[..., :2] + so2.mul(X[..., 2:], p)


def act_homogeneous(X: Tensor, p: Tensor) -> Tensor:
    """[R v + w t, w] for p = [v, w]; (..., 4), (..., 3) -> (..., 3)."""
    v, w = p[..., :2], p[..., 2:]
    return join(so2.mul(X[..., 2:], v) + w * X[..., :2], w)


def adj(X: Tensor, a: Tensor) -> Tensor:
    """X Exp(a) = Exp(adj(X, a)) X: [R ρ - θ J t, θ]; (..., 4), (..., 3) -> (..., 3)."""
    theta = a[..., 2:]
    return join(so2.mul(X[..., 2:], a[..., :2]) - theta * turn(X[..., :2]), theta)


def adjt(X: Tensor, a: Tensor) -> Tensor:
    """Exp(a) X = X Exp(adjt(X, a)): [Rᵀ (ρ + θ J t), θ]; (..., 4), (..., 3) -> (..., 3)."""
    theta = a[..., 2:]
    return join(so2.mul(so2.inv(X[..., 2:]), a[..., :2] + theta * turn(X[..., :2])), theta)


def jlp(x: Tensor, b: Tensor) -> Tensor:
    """Left Jacobian times b: δρ = dt - δθ J t with t = V ρ; (..., 3), (..., 3) -> (..., 3)."""
    rho, theta, b_theta = x[..., :2], x[..., 2:], b[..., 2:]
    c = stumpff(theta * theta, 4)
    dt = _times(c, theta, b[..., :2]) + b_theta * _derivative(c, theta, rho)
    return join(dt - b_theta * turn(_times(c, theta, rho)), b_theta)


def _jl_invp(rho: Tensor, theta: Tensor, t: Tensor, c: list[Tensor], a: Tensor) -> Tensor:
    a_theta = a[..., 2:]
    dt = a[..., :2] + a_theta * (turn(t) - _derivative(c, theta, rho))
    return join(_inverse_times(c, theta, dt), a_theta)


def jl_invp(x: Tensor, a: Tensor) -> Tensor:
    """Inverse of the left Jacobian times a; (..., 3), (..., 3) -> (..., 3)."""
    rho, theta = x[..., :2], x[..., 2:]
    c = stumpff(theta * theta, 4)
    return _jl_invp(rho, theta, _times(c, theta, rho), c, a)


def jinvp(X: Tensor, a: Tensor) -> Tensor:
    """jl_invp(log X, a); (..., 4), (..., 3) -> (..., 3)."""
    theta = so2.log(X[..., 2:])
    c = stumpff(theta * theta, 4)
    return _jl_invp(_inverse_times(c, theta, X[..., :2]), theta, X[..., :2], c, a)


def matrix(X: Tensor) -> Tensor:
    """[[R, t], [0, 1]]; (..., 4) -> (..., 3, 3)."""
    return torch.cat([torch.cat([so2.matrix(X[..., 2:]), X[..., :2, None]], -1), last_row(X, 3)], -2)


def hat(x: Tensor) -> Tensor:
    """The matrix whose exponential is matrix(exp(x)); (..., 3) -> (..., 3, 3)."""
    top = torch.cat([so2.hat(x[..., 2:]), x[..., :2, None]], -1)
    return torch.cat([top, torch.zeros_like(top[..., :1, :])], -2)


def vee(m: Tensor) -> Tensor:
    """Inverse of hat; (..., 3, 3) -> (..., 3)."""
    return torch.cat([m[..., :2, 2], so2.vee(m[..., :2, :2])], -1)


def left_tangent(X: Tensor, g: Tensor) -> Tensor:
    """Gradient to the coordinates, seen from Exp(δ) X; (..., 4), (..., 4) -> (..., 3)."""
    g_t = g[..., :2]
    along = (turn(X[..., :2]) * g_t).sum(-1, keepdim=True)
    return torch.cat([g_t, along + so2.left_tangent(X[..., 2:], g[..., 2:])], -1)
