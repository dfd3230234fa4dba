"""Batches of factors: one object holds many factors of one form.

A factor with residual r and information Omega costs rho(weight r' Omega r), rho its robust kernel.
"""
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .groups import Group
from .kernels import RobustKernel

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

    Attributes:
        variables: the name of the set of variables at each of the V positions.
        index: (M, V) which variable of its set.
    """

    variables: tuple[str, ...]
    index: Tensor
    kernel: RobustKernel
    width: float
    weight: Tensor | None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def absolute(self) -> bool:
        """Whether the factors may tie a variable to the world, and not only variables to each other."""
        return len(self.variables) == 1

    def _take(self, variables: Sequence[str], index: Tensor, kernel: RobustKernel, width: float,
              weight: Tensor | None) -> None:
        self.variables = tuple(variables)
        index = torch.as_tensor(index, dtype=torch.int64)
        self.index = (index[:, None] if index.dim() == 1 else index).contiguous()
        if self.index.dim() != 2 or self.index.shape[1] != len(self.variables):
            raise ValueError(f'index must have shape (M, {len(self.variables)}), got {tuple(index.shape)}')
        if len(set(self.variables)) < len(self.variables):
            rows = self.index.sort(1).values
            loops = (rows[:, 1:] == rows[:, :-1]).any(1)
            if bool(loops.any()):
                raise ValueError(f'factor {int(loops.nonzero()[0])} connects a variable with itself')
        if kernel is not RobustKernel.NONE and not width > 0:
            raise ValueError(f'the width of a robust kernel must be positive, got {width}')
        self.kernel, self.width = kernel, float(width)
        self.weight = None if weight is None else _float(weight, (len(self.index),), 'weight')

    @abstractmethod
    def check(self, groups: dict[str, Group]) -> None:
        """Raise ValueError where the measurements do not fit the groups of the variables."""

    @abstractmethod
    def linearize(self, values: dict[str, Tensor], places: Places | None, H: Tensor, g: Tensor) -> tuple[float, float]:
        """(cost, chi2) at the values; adds J' Omega J to H and J' Omega r to g unless `places` is None."""

    @abstractmethod
    def squared(self, values: dict[str, Tensor]) -> Tensor:
        """(M,) r' Omega r of each factor."""

    @abstractmethod
    def residual_size(self, values: dict[str, Tensor]) -> int:
        """Numbers in one residual."""


def _float(x: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    x = torch.as_tensor(x).as_subclass(Tensor).detach().to(torch.float64)
    try:
        return x.expand(shape).contiguous()
    except RuntimeError:
        raise ValueError(f'{name} must have shape {shape}, got {tuple(x.shape)}') from None


def _information(information: Tensor | None, sqrt_information: Tensor | None, count: int, dof: int) -> Tensor:
    """(M, d, d) Omega = S' S from whichever is given; the identity by default."""
    if information is not None and sqrt_information is not None:
        raise ValueError('give information or sqrt_information, not both')
    if sqrt_information is not None:
        S = _float(sqrt_information, (count, dof, dof), 'sqrt_information')
        return (S.mT @ S).contiguous()
    if information is None:
        return torch.eye(dof, dtype=torch.float64).expand(count, dof, dof).contiguous()
    Omega = _float(information, (count, dof, dof), 'information')
    bad = torch.ops.pypose.graph_first_indefinite(Omega)
    if bad >= 0:
        raise ValueError(f'the information of factor {bad} is not symmetric positive semidefinite')
    return Omega


class _Measured(Factors):
    """A measurement Z of one variable or between two of one set, linearized in closed form."""

    positions: int

    def __init__(self, variables: str, index: Tensor, measured: Tensor, *, information: Tensor | None = None,
                 sqrt_information: Tensor | None = None, kernel: RobustKernel = RobustKernel.NONE, width: float = 1.0,
                 weight: Tensor | None = None):
        self._take((variables,) * self.positions, index, kernel, width, weight)
        self.measured = torch.as_tensor(measured).as_subclass(Tensor).detach().to(torch.float64).contiguous()
        self._given = information, sqrt_information

    def check(self, groups: dict[str, Group]) -> None:
        group = groups[self.variables[0]]
        self.measured = _float(self.measured, (len(self), group.storage), 'measured')
        if not bool(self.measured.isfinite().all()):
            raise ValueError(f'measurement {int((~self.measured.isfinite()).any(1).nonzero()[0])} is not finite')
        self.information = _information(*self._given, len(self), group.dof)
        self._group = group

    def linearize(self, values, places, H, g):
        X = values[self.variables[0]]
        weight = EMPTY if self.weight is None else self.weight
        if self._group.native:
            column, slots = (EMPTY, EMPTY) if places is None else (places.columns[0], places.slots)
            return torch.ops.pypose.graph_linearize(
                X, self.index, self.measured, self.information, weight, self.kernel.value, self.width, column, slots,
                EMPTY if places is None else H, g, EMPTY)
        r, L = self._whitened(X)
        eye = L.mT
        J = eye if self.positions == 1 else torch.cat([-eye, eye], -1)
        return _assemble(self, r, J.contiguous(), (self._group.dof,) * self.positions, places, H, g)

    def squared(self, values):
        X = values[self.variables[0]]
        if not self._group.native:
            return self._whitened(X)[0].square().sum(-1)
        out = X.new_empty(len(self))
        torch.ops.pypose.graph_linearize(X, self.index, self.measured, self.information, EMPTY, 0, 1.0, EMPTY, EMPTY,
                                         EMPTY.clone(), EMPTY.clone(), out)
        return out

    def residual_size(self, values):
        return self._group.dof

    def _whitened(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """S r (M, d) and S' (M, d, d) with Omega = S' S, for vectors."""
        values, vectors = torch.linalg.eigh(self.information)     # semidefinite is allowed
        L = vectors * values.clamp(min=0).sqrt()[:, None, :]
        predicted = X[self.index[:, -1]]
        if self.positions == 2:
            predicted = predicted - X[self.index[:, 0]]
        return ((predicted - self.measured)[:, None, :] @ L)[:, 0].contiguous(), L


class Prior(_Measured):
    """X_i was measured as Z: residual Z against X_i.

    Args:
        variables: name of the set.
        index: (M,) variables of that set.
        measured: (M, storage) or (storage,).
        information: (M, dof, dof) or (dof, dof), the inverse covariance in the tangent at Z; identity by default.
        sqrt_information: S with Omega = S' S, instead.
        kernel, width: robust kernel and its width in standard deviations.
        weight: (M,) factors on Omega.
    """

    positions = 1


class Between(_Measured):
    """X_i^-1 X_j was measured as Z: residual Z against X_i^-1 X_j; (M, 2) index of i and j, else as Prior."""

    positions = 2


class Residual(Factors):
    """Any residual, differentiated by `vmap(jacfwd)`.

    Args:
        function: (x_1, ..., x_V, *data) -> residual (e,), of single variables, in torch functions that vmap knows.
        variables: the set at each position.
        index: (M, V).
        data: tensors (M, ...), a row for each factor.
        sqrt_information: (M, e, e) or (e, e), multiplies the residual; identity by default.
        kernel, width, weight: as in Prior.
    """

    def __init__(self, function: Callable[..., Tensor], variables: Sequence[str], index: Tensor, *,
                 data: Sequence[Tensor] = (), sqrt_information: Tensor | None = None,
                 kernel: RobustKernel = RobustKernel.NONE, width: float = 1.0, weight: Tensor | None = None):
        self._take(variables, index, kernel, width, weight)
        self.function, self.data, self.sqrt_information = function, tuple(data), sqrt_information
        for k, x in enumerate(self.data):
            if len(x) != len(self):
                raise ValueError(f'data {k} has {len(x)} rows for {len(self)} factors')

    @property
    def absolute(self) -> bool:
        return True

    def check(self, groups: dict[str, Group]) -> None:
        self._groups = [groups[name] for name in self.variables]

    def _residual(self, values: dict[str, Tensor], jacobian: bool):
        x = [values[name][self.index[:, k]] for k, name in enumerate(self.variables)]
        dofs = [group.dof for group in self._groups]

        def perturbed(d: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
            steps = d.split(dofs)
            x = [group.retract(X, step) for group, X, step in zip(self._groups, rest, steps)]
            r = self.function(*x, *rest[len(x):])
            return r, r

        d = torch.zeros(len(self), sum(dofs), dtype=torch.float64)
        if jacobian:
            J, r = torch.func.vmap(torch.func.jacfwd(perturbed, has_aux=True))(d, *x, *self.data)
        else:
            r, J = torch.func.vmap(perturbed)(d, *x, *self.data)[0], None
        if self.sqrt_information is not None:
            S = torch.as_tensor(self.sqrt_information, dtype=torch.float64)
            r, J = (S @ r[..., None])[..., 0], None if J is None else S @ J
        return r.detach().contiguous(), None if J is None else J.detach().contiguous()

    def linearize(self, values, places, H, g):
        r, J = self._residual(values, places is not None)
        return _assemble(self, r, J, tuple(group.dof for group in self._groups), places, H, g)

    def squared(self, values):
        return self._residual(values, False)[0].square().sum(-1)

    def residual_size(self, values):
        return self._residual(values, False)[0].shape[1]


def _assemble(factors: Factors, r: Tensor, J: Tensor | None, dofs: tuple[int, ...], places: Places | None, H: Tensor,
              g: Tensor) -> tuple[float, float]:
    """Normal equations of whitened residuals (M, e) and Jacobians (M, e, sum(dofs))."""
    count = len(factors)
    if places is None:
        J = r.new_empty(*r.shape, sum(dofs))
        columns = torch.full((count, len(dofs)), -1)
        slots = torch.full((count, len(dofs) * (len(dofs) + 1) // 2), -1)
    else:
        columns = torch.stack([column[factors.index[:, k]] for k, column in enumerate(places.columns)], 1)
        slots = places.slots
    weight = EMPTY if factors.weight is None else factors.weight
    return torch.ops.pypose.graph_assemble(J, r, dofs, weight, factors.kernel.value, factors.width, columns, slots,
                                           H, g)
