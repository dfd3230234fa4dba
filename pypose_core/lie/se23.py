"""Extended poses SE_2(3), the IMU's own group, on plain tensors: (..., 10) = [t, q, v].

The algebra is (..., 9) = [ρ, φ, ν].  As a matrix [[R, v, t], [0, 1, 0], [0, 0, 1]]: velocity and position
turn with the rotation alike.
Source: Barrau and Bonnabel, The invariant extended Kalman filter as a stable observer, 2017.
"""
import torch
from torch import Tensor

from pypose_core.lie import se3, so3
from pypose_core.lie.se3 import join, v_derivative, v_inverse_times, v_times
from pypose_core.lie.so3 import cross
from pypose_core.lie.stumpff import stumpff


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def exp(x: Tensor) -> Tensor:
    """[V(φ) ρ, exp(φ), V(φ) ν]; (..., 9) -> (..., 10)."""
    phi = x[..., 3:6]
    c = stumpff(_dot(phi, phi), 3)
    return torch.cat([v_times(c, phi, x[..., :3]), so3.exp(phi), v_times(c, phi, x[..., 6:])], -1)


def log(X: Tensor) -> Tensor:
    """[V(φ)⁻¹ t, φ, V(φ)⁻¹ v], φ = log(q); (..., 10) -> (..., 9)."""
    phi = so3.log(X[..., 3:7])
    c = stumpff(_dot(phi, phi), 4)
    return torch.cat([v_inverse_times(c, phi, X[..., :3]), phi, v_inverse_times(c, phi, X[..., 7:])], -1)


def mul(X: Tensor, Y: Tensor) -> Tensor:
    """[t₁ + R₁ t₂, q₁ o q₂, v₁ + R₁ v₂]; (..., 10), (..., 10) -> (..., 10)."""
    q = X[..., 3:7]
    return torch.cat([X[..., :3] + so3.act(q, Y[..., :3]), so3.mul(q, Y[..., 3:7]),
                      X[..., 7:] + so3.act(q, Y[..., 7:])], -1)


def inv(X: Tensor) -> Tensor:
    """[-Rᵀ t, q*, -Rᵀ v]; (..., 10) -> (..., 10)."""
    q = so3.inv(X[..., 3:7])
    return torch.cat([-so3.act(q, X[..., :3]), q, -so3.act(q, X[..., 7:])], -1)


def act(X: Tensor, p: Tensor) -> Tensor:
    """The pose acts on points: R p + t; (..., 10), (..., 3) -> (..., 3)."""
    return se3.act(X[..., :7], p)


def act_homogeneous(X: Tensor, p: Tensor) -> Tensor:
    """[R v + w t, w] for p = [v, w]; (..., 10), (..., 4) -> (..., 4)."""
    return se3.act_homogeneous(X[..., :7], p)


def adj(X: Tensor, a: Tensor) -> Tensor:
    """X Exp(a) = Exp(adj(X, a)) X: [R ρ + t × R φ, R φ, R ν + v × R φ]; (..., 10), (..., 9) -> (..., 9)."""
    q = X[..., 3:7]
    phi = so3.act(q, a[..., 3:6])
    return torch.cat([so3.act(q, a[..., :3]) + cross(X[..., :3], phi), phi,
                      so3.act(q, a[..., 6:]) + cross(X[..., 7:], phi)], -1)


def adjt(X: Tensor, a: Tensor) -> Tensor:
    """Exp(a) X = X Exp(adjt(X, a)); (..., 10), (..., 9) -> (..., 9)."""
    q, phi = so3.inv(X[..., 3:7]), a[..., 3:6]
    return torch.cat([so3.act(q, a[..., :3] - cross(X[..., :3], phi)), so3.act(q, phi),
                      so3.act(q, a[..., 6:] - cross(X[..., 7:], phi))], -1)


def jlp(x: Tensor, b: Tensor) -> Tensor:
    """Left Jacobian times b, as in SE(3) for both vectors; (..., 9), (..., 9) -> (..., 9)."""
    phi, b_phi = x[..., 3:6], b[..., 3:6]
    c = stumpff(_dot(phi, phi), 5)
    a_phi = v_times(c, phi, b_phi)

    def vector(rho: Tensor, b_rho: Tensor) -> Tensor:
        dt = v_times(c, phi, b_rho) + v_derivative(c, phi, rho, b_phi)
        return dt + cross(v_times(c, phi, rho), a_phi)
    return join(vector(x[..., :3], b[..., :3]), a_phi, vector(x[..., 6:], b[..., 6:]))


def jl_invp(x: Tensor, a: Tensor) -> Tensor:
    """Inverse of the left Jacobian times a; (..., 9), (..., 9) -> (..., 9)."""
    phi, a_phi = x[..., 3:6], a[..., 3:6]
    c = stumpff(_dot(phi, phi), 5)
    b_phi = v_inverse_times(c, phi, a_phi)

    def vector(rho: Tensor, a_rho: Tensor) -> Tensor:
        dt = a_rho - cross(v_times(c, phi, rho), a_phi) - v_derivative(c, phi, rho, b_phi)
        return v_inverse_times(c, phi, dt)
    return join(vector(x[..., :3], a[..., :3]), b_phi, vector(x[..., 6:], a[..., 6:]))


def jinvp(X: Tensor, a: Tensor) -> Tensor:
    """jl_invp(log X, a); (..., 10), (..., 9) -> (..., 9)."""
    return jl_invp(log(X), a)


def matrix(X: Tensor) -> Tensor:
    """[[R, v, t], [0, 1, 0], [0, 0, 1]]; (..., 10) -> (..., 5, 5)."""
    top = torch.cat([so3.matrix(X[..., 3:7]), X[..., 7:, None], X[..., :3, None]], -1)
    rows = torch.eye(5, dtype=X.dtype, device=X.device)[3:]
    return torch.cat([top, rows.expand(X.shape[:-1] + (2, 5))], -2)


def hat(x: Tensor) -> Tensor:
    """The matrix whose exponential is matrix(exp(x)); (..., 9) -> (..., 5, 5)."""
    top = torch.cat([so3.hat(x[..., 3:6]), x[..., 6:, None], x[..., :3, None]], -1)
    return torch.cat([top, torch.zeros_like(top[..., :2, :])], -2)


def vee(m: Tensor) -> Tensor:
    """Inverse of hat; (..., 5, 5) -> (..., 9)."""
    return torch.cat([m[..., :3, 4], so3.vee(m[..., :3, :3]), m[..., :3, 3]], -1)


def left_tangent(X: Tensor, g: Tensor) -> Tensor:
    """Gradient to the coordinates, seen from Exp(δ) X; (..., 10), (..., 10) -> (..., 9)."""
    g_t, g_v = g[..., :3], g[..., 7:]
    phi = cross(X[..., :3], g_t) + cross(X[..., 7:], g_v) + so3.left_tangent(X[..., 3:7], g[..., 3:7])
    return torch.cat([g_t, phi, g_v], -1)
