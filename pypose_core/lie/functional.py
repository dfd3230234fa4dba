"""The LieTensor methods as functions: pp.Exp(x) is x.Exp()."""
from __future__ import annotations

from typing import overload

from torch import Tensor

from pypose_core.lie.lietensor import LieTensor


def _lie(x: LieTensor) -> LieTensor:
    if not isinstance(x, LieTensor):
        raise TypeError(f'the first argument must be a LieTensor, not {type(x).__name__}')
    return x


def Exp(input: LieTensor) -> LieTensor:
    """The group element that a twist integrates to."""
    return _lie(input).Exp()


def Log(input: LieTensor) -> LieTensor:
    """The twist of a group element."""
    return _lie(input).Log()


def Inv(input: LieTensor) -> LieTensor:
    """The inverse element; of an algebra the negative."""
    return _lie(input).Inv()


def Jr(input: LieTensor) -> Tensor:
    """Right Jacobian; of a group element at its Log."""
    return _lie(input).Jr()


def Jl(input: LieTensor) -> Tensor:
    """Left Jacobian; of a group element at its Log."""
    return _lie(input).Jl()


def Jr_inv(input: LieTensor) -> Tensor:
    """Inverse of the right Jacobian."""
    return _lie(input).Jr_inv()


def Jl_inv(input: LieTensor) -> Tensor:
    """Inverse of the left Jacobian."""
    return _lie(input).Jl_inv()


@overload
def Mul(x: LieTensor, y: LieTensor) -> LieTensor: ...


@overload
def Mul(x: LieTensor, y: Tensor) -> Tensor: ...


def Mul(x: LieTensor, y: Tensor) -> Tensor:
    """Composition of group elements, or the action on points."""
    return _lie(x) @ y


def Retr(X: LieTensor, a: Tensor) -> LieTensor:
    """Retraction Exp(a) X."""
    return _lie(X).Retr(a)


def Act(X: LieTensor, p: Tensor) -> Tensor:
    """Action on points (..., 3) or homogeneous points (..., 4)."""
    return _lie(X).Act(p)


def Adj(X: LieTensor, a: Tensor) -> LieTensor:
    """The b with X Exp(a) = Exp(b) X."""
    return _lie(X).Adj(a)


def AdjT(X: LieTensor, a: Tensor) -> LieTensor:
    """The b with Exp(a) X = X Exp(b)."""
    return _lie(X).AdjT(a)


def Jinvp(X: LieTensor, p: Tensor) -> LieTensor:
    """Inverse left Jacobian at Log(X) times p."""
    return _lie(X).Jinvp(p)


def between(X: LieTensor, Y: LieTensor) -> LieTensor:
    """X⁻¹ Y."""
    return _lie(X).between(Y)


def add(input: LieTensor, other: Tensor, alpha: float = 1) -> LieTensor:
    """A group: Exp(alpha · other) X; an algebra: x + alpha · other."""
    return input.add(other, alpha)


def add_(input: LieTensor, other: Tensor, alpha: float = 1) -> LieTensor:
    """add() in place."""
    return input.add_(other, alpha)


def mul(input: LieTensor, other) -> LieTensor | Tensor:
    """input * other."""
    return input * other


def tensor(inputs: LieTensor) -> Tensor:
    """The coordinates as a torch.Tensor."""
    return inputs.tensor()


def translation(inputs: LieTensor) -> Tensor:
    """The translation (..., 3)."""
    return inputs.translation()


def rotation(inputs: LieTensor) -> LieTensor:
    """The rotation, as SO3."""
    return inputs.rotation()


def scale(inputs: LieTensor) -> Tensor:
    """The scale (..., 1)."""
    return inputs.scale()


def matrix(inputs: LieTensor) -> Tensor:
    """The homogeneous matrix."""
    return inputs.matrix()


def euler(inputs: LieTensor, eps: float = 2e-4) -> Tensor:
    """Roll, pitch, yaw (..., 3): R = Rz(yaw) Ry(pitch) Rx(roll); roll is 0 where |sin(pitch)| >= 1 - eps."""
    return inputs.euler(eps=eps)


def hat(input: LieTensor) -> Tensor:
    """The matrix of an algebra's element, whose matrix exponential is Exp(input).matrix()."""
    return _lie(input).hat()
