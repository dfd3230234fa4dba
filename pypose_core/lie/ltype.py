"""Lie types: what kind of element a LieTensor holds, and that kind's constructors."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pypose_core.lie.reference import Group

if TYPE_CHECKING:
    from pypose_core.lie.lietensor import LieTensor


def flat_size(size: Iterable) -> tuple[int, ...]:
    """(2, (3, 4)) -> (2, 3, 4)."""
    return tuple(n for item in size for n in (item if isinstance(item, Iterable) else (item,)))


class LieType:
    """The type of a LieTensor's elements: a group or its algebra.

    `cls` is the class of its LieTensors; `dual` is the type of the algebra of a group, and of the group
    of an algebra.
    """
    cls: type[LieTensor]
    dual: LieType

    def __init__(self, group: Group, *, on_manifold: bool):
        self.group = group
        self.name = group.name.lower() if on_manifold else group.name
        self._width = group.dof if on_manifold else group.width

    @property
    def dimension(self) -> torch.Size:
        """Numbers an element is stored in."""
        return torch.Size([self._width])

    @property
    def embedding(self) -> torch.Size:
        """Numbers an element of the group is stored in."""
        return torch.Size([self.group.width])

    @property
    def manifold(self) -> torch.Size:
        """Dimension of the tangent space."""
        return torch.Size([self.group.dof])

    @property
    def on_manifold(self) -> bool:
        """Whether this is the algebra, a vector space."""
        return self.name[0].islower()

    def __repr__(self) -> str:
        return f'{self.name}Type'

    def __reduce__(self) -> tuple:
        return ltype_named, (self.name,)

    # Constructors.

    def identity(self, *size, requires_grad: bool = False, **kwargs):
        """The identity (of an algebra: zero), `size` times; keywords as of torch.zeros."""
        row = (0.0,) * self.group.dof if self.on_manifold else self.group.identity
        data = torch.tensor(row, **_floating(kwargs)).repeat(flat_size(size) + (1,))
        return self.cls(data).requires_grad_(requires_grad)

    identity_like = identity

    def randn(self, *size, sigma: float | Sequence[float] = 1.0, requires_grad: bool = False, **kwargs):
        """Random elements, `size` of them: Exp of a twist whose parts are normal with deviations `sigma`.

        Rotations have a uniform axis and a normal angle. sigma is a number for all parts, or one number
        for each: (translation, rotation, scale), the translation's optionally for x, y and z apart;
        SE_2(3): (translation, rotation, velocity). Keywords as of torch.randn.
        """
        x = _RANDOM[self.name.lower()](flat_size(size), sigma, _floating(kwargs))
        with torch.no_grad():
            x = self.cls(x) if self.on_manifold else self.dual.cls(x).Exp()
        return x.requires_grad_(requires_grad)

    randn_like = randn

    # PyPose's calls by type: the LieTensor methods, on LieTensors or plain tensors.

    def _as(self, x: Tensor):
        return x if isinstance(x, self.cls) else self.cls(x)

    def Exp(self, input):
        return self._as(input).Exp()

    def Log(self, input):
        return self._as(input).Log()

    def Inv(self, input):
        return self._as(input).Inv()

    def Jr(self, input):
        return self._as(input).Jr()

    def matrix(self, input):
        return self._as(input).matrix()

    def rotation(self, input):
        return self._as(input).rotation()

    def translation(self, input):
        return self._as(input).translation()

    def scale(self, input):
        return self._as(input).scale()

    def identity_(self, input):
        return self._as(input).identity_()

    def Mul(self, X, Y):
        return self._as(X).mul(Y)

    def Retr(self, X, a):
        return self._as(X).Retr(a)

    def Adj(self, X, a):
        return self._as(X).Adj(a)

    def AdjT(self, X, a):
        return self._as(X).AdjT(a)

    def Jinvp(self, X, p):
        return self._as(X).Jinvp(p)

    def Act(self, X, p):
        return self._as(X).Act(p)

    def add_(self, X, other):
        return self._as(X).add_(other)

    def cummul(self, X, dim, left=True):
        return self._as(X).cummul(dim, left)

    def cumprod(self, X, dim, left=True):
        return self._as(X).cumprod(dim, left)

    def cummul_(self, X, dim, left=True):
        return self._as(X).cummul_(dim, left)

    def cumprod_(self, X, dim, left=True):
        return self._as(X).cumprod_(dim, left)

    def cumops(self, X, dim, ops):
        return self._as(X).cumops(dim, ops)

    def cumops_(self, X, dim, ops):
        return self._as(X).cumops_(dim, ops)


def _floating(kwargs: dict) -> dict:
    return kwargs if kwargs.get('dtype') else kwargs | {'dtype': torch.get_default_dtype()}


# Any and no float: to type checkers a float is no numbers.Number.
def _sigmas(sigma: Any, parts: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(deviations of the translation along its axes, deviations of the other parts)."""
    if isinstance(sigma, Number):
        return (sigma,) * 3, (sigma,) * (parts - 1)
    if len(sigma) == parts:
        return (sigma[0],) * 3, tuple(sigma[1:])
    if len(sigma) == parts + 2:
        return tuple(sigma[:3]), tuple(sigma[3:])
    raise ValueError(f'sigma must be a number or a sequence of {parts} or {parts + 2} numbers, not {sigma!r}')


def _rotation(size: tuple[int, ...], sigma: float, kwargs: dict) -> Tensor:
    axis = torch.randn(size + (3,), **kwargs)
    angle = sigma * torch.randn(size + (1,), **kwargs)
    return axis / axis.norm(dim=-1, keepdim=True) * angle


def _vector(size: tuple[int, ...], sigma: Sequence[float], kwargs: dict) -> Tensor:
    options = {k: v for k, v in kwargs.items() if k in ('dtype', 'device')}
    return torch.tensor(sigma, **options) * torch.randn(size + (len(sigma),), **kwargs)


def _random_so3(size, sigma, kwargs):
    if not isinstance(sigma, Number):
        raise ValueError(f'sigma of a rotation must be one number, not {sigma!r}')
    return _rotation(size, sigma, kwargs)


def _random_se3(size, sigma, kwargs):
    translation, (rotation,) = _sigmas(sigma, 2)
    phi = _rotation(size, rotation, kwargs)
    return torch.cat([_vector(size, translation, kwargs), phi], -1)


def _random_sim3(size, sigma, kwargs):
    translation, (rotation, scale) = _sigmas(sigma, 3)
    phi = _rotation(size, rotation, kwargs)
    log_scale = _vector(size, (scale,), kwargs)
    return torch.cat([_vector(size, translation, kwargs), phi, log_scale], -1)


def _random_rxso3(size, sigma, kwargs):
    rotation, scale = (sigma, sigma) if isinstance(sigma, Number) else sigma
    return torch.cat([_rotation(size, rotation, kwargs), _vector(size, (scale,), kwargs)], -1)


def _random_se23(size, sigma, kwargs):
    translation, (rotation, velocity) = _sigmas(sigma, 3)
    phi = _rotation(size, rotation, kwargs)
    rho = _vector(size, translation, kwargs)
    return torch.cat([rho, phi, _vector(size, (velocity,) * 3, kwargs)], -1)


def _random_so2(size, sigma, kwargs):
    return _vector(size, (sigma,), kwargs)


def _random_se2(size, sigma, kwargs):
    translation, rotation = (sigma, sigma) if isinstance(sigma, Number) else sigma
    return _vector(size, (translation, translation, rotation), kwargs)


#: Draws in PyPose's order, so that one seed gives the same elements.
_RANDOM: dict[str, Callable[[tuple[int, ...], float | Sequence[float], dict], Tensor]] = {
    'so3': _random_so3, 'se3': _random_se3, 'sim3': _random_sim3, 'rxso3': _random_rxso3,
    'so2': _random_so2, 'se2': _random_se2, 'se23': _random_se23}

#: Filled by groups.py.
LTYPES: dict[str, LieType] = {}


def ltype_named(name: str) -> LieType:
    """The type of that name, e.g. 'SE3' or 'se3'."""
    return LTYPES[name]
