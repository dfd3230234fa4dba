"""Rigid motions on plain tensors: poses (..., 7) = [t, q], twists (..., 6) = [ρ, φ].

Reference in pure torch; the coefficients c_k are Stumpff functions of θ² = |φ|².
"""
import torch
from torch import Tensor

from pypose_core.lie import so3
from pypose_core.lie.so3 import cross
from pypose_core.lie.stumpff import stumpff


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def join(*parts: Tensor) -> Tensor:
    """Concatenate along the last dimension, broadcasting the leading ones."""
    batch = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
    return torch.cat([p.expand(batch + p.shape[-1:]) for p in parts], -1)


def v_times(c: list[Tensor], phi: Tensor, rho: Tensor) -> Tensor:
    """V(φ) ρ = ρ + c_2 φ×ρ + c_3 φ×(φ×ρ): the translation that a twist integrates to."""
    k = cross(phi, rho)
    return rho + c[2] * k + c[3] * cross(phi, k)


def v_inverse_times(c: list[Tensor], phi: Tensor, t: Tensor) -> Tensor:
    """V(φ)⁻¹ t."""
    k = cross(phi, t)
    return t - 0.5 * k + so3.jinv_coefficient(c) * cross(phi, k)


def v_derivative(c: list[Tensor], phi: Tensor, rho: Tensor, b: Tensor) -> Tensor:
    """Directional derivative of V(φ) ρ along φ + ε b; with dc_k/dx = (k c_{k+2} - c_{k+1})/2."""
    k, bk = cross(phi, rho), cross(b, rho)
    along = _dot(phi, b)
    return (c[2] * bk + c[3] * (cross(b, k) + cross(phi, bk))
            + along * ((2 * c[4] - c[3]) * k + (3 * c[5] - c[4]) * cross(phi, k)))


def exp(x: Tensor) -> Tensor:
    """Twist to pose: [V(φ) ρ, exp(φ)]; (..., 6) -> (..., 7)."""
    rho, phi = x[..., :3], x[..., 3:]
    return torch.cat([v_times(stumpff(_dot(phi, phi), 3), phi, rho), so3.exp(phi)], -1)


def log(X: Tensor) -> Tensor:
    """Pose to twist, rotation angle <= π: [V(φ)⁻¹ t, φ], φ = log(q); (..., 7) -> (..., 6)."""
    phi = so3.log(X[..., 3:])
    return torch.cat([v_inverse_times(stumpff(_dot(phi, phi), 4), phi, X[..., :3]), phi], -1)


def mul(X: Tensor, Y: Tensor) -> Tensor:
    """[t₁ + R₁ t₂, q₁ o q₂]; (..., 7), (..., 7) -> (..., 7)."""
    return torch.cat([act(X, Y[..., :3]), so3.mul(X[..., 3:], Y[..., 3:])], -1)


def inv(X: Tensor) -> Tensor:
    """[-Rᵀ t, q*]; (..., 7) -> (..., 7)."""
    q = so3.inv(X[..., 3:])
    return torch.cat([-so3.act(q, X[..., :3]), q], -1)


def act(X: Tensor, p: Tensor) -> Tensor:
    """R p + t; (..., 7), (..., 3) -> (..., 3)."""
    return X[..., :3] + so3.act(X[..., 3:], p)


def act_homogeneous(X: Tensor, p: Tensor) -> Tensor:
    """[R v + w t, w] for p = [v, w]; (..., 7), (..., 4) -> (..., 4)."""
    v, w = p[..., :3], p[..., 3:]
    return join(so3.act(X[..., 3:], v) + w * X[..., :3], w)


def adj(X: Tensor, a: Tensor) -> Tensor:
    """X Exp(a) = Exp(adj(X, a)) X: [R ρ + t × R φ, R φ]; (..., 7), (..., 6) -> (..., 6)."""
    q = X[..., 3:]
    phi = so3.act(q, a[..., 3:])
    return torch.cat([so3.act(q, a[..., :3]) + cross(X[..., :3], phi), phi], -1)


def adjt(X: Tensor, a: Tensor) -> Tensor:
    """Exp(a) X = X Exp(adjt(X, a)): [Rᵀ (ρ - t × φ), Rᵀ φ]; (..., 7), (..., 6) -> (..., 6)."""
    q, phi = so3.inv(X[..., 3:]), a[..., 3:]
    return torch.cat([so3.act(q, a[..., :3] - cross(X[..., :3], phi)), so3.act(q, phi)], -1)


def jlp(x: Tensor, b: Tensor) -> Tensor:
    """Left Jacobian times b: Exp(x + ε b) = Exp(ε jlp(x, b)) Exp(x) to first order; (..., 6).

    The left-trivialised derivative of exp: with t = V ρ, δφ = J b_φ and δρ = dt - δφ × t.
    """
    rho, phi = x[..., :3], x[..., 3:]
    b_rho, b_phi = b[..., :3], b[..., 3:]
    c = stumpff(_dot(phi, phi), 5)
    a_phi = v_times(c, phi, b_phi)
    dt = v_times(c, phi, b_rho) + v_derivative(c, phi, rho, b_phi)
    return torch.cat([dt + cross(v_times(c, phi, rho), a_phi), a_phi], -1)


def _jl_invp(phi: Tensor, rho: Tensor, t: Tensor, a: Tensor) -> Tensor:
    a_rho, a_phi = a[..., :3], a[..., 3:]
    c = stumpff(_dot(phi, phi), 5)
    b_phi = v_inverse_times(c, phi, a_phi)
    dt = a_rho - cross(t, a_phi) - v_derivative(c, phi, rho, b_phi)
    return torch.cat([v_inverse_times(c, phi, dt), b_phi], -1)


def jl_invp(x: Tensor, a: Tensor) -> Tensor:
    """Inverse of the left Jacobian times a; (..., 6), (..., 6) -> (..., 6)."""
    rho, phi = x[..., :3], x[..., 3:]
    return _jl_invp(phi, rho, v_times(stumpff(_dot(phi, phi), 3), phi, rho), a)


def jinvp(X: Tensor, a: Tensor) -> Tensor:
    """jl_invp(log X, a); (..., 7), (..., 6) -> (..., 6)."""
    t, phi = X[..., :3], so3.log(X[..., 3:])
    return _jl_invp(phi, v_inverse_times(stumpff(_dot(phi, phi), 4), phi, t), t, a)


def matrix(X: Tensor) -> Tensor:
    """[[R, t], [0, 1]]; (..., 7) -> (..., 4, 4)."""
    top = torch.cat([so3.matrix(X[..., 3:]), X[..., :3, None]], -1)
    return torch.cat([top, last_row(X)], -2)


def last_row(X: Tensor, size: int = 4) -> Tensor:
    """[0 ... 0 1] for each element: (..., n) -> (..., 1, size)."""
    row = torch.eye(size, dtype=X.dtype, device=X.device)[-1:]
    return row.expand(X.shape[:-1] + (1, size))


def hat(x: Tensor) -> Tensor:
    """The matrix whose exponential is matrix(exp(x)): [[φ×, ρ], [0, 0]]; (..., 6) -> (..., 4, 4)."""
    top = torch.cat([so3.hat(x[..., 3:]), x[..., :3, None]], -1)
    return torch.cat([top, torch.zeros_like(top[..., :1, :])], -2)


def vee(m: Tensor) -> Tensor:
    """Inverse of hat; (..., 4, 4) -> (..., 6)."""
    return torch.cat([m[..., :3, 3], so3.vee(m[..., :3, :3])], -1)


def left_tangent(X: Tensor, g: Tensor) -> Tensor:
    """Gradient to the coordinates, seen from Exp(δ) X: [g_t, t × g_t + ½ vec(g_q o q*)]; -> (..., 6)."""
    g_t = g[..., :3]
    return torch.cat([g_t, cross(X[..., :3], g_t) + so3.left_tangent(X[..., 3:], g[..., 3:])], -1)
