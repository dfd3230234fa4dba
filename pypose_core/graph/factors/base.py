"""Batches of factors: one object holds many factors of one form.

A factor with residual r and information Omega costs rho(weight r' Omega r), rho its robust kernel.
"""
import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..groups import Group
from ..kernels import RobustKernel
from ..operations import operations

EMPTY = torch.empty(0, dtype=torch.float64)


@dataclass(frozen=True)
class Places:
    """Where the blocks of one batch of factors go in the normal equations."""

    columns: tuple[Tensor, ...]
    """Per position in the factor, (N,) scalar row of each variable of its set; -1 for one that is held."""
    slots: Tensor
    """(M, V (V + 1) / 2) places of the blocks (a, b <= a): 2 offset + transposed, or -1."""


class Factors(ABC):
    """M factors on V variables each.

    Args:
        variables: the name of the set of variables at each of the V positions.
        index: (M, V) which variable of its set.
        data: what the residuals depend on besides the variables, (M, ...) each.
        information: (M, e, e) or (e, e), the inverse covariance of the residuals; identity by default.
        sqrt_information: S with Omega = S' S, instead.
        kernel, width: robust kernel and its width in standard deviations.
        weight: (M,) factors on Omega.
    """

    groups: tuple[Group, ...]
    """Of the variables at each position, from `check` on."""
    information: Tensor
    """(M, e, e), from `check` on."""

    def __init__(self, variables: Sequence[str], index: Tensor, data: Mapping[str, Tensor], *,
                 information: Tensor | None = None, sqrt_information: Tensor | None = None,
                 kernel: RobustKernel = RobustKernel.NONE, width: float = 1.0, weight: Tensor | None = None):
        self.variables = tuple(variables)
        index = torch.as_tensor(index)
        if index.is_floating_point() and index.numel():
            raise ValueError(f'index must be integers, got {index.dtype}')
        index = index.to(torch.int64)
        self.index = (index[:, None] if index.dim() == 1 else index).contiguous()
        if self.index.dim() != 2 or self.index.shape[1] != len(self.variables):
            raise ValueError(f'index must have shape (M, {len(self.variables)}), got {tuple(index.shape)}')
        if len(set(self.variables)) < len(self.variables):
            self._refuse_loops()
        if kernel is not RobustKernel.NONE and not width > 0:
            raise ValueError(f'the width of a robust kernel must be positive, got {width}')
        if information is not None and sqrt_information is not None:
            raise ValueError('give information or sqrt_information, not both')
        self.kernel, self.width = kernel, float(width)
        self.weight = None if weight is None else real(weight, (len(self.index),), 'weight')
        self.data = {name: torch.as_tensor(x).as_subclass(Tensor).detach() for name, x in data.items()}
        self._given = information, sqrt_information
        self._root: Tensor | None = None
        self.unit_information = False

    def _refuse_loops(self) -> None:
        for b, name in enumerate(self.variables):
            for a in range(b):
                if self.variables[a] == name:
                    loop = operations.graph_first_loop(self.index, a, b)
                    if loop >= 0:
                        raise ValueError(f'factor {loop} connects a variable with itself')

    def __len__(self) -> int:
        return self.index.shape[0]

    @property
    def absolute(self) -> bool:
        """Whether the factors may tie a variable to the world, and not only variables to each other."""
        return len(self.variables) == 1

    def check(self, groups: dict[str, Group]) -> None:
        """Raise ValueError where the measurements do not fit the groups of the variables."""
        self.groups = tuple(groups[name] for name in self.variables)
        size, shapes = self.layout(self.groups)
        self.data = {name: real(x, (len(self), *shapes[name]), name) if name in shapes else x
                     for name, x in self.data.items()}
        for name in shapes:
            bad = operations.graph_first_not_finite(self.data[name])
            if bad >= 0:
                raise ValueError(f'{name} {bad} is not finite')
        if self.weight is not None:
            bad = (~(self.weight >= 0) | self.weight.isinf()).nonzero()[:, 0]
            if len(bad):
                raise ValueError(f'weight {int(bad[0])} is {float(self.weight[bad[0]])}: it must be finite and not '
                                 'negative')
        information, root = self._given
        if root is not None:
            self._root = real(root, (len(self), size, size), 'sqrt_information')
            self.information = (self._root.mT @ self._root).contiguous()
        elif information is not None:
            alike = torch.as_tensor(information).dim() == 2
            self.set_information(real(information, (len(self), size, size), 'information'), alike=alike)
        else:
            self.unit_information = True
            self.information = torch.eye(size, dtype=torch.float64).expand(len(self), size, size).contiguous()

    def set_information(self, information: Tensor, *, known: bool = False, alike: bool = False) -> None:
        """Take (M, e, e) as the information; `known` to be right, or `alike` of all factors.

        Raises:
            ValueError: it is not symmetric positive semidefinite.
        """
        bad = operations.graph_first_indefinite(information[:0 if known else 1 if alike else None])
        if bad >= 0:
            raise ValueError(f'the information of factor {bad} is not symmetric positive semidefinite')
        self.information, self._root, self.unit_information = information, None, False

    def expanded(self, name: str, x: Tensor) -> Tensor:
        """x as it enters here as 'information', 'weight', or one of the data: float64 for every factor, by
        differentiable operations. 'sqrt_information' gives the information.

        Raises:
            ValueError: there is no such input, or x has not its shape.
        """
        size = self.residual_size
        shapes = {'information': (size, size), 'sqrt_information': (size, size), 'weight': (),
                  **{key: value.shape[1:] for key, value in self.data.items()}}
        if name not in shapes:
            raise ValueError(f'{type(self).__name__} factors have no input {name!r}; they have {sorted(shapes)}')
        x = x.as_subclass(Tensor).to(torch.float64)
        try:
            x = x.expand(len(self), *shapes[name])
        except RuntimeError:
            raise ValueError(f'{name} must have shape {(len(self), *shapes[name])}, got {tuple(x.shape)}') from None
        return x.mT @ x if name == 'sqrt_information' else x

    def take(self, name: str, x: Tensor, *, known: bool = False) -> None:
        """Use x, as `expanded` gives it, from now on; a known one was taken before and is not looked at again."""
        x = x.detach().contiguous()
        if name == 'weight':
            self.weight = x
        elif name in ('information', 'sqrt_information'):
            self.set_information(x, known=known)
        else:
            self.data[name] = x

    @property
    def root(self) -> Tensor:
        """S (M, e, e) with Omega = S' S."""
        if self._root is None:
            L, failed = torch.linalg.cholesky_ex(self.information)
            if bool(failed.any()):     # semidefinite is allowed
                values, vectors = torch.linalg.eigh(self.information)
                L = vectors * values.clamp(min=0).sqrt()[:, None, :]
            self._root = L.mT.contiguous()
        return self._root

    def at(self, values: dict[str, Tensor]) -> list[Tensor]:
        """(M, storage) values of the variable at each position."""
        return [values[name][self.index[:, k]] for k, name in enumerate(self.variables)]

    @abstractmethod
    def layout(self, groups: tuple[Group, ...]) -> tuple[int, dict[str, tuple[int, ...]]]:
        """Numbers in one residual, and the shape of one row of each of the data.

        Raises:
            ValueError: these factors know no residual for variables of these groups.
        """

    @abstractmethod
    def residual(self, x: Sequence[Tensor], data: Mapping[str, Tensor]) -> Tensor:
        """(M, e) at variables x (M, storage) each, differentiable by them and by the data."""

    @abstractmethod
    def jacobians(self, x: Sequence[Tensor], data: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The residual (M, e), and its derivatives (M, e, dof) by perturbations of each variable; as differentiable."""

    def linearize(self, values: dict[str, Tensor], places: Places | None, H: Tensor, g: Tensor) -> tuple[float, float]:
        """(cost, chi2) at the values; adds J' Omega J to H and J' Omega r to g unless `places` is None."""
        r, J = self.whitened(self.at(values), jacobian=places is not None)
        return assemble(self, r, J, places, H, g)

    @torch.no_grad()
    def whitened(self, x: Sequence[Tensor], *, jacobian: bool) -> tuple[Tensor, Tensor | None]:
        """S r (M, e), and S J (M, e, sum of the dofs) where it is wanted, at variables x (M, storage) each."""
        r, J = self.unwhitened(x, jacobian=jacobian)
        if not self.unit_information:
            r = (self.root @ r[..., None])[..., 0]
            J = None if J is None else self.root @ J
        return r.contiguous(), None if J is None else J.contiguous()

    def unwhitened(self, x: Sequence[Tensor], *, jacobian: bool) -> tuple[Tensor, Tensor | None]:
        """r (M, e), and J (M, e, sum of the dofs) where it is wanted: numbers alone, without derivatives."""
        if not jacobian:
            return self.residual(x, self.data), None
        r, J = self.jacobians(x, self.data)
        return r, torch.cat(J, -1)

    def select(self, rows: Tensor) -> 'Factors':
        """Some of the factors; for factors that `check` has seen."""
        part = copy.copy(self)
        part.index, part.information = self.index[rows], self.information[rows]
        part.data = {name: x[rows] for name, x in self.data.items()}
        part.weight = None if self.weight is None else self.weight[rows]
        part._root = None if self._root is None else self._root[rows]
        part._given = (None, None) if self.unit_information else (part.information, None)
        return part

    def squared(self, values: dict[str, Tensor]) -> Tensor:
        """(M,) r' Omega r of each factor."""
        with torch.no_grad():
            r = self.residual(self.at(values), self.data)
            return (r[:, None, :] @ self.information @ r[..., None])[:, 0, 0]

    @property
    def residual_size(self) -> int:
        """Numbers in one residual."""
        return self.information.shape[-1]


class Measured(Factors):
    """Factors with one measurement each."""

    @property
    def measured(self) -> Tensor:
        """(M, ...) what was measured."""
        return self.data['measured']


def real(x: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """x as float64 of this shape."""
    if type(x) is Tensor and x.dtype == torch.float64 and x.shape == shape and x.is_contiguous():
        return x.detach()       # an incremental graph asks for this in every update
    x = torch.as_tensor(x).as_subclass(Tensor).detach().to(torch.float64)
    try:
        return x.expand(shape).contiguous()
    except RuntimeError:
        raise ValueError(f'{name} must have shape {shape}, got {tuple(x.shape)}') from None


def assemble(factors: Factors, r: Tensor, J: Tensor | None, places: Places | None, H: Tensor,
             g: Tensor) -> tuple[float, float]:
    """Normal equations of whitened residuals (M, e) and Jacobians (M, e, sum of the dofs)."""
    count, dofs = len(factors), [group.dof for group in factors.groups]
    if places is None:
        J = r.new_empty(*r.shape, sum(dofs))
        columns = torch.full((count, len(dofs)), -1)
        slots = torch.full((count, len(dofs) * (len(dofs) + 1) // 2), -1)
    else:
        columns = torch.stack([column[factors.index[:, k]] for k, column in enumerate(places.columns)], 1)
        slots = places.slots
    weight = EMPTY if factors.weight is None else factors.weight
    return operations.graph_assemble(J, r, dofs, weight, factors.kernel.value, factors.width, columns, slots,
                                           H, g)
