"""What the variables of a graph can be, and how they are perturbed: always on the right, X Exp(d).

The tangent of a pose is thus in the pose's own frame: [rho, phi] in SE3, [rho, theta] in SE2. Covariances and
information follow this order, which is also that of g2o's files.
"""
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pypose_core.lie import se2, se3


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
    native: bool
    """Whether the native kernels know this group; the others are linearized in torch."""

    def __repr__(self) -> str:
        return self.name


SE2 = Group('SE2', 4, 3, (0., 0., 1., 0.), lambda X, d: se2.mul(X, se2.exp(d)),
            lambda A, B: se2.log(se2.mul(se2.inv(A), B)), lambda A, B: se2.mul(se2.inv(A), B), native=True)
"""Poses of the plane, [x, y, cos, sin]; the residual is Log(A^-1 B), as in GTSAM (g2o: [x, y, theta] of A^-1 B)."""

SE3 = Group('SE3', 7, 6, (0., 0., 0., 0., 0., 0., 1.), lambda X, d: se3.mul(X, se3.exp(d)),
            lambda A, B: se3.log(se3.mul(se3.inv(A), B)), lambda A, B: se3.mul(se3.inv(A), B), native=True)
"""Poses [x y z | qx qy qz qw]; the residual is Log(A^-1 B), as in GTSAM."""


def Euclidean(n: int) -> Group:
    """Vectors of n numbers: points, biases, calibrations."""
    return Group(f'R{n}', n, n, (0.,) * n, lambda X, d: X + d, lambda A, B: B - A, lambda A, B: B - A, native=False)
