"""What the variables of a graph can be, and how they are perturbed: always on the right, X Exp(d).

The tangent of a pose is thus in the pose's own frame: [rho, phi] in SE3, [rho, theta] in SE2. Covariances and
information follow this order, which is also that of g2o's files.
"""
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.lie import se2, se3, se23, sim3, so3


@dataclass(frozen=True)
class Group:
    """A kind of variable."""

    name: str
    storage: int
    """Numbers that a value takes."""
    dof: int
    """Numbers that a perturbation takes."""
    identity: tuple[float, ...]
    """The neutral element."""
    retract: Callable[[Tensor, Tensor], Tensor]
    """X Exp(d): (..., storage), (..., dof) -> (..., storage); differentiable."""
    difference: Callable[[Tensor, Tensor], Tensor]
    """Residual of B against A: (..., storage), (..., storage) -> (..., dof); zero where they are equal."""
    relative: Callable[[Tensor, Tensor], Tensor]
    """A^-1 B."""
    right_jacobian: Callable[[Tensor], Tensor]
    """d difference(A, B) / d B, from that difference r: (..., dof) -> (..., dof, dof)."""
    adjoint_inverse: Callable[[Tensor], Tensor]
    """Ad(T^-1) with Exp(d) T = T Exp(Ad(T^-1) d): (..., storage) -> (..., dof, dof)."""
    native: bool
    """Whether native kernels of this group are there; the others are linearized in torch."""
    position: slice
    """Of the storage: a point, or the origin of the pose."""
    rotation: slice | None = None
    """Of the storage: quaternion, or cosine and sine."""
    position_step: slice | None = None
    """Of the tangent: what moves the position, and nothing but it."""
    rotation_step: slice | None = None
    """Of the tangent: what turns the pose, about its own axes."""
    body_axes: bool = False
    """Whether position_step is along the axes of the pose, and not those of the world."""

    def __repr__(self) -> str:
        return self.name


def _columns(function: Callable[..., Tensor], x: Tensor, dof: int) -> Tensor:
    """The matrix of the linear map function(x, .)."""
    eye = torch.eye(dof, dtype=x.dtype)
    return function(x[..., None, :], eye.expand(*x.shape[:-1], dof, dof)).mT


def _lie(name: str, module: ModuleType, identity: tuple[float, ...], dof: int, **layout) -> Group:
    def relative(A: Tensor, B: Tensor) -> Tensor:
        return module.mul(module.inv(A), B)

    return Group(name, len(identity), dof, identity, lambda X, d: module.mul(X, module.exp(d)),
                 lambda A, B: module.log(relative(A, B)), relative, lambda r: _columns(module.jl_invp, -r, dof),
                 lambda T: _columns(module.adjt, T, dof), **layout)


SE2 = _lie('SE2', se2, (0., 0., 1., 0.), 3, native=native.available, position=slice(0, 2), rotation=slice(2, 4),
           position_step=slice(0, 2), rotation_step=slice(2, 3), body_axes=True)
"""Poses of the plane, [x, y, cos, sin]; the residual is Log(A^-1 B), as in GTSAM (g2o: [x, y, theta] of A^-1 B)."""

SE3 = _lie('SE3', se3, (0., 0., 0., 0., 0., 0., 1.), 6, native=native.available, position=slice(0, 3),
           rotation=slice(3, 7), position_step=slice(0, 3), rotation_step=slice(3, 6), body_axes=True)
"""Poses [x y z | qx qy qz qw]; the residual is Log(A^-1 B), as in GTSAM."""

SIM3 = _lie('Sim3', sim3, (0., 0., 0., 0., 0., 0., 1., 1.), 7, native=False, position=slice(0, 3),
            rotation=slice(3, 7))
"""Similarities [x y z | qx qy qz qw | s], tangent [tau, phi, log s]; the residual is Log(A^-1 B)."""


def Euclidean(n: int) -> Group:
    """Vectors of n numbers: points, biases, calibrations."""
    def eye(x: Tensor) -> Tensor:
        return torch.eye(n, dtype=x.dtype).expand(*x.shape[:-1], n, n)

    return Group(f'R{n}', n, n, (0.,) * n, lambda X, d: X + d, lambda A, B: B - A, lambda A, B: B - A, eye, eye,
                 native=False, position=slice(0, n), position_step=slice(0, n))


# Navigation states: a rotation, and vectors that add up.

def _nav_retract(X: Tensor, d: Tensor) -> Tensor:
    turn, velocity, position, bias = d.split((3, 3, 3, 6), -1)
    return torch.cat([X[..., :3] + position, so3.mul(X[..., 3:7], so3.exp(turn)), X[..., 7:10] + velocity,
                      X[..., 10:] + bias], -1)


def _nav_relative(A: Tensor, B: Tensor) -> Tensor:
    return torch.cat([B[..., :3] - A[..., :3], so3.mul(so3.inv(A[..., 3:7]), B[..., 3:7]), B[..., 7:] - A[..., 7:]], -1)


def _nav_difference(A: Tensor, B: Tensor) -> Tensor:
    T = _nav_relative(A, B)
    return torch.cat([so3.log(T[..., 3:7]), T[..., 7:10], T[..., :3], T[..., 10:]], -1)


def _nav_block(rotation: Tensor) -> Tensor:
    out = torch.eye(15, dtype=rotation.dtype).repeat(*rotation.shape[:-2], 1, 1)
    out[..., :3, :3] = rotation
    return out


NAV_STATE = Group(
    'NavState', 16, 15, (0.,) * 6 + (1.,) + (0.,) * 9, _nav_retract, _nav_difference, _nav_relative,
    lambda r: _nav_block(so3.jr_inv(r[..., :3])), lambda T: _nav_block(so3.matrix(T[..., 3:7]).mT), native=False,
    position=slice(0, 3), rotation=slice(3, 7), position_step=slice(6, 9), rotation_step=slice(0, 3))
"""Extended poses and biases, [p, q, v, gyroscope bias, accelerometer bias], tangent [rotation (about the body's axes),
velocity, position (both along the world's axes), biases]: that of the inertial covariances."""


# The same states in their own group: position and velocity turn with the rotation.

def _extended_relative(A: Tensor, B: Tensor) -> Tensor:
    return torch.cat([se23.mul(se23.inv(A[..., :10]), B[..., :10]), B[..., 10:] - A[..., 10:]], -1)


def _extended_difference(A: Tensor, B: Tensor) -> Tensor:
    T = _extended_relative(A, B)
    return torch.cat([se23.log(T[..., :10]), T[..., 10:]], -1)


def _extended_block(block: Tensor) -> Tensor:
    out = torch.eye(15, dtype=block.dtype).repeat(*block.shape[:-2], 1, 1)
    out[..., :9, :9] = block
    return out


SE23_BIAS = Group(
    'SE_2(3)+bias', 16, 15, NAV_STATE.identity,
    lambda X, d: torch.cat([se23.mul(X[..., :10], se23.exp(d[..., :9])), X[..., 10:] + d[..., 9:]], -1),
    _extended_difference, _extended_relative, lambda r: _extended_block(_columns(se23.jl_invp, -r[..., :9], 9)),
    lambda T: _extended_block(_columns(se23.adjt, T[..., :10], 9)), native=False, position=slice(0, 3),
    rotation=slice(3, 7), position_step=slice(0, 3), rotation_step=slice(3, 6), body_axes=True)
"""Rows as of NAV_STATE, moved in SE_2(3): tangent [rho, phi, nu (position, rotation, velocity, all along the body's
axes), biases]; the residual is Log(A^-1 B) beside the biases' difference. Source: Barrau and Bonnabel, 2017."""


def normalized(group: Group, values: Tensor) -> Tensor:
    """Values with the rotation's length made 1, differentiable; where it is 0 they are not finite."""
    if group.rotation is None:
        return values
    scale = torch.ones_like(values)
    scale[..., group.rotation] = 1 / values[..., group.rotation].norm(dim=-1, keepdim=True)
    return values * scale
