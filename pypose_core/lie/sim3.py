"""Similarities on plain tensors: (..., 8) = [t, q, s], algebra (..., 7) = [τ, φ, σ = log s].

As a matrix [[s R, t], [0, 1]].  Reference in pure torch.
"""
import torch
from torch import Tensor

from pypose_core.lie import rxso3, se3, so3
from pypose_core.lie.se3 import join
from pypose_core.lie.similarity import Integrals, inverse
from pypose_core.lie.so3 import cross


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def _times(A: Tensor, B: Tensor, C: Tensor, phi: Tensor, v: Tensor) -> Tensor:
    """(C I + A [φ]× + B [φ]×²) v."""
    k = cross(phi, v)
    return C * v + A * k + B * cross(phi, k)


def _derivative(I: Integrals, phi: Tensor, tau: Tensor, b_phi: Tensor, b_sigma: Tensor) -> Tensor:
    """Directional derivative of W(φ, σ) τ along (φ + ε b_φ, σ + ε b_σ)."""
    A, B, _ = I.w()
    (A_x, B_x), (A_s, B_s, C_s) = I.w_x(), I.w_sigma()
    k, bk = cross(phi, tau), cross(b_phi, tau)
    dx = 2 * _dot(phi, b_phi)
    return (A * bk + B * (cross(b_phi, k) + cross(phi, bk)) + b_sigma * C_s * tau
            + (dx * A_x + b_sigma * A_s) * k + (dx * B_x + b_sigma * B_s) * cross(phi, k))


def exp(x: Tensor) -> Tensor:
    """[W(φ, σ) τ, exp(φ), e^σ]; (..., 7) -> (..., 8)."""
    tau, phi, sigma = x[..., :3], x[..., 3:6], x[..., 6:]
    t = _times(*Integrals(_dot(phi, phi), sigma, 2).w(), phi, tau)
    return torch.cat([t, so3.exp(phi), sigma.exp()], -1)


def _log(X: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor, Integrals]:
    phi, sigma = so3.log(X[..., 3:7]), X[..., 7:].log()
    x = _dot(phi, phi)
    I = Integrals(x, sigma, top)
    return _times(*inverse(x, *I.w()), phi, X[..., :3]), phi, sigma, I


def log(X: Tensor) -> Tensor:
    """[W(φ, σ)⁻¹ t, φ, σ], φ = log(q), σ = log s; (..., 8) -> (..., 7)."""
    return torch.cat(_log(X, 2)[:3], -1)


def mul(X: Tensor, Y: Tensor) -> Tensor:
    """[t₁ + s₁ R₁ t₂, q₁ o q₂, s₁ s₂]; (..., 8), (..., 8) -> (..., 8)."""
    return torch.cat([act(X, Y[..., :3]), rxso3.mul(X[..., 3:], Y[..., 3:])], -1)


def inv(X: Tensor) -> Tensor:
    """[-Rᵀ t / s, q*, 1/s]; (..., 8) -> (..., 8)."""
    r = rxso3.inv(X[..., 3:])
    return torch.cat([-rxso3.act(r, X[..., :3]), r], -1)


def act(X: Tensor, p: Tensor) -> Tensor:
    """s R p + t; (..., 8), (..., 3) -> (..., 3)."""
    return X[..., :3] + rxso3.act(X[..., 3:], p)


def act_homogeneous(X: Tensor, p: Tensor) -> Tensor:
    """[s R v + w t, w] for p = [v, w]; (..., 8), (..., 4) -> (..., 4)."""
    v, w = p[..., :3], p[..., 3:]
    return join(rxso3.act(X[..., 3:], v) + w * X[..., :3], w)


def adj(X: Tensor, a: Tensor) -> Tensor:
    """X Exp(a) = Exp(adj(X, a)) X: [s R τ + t × R φ - σ t, R φ, σ]; (..., 8), (..., 7) -> (..., 7)."""
    t, sigma = X[..., :3], a[..., 6:]
    phi = so3.act(X[..., 3:7], a[..., 3:6])
    return join(rxso3.act(X[..., 3:], a[..., :3]) + cross(t, phi) - sigma * t, phi, sigma)


def adjt(X: Tensor, a: Tensor) -> Tensor:
    """Exp(a) X = X Exp(adjt(X, a)): [Rᵀ (τ - t × φ + σ t) / s, Rᵀ φ, σ]; (..., 8), (..., 7) -> (..., 7)."""
    t, phi, sigma = X[..., :3], a[..., 3:6], a[..., 6:]
    r = rxso3.inv(X[..., 3:])
    return join(rxso3.act(r, a[..., :3] - cross(t, phi) + sigma * t), so3.act(r[..., :4], phi), sigma)


def jlp(x: Tensor, b: Tensor) -> Tensor:
    """Left Jacobian times b: Exp(x + ε b) = Exp(ε jlp(x, b)) Exp(x) to first order; (..., 7).

    With t = W τ: δφ = J b_φ, δσ = b_σ, δτ = dt - δφ × t - δσ t.
    """
    tau, phi, sigma = x[..., :3], x[..., 3:6], x[..., 6:]
    b_phi, b_sigma = b[..., 3:6], b[..., 6:]
    I = Integrals(_dot(phi, phi), sigma, 4)
    a_phi = so3.jlp(phi, b_phi)
    t = _times(*I.w(), phi, tau)
    dt = _times(*I.w(), phi, b[..., :3]) + _derivative(I, phi, tau, b_phi, b_sigma)
    return join(dt + cross(t, a_phi) - b_sigma * t, a_phi, b_sigma)


def _jl_invp(tau: Tensor, phi: Tensor, t: Tensor, I: Integrals, a: Tensor) -> Tensor:
    a_phi, a_sigma = a[..., 3:6], a[..., 6:]
    b_phi = so3.jl_invp(phi, a_phi)
    dt = a[..., :3] - cross(t, a_phi) + a_sigma * t - _derivative(I, phi, tau, b_phi, a_sigma)
    return join(_times(*inverse(_dot(phi, phi), *I.w()), phi, dt), b_phi, a_sigma)


def jl_invp(x: Tensor, a: Tensor) -> Tensor:
    """Inverse of the left Jacobian times a; (..., 7), (..., 7) -> (..., 7)."""
    tau, phi, sigma = x[..., :3], x[..., 3:6], x[..., 6:]
    I = Integrals(_dot(phi, phi), sigma, 4)
    return _jl_invp(tau, phi, _times(*I.w(), phi, tau), I, a)


def jinvp(X: Tensor, a: Tensor) -> Tensor:
    """jl_invp(log X, a); (..., 8), (..., 7) -> (..., 7)."""
    tau, phi, _, I = _log(X, 4)
    return _jl_invp(tau, phi, X[..., :3], I, a)


def matrix(X: Tensor) -> Tensor:
    """[[s R, t], [0, 1]]; (..., 8) -> (..., 4, 4)."""
    sR = X[..., 7:, None] * so3.matrix(X[..., 3:7])
    return torch.cat([torch.cat([sR, X[..., :3, None]], -1), se3.last_row(X)], -2)


def hat(x: Tensor) -> Tensor:
    """The matrix whose exponential is matrix(exp(x)): [[φ× + σ I, τ], [0, 0]]; (..., 7) -> (..., 4, 4)."""
    eye = torch.eye(3, dtype=x.dtype, device=x.device)
    top = torch.cat([so3.hat(x[..., 3:6]) + x[..., 6:, None] * eye, x[..., :3, None]], -1)
    return torch.cat([top, torch.zeros_like(top[..., :1, :])], -2)


def vee(m: Tensor) -> Tensor:
    """Inverse of hat; (..., 4, 4) -> (..., 7)."""
    return torch.cat([m[..., :3, 3], so3.vee(m[..., :3, :3]), m[..., :1, 0]], -1)


def left_tangent(X: Tensor, g: Tensor) -> Tensor:
    """Gradient to the coordinates, seen from Exp(δ) X: [g_t, t × g_t + ½ vec(g_q o q*), t·g_t + s g_s]."""
    t, g_t = X[..., :3], g[..., :3]
    return torch.cat([g_t, cross(t, g_t) + so3.left_tangent(X[..., 3:7], g[..., 3:7]),
                      _dot(t, g_t) + X[..., 7:] * g[..., 7:]], -1)
