"""Rotations on plain tensors: unit quaternions (..., 4) as x y z w, rotation vectors (..., 3).

The reference that the native kernels must agree with: pure torch, any device, derivatives of any
order right at every angle, and every function broadcasts its leading dimensions.
"""
import math

import torch
from torch import Tensor

from pypose_core.lie.stumpff import atan_ratio, stumpff


def _squared(v: Tensor) -> Tensor:
    return (v * v).sum(-1, keepdim=True)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """a × b, broadcasting (..., 3)."""
    a, b = torch.broadcast_tensors(a, b)
    if a.dtype != b.dtype:
        common = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(common), b.to(common)
    return torch.linalg.cross(a, b)


def hat(v: Tensor) -> Tensor:
    """[v]×: (..., 3) -> (..., 3, 3), so that hat(v) @ u = v × u."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def vee(m: Tensor) -> Tensor:
    """The vector of the skew-symmetric part: (..., 3, 3) -> (..., 3); vee(hat(v)) = v."""
    return torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0],
                        m[..., 1, 0] - m[..., 0, 1]], -1) / 2


def exp(phi: Tensor) -> Tensor:
    """Rotation vector to quaternion: [φ sin(θ/2)/θ, cos(θ/2)]; (..., 3) -> (..., 4)."""
    c0, c1 = stumpff(_squared(phi) / 4, 1)
    return torch.cat([phi * (c1 / 2), c0], -1)


def log(q: Tensor) -> Tensor:
    """Quaternion to the rotation vector of length <= π; q and -q give the same; (..., 4) -> (..., 3).

    2 atan2(n, |w|)/n · sign(w) u with u the vector part and n = |u|.
    """
    u, w = q[..., :3], q[..., 3:]
    sign = torch.where(w < 0, -torch.ones_like(w), torch.ones_like(w))
    return (2 * sign) * atan_ratio(_squared(u), sign * w) * u


def mul(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: R(mul(a, b)) = R(a) R(b); (..., 4), (..., 4) -> (..., 4)."""
    u, s = a[..., :3], a[..., 3:]
    v, t = b[..., :3], b[..., 3:]
    return torch.cat([s * v + t * u + cross(u, v), s * t - (u * v).sum(-1, keepdim=True)], -1)


def inv(q: Tensor) -> Tensor:
    """The conjugate: (..., 4) -> (..., 4)."""
    return torch.cat([-q[..., :3], q[..., 3:]], -1)


def act(q: Tensor, v: Tensor) -> Tensor:
    """R(q) v = v + 2w (u × v) + 2u × (u × v); (..., 4), (..., 3) -> (..., 3)."""
    u, w = q[..., :3], q[..., 3:]
    a = 2 * cross(u, v)
    return v + w * a + cross(u, a)


def matrix(q: Tensor) -> Tensor:
    """Rotation matrix: (..., 4) -> (..., 3, 3)."""
    x, y, z, w = q.unbind(-1)
    return torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1).unflatten(-1, (3, 3))


def _polynomial(b: Tensor | float, c: Tensor, phi: Tensor) -> Tensor:
    """I + b [φ]× + c [φ]×² with b, c (..., 1)."""
    k = hat(phi)
    b = b[..., None] if isinstance(b, Tensor) else b
    return torch.eye(3, dtype=phi.dtype, device=phi.device) + b * k + c[..., None] * (k @ k)


def jinv_coefficient(c: list[Tensor]) -> Tensor:
    """(1 - (θ/2) cot(θ/2))/θ² = (c_3 - 2c_4)/(2c_2), without cancellation at 0; infinite at 2π."""
    return (c[3] - 2 * c[4]) / (2 * c[2])


def jl(phi: Tensor) -> Tensor:
    """Left Jacobian: Exp(φ + δ) ≈ Exp(Jl δ) Exp(φ); (..., 3) -> (..., 3, 3).

    Source: Barfoot, State Estimation for Robotics, eq. 7.77.
    """
    c = stumpff(_squared(phi), 3)
    return _polynomial(c[2], c[3], phi)


def jr(phi: Tensor) -> Tensor:
    """Right Jacobian: Exp(φ + δ) ≈ Exp(φ) Exp(Jr δ); (..., 3) -> (..., 3, 3)."""
    c = stumpff(_squared(phi), 3)
    return _polynomial(-c[2], c[3], phi)


def jl_inv(phi: Tensor) -> Tensor:
    """Inverse of the left Jacobian: (..., 3) -> (..., 3, 3); singular at |φ| = 2π."""
    return _polynomial(-0.5, jinv_coefficient(stumpff(_squared(phi), 4)), phi)


def jr_inv(phi: Tensor) -> Tensor:
    """Inverse of the right Jacobian: (..., 3) -> (..., 3, 3); singular at |φ| = 2π."""
    return _polynomial(0.5, jinv_coefficient(stumpff(_squared(phi), 4)), phi)


# What every group's module has, beyond exp, log, mul, inv, act and matrix above.  A tangent vector `a`
# (..., 3) and the group element X broadcast.

def act_homogeneous(q: Tensor, p: Tensor) -> Tensor:
    """[R v, w] for p = [v, w]; (..., 4), (..., 4) -> (..., 4)."""
    v = act(q, p[..., :3])
    return torch.cat([v, p[..., 3:].expand(v.shape[:-1] + (1,))], -1)


def adj(q: Tensor, a: Tensor) -> Tensor:
    """Adjoint: X Exp(a) = Exp(adj(X, a)) X; here R a."""
    return act(q, a)


def adjt(q: Tensor, a: Tensor) -> Tensor:
    """Adjoint of the inverse: Exp(a) X = X Exp(adjt(X, a)); here Rᵀ a."""
    return act(inv(q), a)


def jlp(phi: Tensor, b: Tensor) -> Tensor:
    """jl(φ) b without the matrix."""
    c = stumpff(_squared(phi), 3)
    k = cross(phi, b)
    return b + c[2] * k + c[3] * cross(phi, k)


def jl_invp(phi: Tensor, a: Tensor) -> Tensor:
    """jl_inv(φ) a without the matrix."""
    d = jinv_coefficient(stumpff(_squared(phi), 4))
    k = cross(phi, a)
    return a - 0.5 * k + d * cross(phi, k)


def jinvp(q: Tensor, a: Tensor) -> Tensor:
    """jl_inv(log q) a."""
    return jl_invp(log(q), a)


def left_tangent(q: Tensor, g: Tensor) -> Tensor:
    """Gradient to the coordinates of X, seen from a left perturbation δ: ∂(Exp(δ) X)/∂δ at 0, transposed.

    (..., 4), (..., 4) -> (..., 3): ½ of the vector part of g o q*.
    """
    return mul(g, inv(q))[..., :3] / 2


def euler(q: Tensor, eps: float = 2e-4) -> Tensor:
    """Roll, pitch, yaw of quaternions, with R = Rz(yaw) Ry(pitch) Rx(roll); (..., 4) -> (..., 3).

    Where |sin(pitch)| >= 1 - eps only yaw ∓ roll is determined: roll is 0 there.
    """
    x, y, z, w = q.unbind(-1)
    a, b, c, d = w - y, w + y, x + z, x - z
    below, above = a * a + c * c, b * b + d * d     # |q|² (1 - sin(pitch)), |q|² (1 + sin(pitch))
    across, n = below * above, (below + above) / 2  # (|q|² cos(pitch))², without cancellation
    locked, pole = across <= n * n * (eps * (2 - eps)), across <= 0
    # In a branch that is not taken nothing may be infinite, nor may its derivative be.
    zero, one = torch.zeros_like(n), torch.ones_like(n)
    roll = torch.atan2(2 * (w * x + y * z), torch.where(locked, one, a * b - c * d))
    yaw = torch.atan2(2 * (w * z + x * y), torch.where(locked, one, a * b + c * d))
    half = torch.atan2(torch.where(locked, x, zero), torch.where(locked, w, one))
    sine = 2 * (w * y - z * x)
    pitch = torch.atan2(sine, torch.where(pole, one, across).sqrt())
    pitch = torch.where(pole, math.pi / 2 * sine.sign(), pitch)
    return torch.stack([torch.where(locked, zero, roll), pitch,
                        torch.where(locked, torch.where(sine < 0, 2 * half, -2 * half), yaw)], -1)
