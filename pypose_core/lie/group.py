"""LieGroup: the methods that LieTensors of every group have."""
from __future__ import annotations

from numbers import Number
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from pypose_core.lie import so3
from pypose_core.lie.dispatch import Operations, call_plain, is_compiling, plain
from pypose_core.lie.lietensor import LieTensor, as_type, fresh

_size = Tensor.size


def last_size(t: Tensor) -> int:
    """Size of the last dimension, of a tensor of any class."""
    return t.size(-1) if type(t) is Tensor or is_compiling() else call_plain(_size, (), (t, -1))


class LieGroup(LieTensor):
    """Elements of a group. Points and tangent vectors broadcast against the elements' leading dimensions."""
    kind: type[LieGroup]
    operations: type[Operations]
    algebra: type[LieAlgebra]
    rotation_kind: type[LieGroup]

    def Log(self) -> LieAlgebra:
        """The twist of the element, rotation angle at most π: the inverse of Exp there."""
        return fresh(type(self).operations.log(self), type(self).algebra)

    def Inv(self) -> LieGroup:
        """The inverse element."""
        return fresh(type(self).operations.inv(self), type(self).kind)

    def Mul(self, other: LieTensor) -> LieTensor:
        """Composition self ∘ other, or the action on points."""
        return self.mul(other)

    def mul(self, other):
        """Group ∘ group composes, group ∘ points (..., 3) or homogeneous points (..., 4) acts."""
        if isinstance(other, type(self).kind):
            return fresh(type(self).operations.mul(self, other), type(self).kind)
        if isinstance(other, LieTensor):
            raise TypeError(f'{self.ltype.name} cannot be multiplied by {other.ltype.name}')
        if isinstance(other, Tensor):
            return self.Act(other)
        raise TypeError(f'{self.ltype.name} can be multiplied by {self.ltype.name} and by points, '
                        f'not by {type(other).__name__}')

    if TYPE_CHECKING:   # LieTensor's own, of which groups know more
        @overload
        def __matmul__(self, other: LieTensor) -> LieGroup: ...

        @overload
        def __matmul__(self, other: Tensor) -> Tensor: ...

        def __matmul__(self, other): ...
        @overload
        def __rmatmul__(self, other: LieTensor) -> LieGroup: ...

        @overload
        def __rmatmul__(self, other: Tensor) -> Tensor: ...

        def __rmatmul__(self, other): ...
        def __add__(self, other) -> LieGroup: ...
        def narrow(self, dim: int, start: Any, length: int) -> LieGroup: ...
        def squeeze(self, *dim: Any) -> LieGroup: ...

    def between(self, other: LieTensor) -> LieGroup:
        """self⁻¹ ∘ other: the pose of `other` in `self`."""
        return fresh(type(self).operations.between(self, other), type(self).kind)

    def Act(self, p: Tensor) -> Tensor:
        """The action on points p (..., n) or homogeneous points (..., n + 1), n = 3 (planar groups: 2)."""
        size, n = last_size(p), type(self).operations.point
        if size == n:
            return type(self).operations.act(self, p)
        if size == n + 1:
            return type(self).operations.act_homogeneous(self, p)
        raise ValueError(f'points must have {n} numbers, or {n + 1} if homogeneous, not {tuple(p.shape)}')

    def Retr(self, a: Tensor) -> LieGroup:
        """Retraction Exp(a) ∘ self, of a (..., dof); renormalised, so that rounding does not accumulate."""
        return fresh(type(self).operations.retract(self, a), type(self).kind)

    def Adj(self, a: Tensor) -> LieAlgebra:
        """The tangent vector b with self ∘ Exp(a) = Exp(b) ∘ self."""
        return fresh(type(self).operations.adj(self, a), type(self).algebra)

    def AdjT(self, a: Tensor) -> LieAlgebra:
        """The tangent vector b with Exp(a) ∘ self = self ∘ Exp(b)."""
        return fresh(type(self).operations.adjt(self, a), type(self).algebra)

    def Jinvp(self, p: Tensor) -> LieAlgebra:
        """Inverse left Jacobian at Log(self) times p: Log(Exp(p) ∘ self) ≈ Log(self) + Jinvp(p)."""
        return fresh(type(self).operations.jinvp(self, p), type(self).algebra)

    def adjoint(self) -> Tensor:
        """The matrix of Adj; (..., dof, dof)."""
        return type(self).operations.adjoint(self)

    def Jr(self) -> Tensor:
        """Right Jacobian at Log(self); (..., dof, dof)."""
        return self.Log().Jr()

    def Jl(self) -> Tensor:
        """Left Jacobian at Log(self); (..., dof, dof)."""
        return self.Log().Jl()

    def Jr_inv(self) -> Tensor:
        """Inverse right Jacobian at Log(self); (..., dof, dof)."""
        return self.Log().Jr_inv()

    def Jl_inv(self) -> Tensor:
        """Inverse left Jacobian at Log(self); (..., dof, dof)."""
        return self.Log().Jl_inv()

    def matrix(self) -> Tensor:
        """The element as a homogeneous matrix (SO3: 3×3, SO2: 2×2)."""
        return type(self).operations.matrix(self)

    # Arithmetic and steps: everything that adds to a group element moves along the group from the left.

    def add(self, other: Tensor, alpha: float = 1) -> LieGroup:
        """Exp(alpha · other) ∘ self; of `other` only the first dof numbers count."""
        dof = type(self).operations.dof
        a = other if last_size(other) == dof else plain(other)[..., :dof]
        if type(alpha) is not int or alpha != 1:
            a = alpha * plain(a)
        return fresh(type(self).operations.retract(self, a), type(self).kind)

    def sub_(self, other: Tensor, *, alpha: float = 1) -> LieTensor:
        """add_(-other)."""
        return self.add_(other, -alpha)

    def addcdiv_(self, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> LieTensor:
        """add_(value · tensor1 / tensor2), as optimizers do."""
        dof = type(self).operations.dof
        return self.add_(plain(tensor1)[..., :dof] / plain(tensor2)[..., :dof], value)

    def addcmul_(self, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> LieTensor:
        """add_(value · tensor1 · tensor2), as optimizers do."""
        dof = type(self).operations.dof
        return self.add_(plain(tensor1)[..., :dof] * plain(tensor2)[..., :dof], value)

    def mul_(self, other) -> LieTensor:
        """Compose in place; by a number s: Exp(s Log X), the way to the identity shortened (weight decay)."""
        if isinstance(other, Number) or (type(other) is Tensor and other.dim() == 0):
            return self.copy_((self.Log() * other).Exp())
        return self.copy_(self.mul(other))

    # Parts.

    def rotation(self) -> LieGroup:
        """The rotation, as SO3 (planar groups: SO2), a view; of these themselves."""
        lo, hi = type(self).operations.rotation
        if hi - lo == type(self).operations.width:
            return self
        return self._part(lo, hi)

    def _part(self, lo: int, hi: int) -> LieGroup:
        if is_compiling():
            return as_type(plain(self)[..., lo:hi], type(self).rotation_kind)
        return fresh(call_plain(_narrow, (), (self, -1, lo, hi - lo)), type(self).rotation_kind)

    def euler(self, eps: float = 2e-4) -> Tensor:
        """Roll, pitch, yaw with R = Rz(yaw) Ry(pitch) Rx(roll); (..., 3). See pp.euler."""
        if eps == 2e-4 or type(self).operations.point == 2:
            return type(self).operations.euler(self)
        return so3.euler(plain(self.rotation()), eps)

    def _absent(self, what: str, value: float, width: int) -> Tensor:
        import warnings
        warnings.warn(f'{self.ltype.name} has no {what}: {value:g} is returned', stacklevel=3)
        return torch.full(self.lshape + (width,), value, dtype=self.dtype, device=self.device)

    def translation(self) -> Tensor:
        """The translation t (..., 3); zero, with a warning, where the group has none."""
        return self._absent('translation', 0.0, 3)

    def scale(self) -> Tensor:
        """The scale s (..., 1); one, with a warning, where the group has none."""
        return self._absent('scale', 1.0, 1)


_narrow = Tensor.narrow


class LieAlgebra(LieTensor):
    """Elements of a Lie algebra: vectors."""
    kind: type[LieAlgebra]
    operations: type[Operations]
    group: type[LieGroup]

    def Exp(self) -> LieGroup:
        """The group element that this twist integrates to."""
        return fresh(type(self).operations.exp(self), type(self).group)

    def Inv(self) -> LieAlgebra:
        """-x."""
        return fresh(-plain(self), type(self).kind)

    def Jr(self) -> Tensor:
        """Right Jacobian: Exp(x + δ) = Exp(x) Exp(Jr δ) to first order; (..., dof, dof)."""
        return type(self).operations.jr(self)

    def Jl(self) -> Tensor:
        """Left Jacobian: Exp(x + δ) = Exp(Jl δ) Exp(x) to first order; (..., dof, dof)."""
        return type(self).operations.jl(self)

    def Jr_inv(self) -> Tensor:
        """Inverse of the right Jacobian; (..., dof, dof)."""
        return type(self).operations.jr_inv(self)

    def Jl_inv(self) -> Tensor:
        """Inverse of the left Jacobian; (..., dof, dof)."""
        return type(self).operations.jl_inv(self)

    def hat(self) -> Tensor:
        """The matrix whose matrix exponential is Exp().matrix()."""
        return type(self).operations.hat(self)

    def matrix(self) -> Tensor:
        """Exp().matrix()."""
        return self.Exp().matrix()

    def rotation(self) -> LieGroup:
        """Exp().rotation()."""
        return self.Exp().rotation()

    def translation(self) -> Tensor:
        """Exp().translation()."""
        return self.Exp().translation()

    def scale(self) -> Tensor:
        """Exp().scale()."""
        return self.Exp().scale()

    def euler(self, eps: float = 2e-4) -> Tensor:
        """Exp().euler()."""
        return self.Exp().euler(eps)

    def add(self, other, alpha: float = 1) -> LieAlgebra:
        """self + alpha · other; of `other` only the first dof numbers count."""
        if isinstance(other, Tensor):
            other = plain(other)[..., :type(self).operations.dof]
        return fresh(torch.add(plain(self), other, alpha=alpha), type(self).kind)

    def mul(self, other) -> LieAlgebra:
        """Times a number or a tensor, element by element."""
        return fresh(plain(self) * (plain(other) if isinstance(other, Tensor) else other), type(self).kind)

    def Mul(self, other) -> LieAlgebra:
        """Times a number or a tensor, element by element."""
        return self.mul(other)
