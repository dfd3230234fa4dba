"""The table of a group's operations on plain tensors, in pure torch: what the native kernels must agree with.

Each group's module has its own closed forms; this adds what follows from them in every group alike.
"""
import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from pypose_core.lie import rxso3, se2, se3, se23, sim3, so2, so3


@dataclass(frozen=True)
class Group:
    """One group: its module and how its elements are stored."""
    name: str
    """Name of the group, e.g. 'SE3'; its algebra has the same in lower case."""
    module: ModuleType
    """The closed forms."""
    identity: tuple[float, ...]
    """Coordinates of the identity; their number is the storage width."""
    dof: int
    """Dimension of the tangent space."""
    rotation: tuple[int, int]
    """Where in the storage the unit quaternion (or unit complex number) lies."""
    point: int = 3
    """Dimension of the points that the group acts on."""

    @property
    def width(self) -> int:
        return len(self.identity)

    @functools.cached_property
    def functions(self) -> dict[str, Callable]:
        """Every operation by name: the module's own and those that follow from them."""
        own = {name: f for name, f in vars(self.module).items() if callable(f)}
        return own | _derived(self.module, self.width, self.dof, self.rotation)


def _derived(module: ModuleType, width: int, dof: int, rotation: tuple[int, int]) -> dict[str, Callable]:
    # Plain functions over plain functions: torch.compile follows no bound methods here.
    lo, hi = rotation
    exp, inv, mul, adjoint_action = module.exp, module.inv, module.mul, module.adj
    left, left_inverse, tangent = module.jlp, module.jl_invp, module.left_tangent
    angles = so3.euler

    def normalized(X: Tensor) -> Tensor:
        """The same element with its rotation of unit length."""
        unit = X[..., lo:hi]
        unit = unit / torch.linalg.vector_norm(unit, dim=-1, keepdim=True)
        return torch.cat([X[..., :lo], unit, X[..., hi:]], -1)

    def between(X: Tensor, Y: Tensor) -> Tensor:
        """X⁻¹ Y."""
        return mul(inv(X), Y)

    def retract(X: Tensor, a: Tensor) -> Tensor:
        """Exp(a) X, renormalised so that rounding doesn't accumulate over many steps."""
        return normalized(mul(exp(a), X))

    def euler(X: Tensor) -> Tensor:
        """Roll, pitch, yaw of the rotation (planar groups: yaw alone); (..., 3)."""
        if hi - lo == 4:
            return angles(X[..., lo:hi])
        yaw = so2.log(X[..., lo:hi])
        return torch.cat([0 * yaw, 0 * yaw, yaw], -1)

    def eye(x: Tensor) -> Tensor:
        return torch.eye(dof, dtype=x.dtype, device=x.device)

    def jl(x: Tensor) -> Tensor:
        """Left Jacobian: Exp(x + δ) = Exp(Jl δ) Exp(x) to first order; (..., dof) -> (..., dof, dof)."""
        return left(x.unsqueeze(-2), eye(x)).mT

    def jr(x: Tensor) -> Tensor:
        """Right Jacobian: Exp(x + δ) = Exp(x) Exp(Jr δ) to first order; Jr(x) = Jl(-x)."""
        return left(-x.unsqueeze(-2), eye(x)).mT

    def jl_inv(x: Tensor) -> Tensor:
        """Inverse of the left Jacobian."""
        return left_inverse(x.unsqueeze(-2), eye(x)).mT

    def jr_inv(x: Tensor) -> Tensor:
        """Inverse of the right Jacobian."""
        return left_inverse(-x.unsqueeze(-2), eye(x)).mT

    def adjoint(X: Tensor) -> Tensor:
        """The matrix of adj(X, ·); (..., width) -> (..., dof, dof)."""
        return adjoint_action(X.unsqueeze(-2), eye(X)).mT

    def to_leaf(X: Tensor, g: Tensor) -> Tensor:
        """Gradient as PyPose delivers it at a leaf: left tangent first, zeros up to the storage width."""
        return torch.nn.functional.pad(tangent(*torch.broadcast_tensors(X, g)), (0, width - dof))

    return {f.__name__: f for f in (normalized, between, retract, jl, jr, jl_inv, jr_inv, adjoint, to_leaf, euler)}


GROUPS = {group.name: group for group in (
    Group('SO3', so3, (0, 0, 0, 1), 3, (0, 4)),
    Group('SE3', se3, (0, 0, 0, 0, 0, 0, 1), 6, (3, 7)),
    Group('RxSO3', rxso3, (0, 0, 0, 1, 1), 4, (0, 4)),
    Group('Sim3', sim3, (0, 0, 0, 0, 0, 0, 1, 1), 7, (3, 7)),
    Group('SO2', so2, (1, 0), 1, (0, 2), 2),
    Group('SE2', se2, (0, 0, 1, 0), 3, (2, 4), 2),
    Group('SE23', se23, (0, 0, 0, 0, 0, 0, 1, 0, 0, 0), 9, (3, 7)),
)}
