"""Measurements of whole variables: one against the world, or one against another."""
from collections.abc import Sequence

import torch
from torch import Tensor

from pypose_core import native

from ..groups import NAV_STATE, Group, normalized
from ..operations import operations
from .base import EMPTY, Measured
from .navigation import evaluated


class _Whole(Measured):
    """A measurement Z of one variable or between two of one set, linearized in closed form."""

    positions: int

    def __init__(self, variables: str, index: Tensor, measured: Tensor, **noise):
        super().__init__((variables,) * self.positions, index, {'measured': measured}, **noise)

    def layout(self, groups: tuple[Group, ...]):
        return groups[0].dof, {'measured': (groups[0].storage,)}

    def check(self, groups):
        super().check(groups)
        rotation = self.groups[0].rotation
        if rotation is None:
            return
        bad = operations.graph_first_not_unit(self.measured, rotation.start, rotation.stop)
        if bad >= 0:
            size = self.measured[:, rotation].norm(dim=1)
            none = (size == 0).nonzero()[:, 0]
            if len(none):
                raise ValueError(f'measured {int(none[0])} has no rotation: its norm is 0')
            self.data = {**self.data, 'measured': normalized(self.groups[0], self.measured)}

    def residual(self, x, data):
        return self.groups[0].difference(data['measured'], self._predicted(x))

    def _predicted(self, x: Sequence[Tensor]) -> Tensor:
        return x[0] if self.positions == 1 else self.groups[0].relative(*x)

    def jacobians(self, x, data):
        group, T = self.groups[0], self._predicted(x)
        r = group.difference(data['measured'], T)
        J = group.right_jacobian(r)
        return r, [J] if self.positions == 1 else [-J @ group.adjoint_inverse(T), J]

    def linearize(self, values, places, H, g):
        if not self.groups[0].native:
            return super().linearize(values, places, H, g)
        weight = EMPTY if self.weight is None else self.weight
        column, slots = (EMPTY, EMPTY) if places is None else (places.columns[0], places.slots)
        return torch.ops.pypose.graph_linearize(
            values[self.variables[0]], self.index, self.measured, self.information, weight, self.kernel.value,
            self.width, column, slots, EMPTY if places is None else H, g, EMPTY)

    def squared(self, values):
        if not self.groups[0].native:
            return super().squared(values)
        X = values[self.variables[0]]
        out = X.new_empty(len(self))
        torch.ops.pypose.graph_linearize(X, self.index, self.measured, self.information, EMPTY, 0, 1.0, EMPTY, EMPTY,
                                         EMPTY.clone(), EMPTY.clone(), out)
        return out


class Prior(_Whole):
    """X_i was measured as Z: residual Log(Z^-1 X_i), in R^n X_i - Z.

    Args:
        variables: name of the set.
        index: (M,) variables of that set.
        measured: (M, storage) or (storage,); rotations are normalised.
        information: (M, dof, dof) or (dof, dof), the inverse covariance in the tangent at Z; identity by default.
        sqrt_information: S with Omega = S' S, instead.
        kernel, width: robust kernel and its width in standard deviations.
        weight: (M,) factors on Omega.
    """

    positions = 1

    def unwhitened(self, x, *, jacobian):
        if not native.available or self.groups[0] is not NAV_STATE:
            return super().unwhitened(x, jacobian=jacobian)
        return evaluated(x, self.measured, jacobian=jacobian)


class Between(_Whole):
    """X_i^-1 X_j was measured as Z: residual Log(Z^-1 X_i^-1 X_j); (M, 2) index of i and j, else as Prior."""

    positions = 2


