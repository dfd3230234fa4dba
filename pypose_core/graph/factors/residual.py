"""Residuals that the user writes."""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .base import Factors


class Residual(Factors):
    """Any residual, differentiated by `vmap(jacfwd)`.

    Args:
        function: (x_1, ..., x_V, *data) -> residual (e,), of single variables, in torch functions that vmap knows.
        variables: the set at each position.
        index: (M, V).
        data: tensors (M, ...), a row for each factor; under the names 'data0', 'data1', ... afterwards.
        information, sqrt_information: (M, e, e) or (e, e); identity by default.
        kernel, width, weight: as in Prior.
    """

    def __init__(self, function: Callable[..., Tensor], variables: Sequence[str], index: Tensor, *,
                 data: Sequence[Tensor] = (), **noise):
        super().__init__(variables, index, {f'data{k}': x for k, x in enumerate(data)}, **noise)
        self.function = function
        for name, x in self.data.items():
            if len(x) != len(self):
                raise ValueError(f'{name} has {len(x)} rows for {len(self)} factors')

    @property
    def absolute(self) -> bool:
        return True

    def layout(self, groups):
        identity = [torch.tensor([group.identity], dtype=torch.float64) for group in groups]
        one = {name: x[:1] for name, x in self.data.items()}
        return (self.residual(identity, one).shape[1] if len(self) else 0), {}

    def residual(self, x, data):
        return torch.func.vmap(self.function)(*x, *data.values())

    def jacobians(self, x, data):
        dofs = [group.dof for group in self.groups]

        def perturbed(d: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
            moved = [group.retract(X, step) for group, X, step in zip(self.groups, rest, d.split(dofs))]
            r = self.function(*moved, *rest[len(moved):])
            return r, r

        d = torch.zeros(len(self), sum(dofs), dtype=torch.float64)
        J, r = torch.func.vmap(torch.func.jacfwd(perturbed, has_aux=True))(d, *x, *data.values())
        return r, list(J.split(dofs, -1))
