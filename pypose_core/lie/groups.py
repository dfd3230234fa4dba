"""The groups and their algebras as LieTensor classes, and their types.

    group    storage                      algebra   tangent
    SO3      (4)  [q]                     so3       (3)  [φ]
    SE3      (7)  [t, q]                  se3       (6)  [ρ, φ]
    RxSO3    (5)  [q, s]                  rxso3     (4)  [φ, log s]
    Sim3     (8)  [t, q, s]               sim3      (7)  [τ, φ, log s]
    SO2      (2)  [cos θ, sin θ]          so2       (1)  [θ]
    SE2      (4)  [x, y, cos θ, sin θ]    se2       (3)  [ρ, θ]
    SE23     (10) [t, q, v]               se23      (9)  [ρ, φ, ν]

Quaternions are x y z w.  SE23 is SE_2(3), the extended poses of inertial navigation.
"""
from __future__ import annotations

from torch import Tensor

from pypose_core.lie import registration as registration
from pypose_core.lie.dispatch import call_plain, is_compiling, operations_of, plain
from pypose_core.lie.group import LieAlgebra, LieGroup, _narrow
from pypose_core.lie.lietensor import LieTensor
from pypose_core.lie.ltype import LTYPES, LieType
from pypose_core.lie.reference import GROUPS


class SO3(LieGroup):
    """Rotations as unit quaternions."""


class so3(LieAlgebra):
    """Rotation vectors."""


class _WithTranslation(LieGroup):
    def translation(self) -> Tensor:
        """The translation t (..., 3), a view (planar groups: 2)."""
        if is_compiling():
            return plain(self)[..., :type(self).operations.point]
        return call_plain(_narrow, (), (self, -1, 0, type(self).operations.point))


class _WithScale(LieGroup):
    def scale(self) -> Tensor:
        """The scale s (..., 1), a view."""
        if is_compiling():
            return plain(self)[..., -1:]
        return call_plain(_narrow, (), (self, -1, type(self).operations.width - 1, 1))


class SE3(_WithTranslation):
    """Rigid motions."""


class se3(LieAlgebra):
    """Twists."""


class RxSO3(_WithScale):
    """Rotations with scale."""


class rxso3(LieAlgebra):
    """Rotation vectors with the logarithm of a scale."""


class Sim3(_WithTranslation, _WithScale):
    """Similarities."""


class sim3(LieAlgebra):
    """Twists with the logarithm of a scale."""


class SO2(LieGroup):
    """Rotations of the plane as unit complex numbers."""


class so2(LieAlgebra):
    """Angles."""


class SE2(_WithTranslation):
    """Rigid motions of the plane."""


class se2(LieAlgebra):
    """Twists of the plane."""


class SE23(_WithTranslation):
    """Extended poses: position, attitude and velocity."""

    def velocity(self) -> Tensor:
        """The velocity v (..., 3), a view."""
        return plain(self)[..., 7:]


class se23(LieAlgebra):
    """Twists of extended poses."""


def _connect(group: type[LieGroup], algebra: type[LieAlgebra],
             rotation: type[LieGroup]) -> tuple[LieType, LieType]:
    reference = GROUPS[group.__name__]
    operations = operations_of(reference)
    # A class for each, as in PyPose: programs ask isinstance(X.ltype, SE3Type).
    types = tuple(type(f'{cls.__name__}Type', (LieType,), {})(reference, on_manifold=cls is algebra)
                  for cls in (group, algebra))
    classes: tuple[type[LieGroup], type[LieAlgebra]] = group, algebra
    for cls, ltype, dual in zip(classes, types, types[::-1]):
        cls.ltype, cls.kind, cls.operations = ltype, cls, operations
        cls.width = ltype.dimension[0]
        ltype.cls, ltype.dual = cls, dual
        LTYPES[ltype.name] = ltype
    group.algebra, algebra.group, group.rotation_kind = algebra, group, rotation
    return types


SO3_type, so3_type = _connect(SO3, so3, SO3)
SE3_type, se3_type = _connect(SE3, se3, SO3)
RxSO3_type, rxso3_type = _connect(RxSO3, rxso3, SO3)
Sim3_type, sim3_type = _connect(Sim3, sim3, SO3)
SO2_type, so2_type = _connect(SO2, so2, SO2)
SE2_type, se2_type = _connect(SE2, se2, SO2)
SE23_type, se23_type = _connect(SE23, se23, SO3)


def as_type_compiled(t: Tensor, cls: type[LieTensor]) -> LieTensor:
    """t as a LieTensor; torch.compile can follow only where the class is a name."""
    if cls is SO3:
        return t.as_subclass(SO3)
    if cls is so3:
        return t.as_subclass(so3)
    if cls is SE3:
        return t.as_subclass(SE3)
    if cls is se3:
        return t.as_subclass(se3)
    if cls is RxSO3:
        return t.as_subclass(RxSO3)
    if cls is rxso3:
        return t.as_subclass(rxso3)
    if cls is Sim3:
        return t.as_subclass(Sim3)
    if cls is sim3:
        return t.as_subclass(sim3)
    if cls is SO2:
        return t.as_subclass(SO2)
    if cls is so2:
        return t.as_subclass(so2)
    if cls is SE2:
        return t.as_subclass(SE2)
    if cls is se2:
        return t.as_subclass(se2)
    if cls is SE23:
        return t.as_subclass(SE23)
    return t.as_subclass(se23)
