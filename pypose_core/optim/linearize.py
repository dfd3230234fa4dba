"""Residuals and Jacobians of a problem, stacked by independent problems."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pypose_core.optim.problem import Problem
from pypose_core.optim.structure import (
    Columns,
    Structure,
    differ,
    in_order,
    pullback,
    pushforward,
    random_like,
)
from pypose_core.optim.tangent import tangent_gradient

if TYPE_CHECKING:
    from pypose_core.optim.block_jacobian import BlockJacobian


@dataclass
class Linearization:
    """r(δ) ≈ R + J δ of each problem, δ in the tangent space of the parameters."""
    structure: Structure
    """Of the problem."""
    columns: Columns
    """How δ is made of the steps of all parameters."""
    residuals: list[Tensor]
    """Whitened residuals (..., d) of each output of the model."""
    J: Tensor | BlockJacobian
    """(problems, height, columns)."""
    broken: Tensor
    """Whether the structure was found not to hold here: then J is wrong. On the device, not yet read."""

    @property
    def R(self) -> Tensor:
        """(problems, height)."""
        return self.structure.stack([r.reshape(-1) for r in self.residuals])


def linearize_dense(problem: Problem, *, vectorize: bool = True) -> Linearization:
    """One problem, its Jacobian row by row in reverse mode; all rows at once where vectorize."""
    columns = Columns(problem.params, torch.Size())
    shapes: list[torch.Size] = []

    def flat(*values: Tensor) -> Tensor:
        residuals = problem.residuals_at(values) if values else problem.residuals()
        shapes[:] = [r.shape for r in residuals]
        return torch.cat([r.reshape(-1) for r in residuals])

    if vectorize:
        values = [p.detach().as_subclass(Tensor) for p in problem.params]
        R, pull = torch.func.vjp(flat, *values)[:2]
        # So many rows at a time that all their gradients together have a few million numbers.
        chunk = max(1, min(len(R), 2 ** 22 // max(1, columns.count)))
        rows = torch.func.vmap(pull, chunk_size=chunk)(torch.eye(len(R), dtype=R.dtype, device=R.device))
        J = torch.cat([tangent_gradient(p, g).reshape(len(R), -1) for p, g in zip(problem.params, rows)], 1)
    else:
        with torch.enable_grad():
            R = flat()
        pull_row = pullback(problem, columns, R)
        J = torch.cat([pull_row(row) for row in torch.eye(len(R), dtype=R.dtype, device=R.device)])
    residuals = [r.view(s) for r, s in zip(R.detach().split([s.numel() for s in shapes]), shapes)]
    structure = in_order(torch.Size(), residuals, '')
    broken = torch.zeros((), dtype=torch.bool, device=R.device)
    return Linearization(structure, columns, residuals, J.detach().unsqueeze(0), broken)


def linearize_blocks(problem: Problem, structure: Structure, residuals: list[Tensor]) -> Linearization:
    """A small Jacobian for each problem, of all problems at once.

    In reverse mode one pass gives a row of every problem's Jacobian, in forward mode a column: the cheaper one
    is chosen.  One more pass with random numbers checks that no residual depends on another problem.

    Args:
        problem: the problem.
        structure: its structure.
        residuals: its residuals, in the graph of its parameters.
    """
    columns = Columns(problem.params, structure.batch)
    with torch.enable_grad():
        stacked = structure.stack([r.reshape(-1) for r in residuals])
    detached = [r.detach() for r in residuals]
    P, K = stacked.shape
    if _columns_are_cheaper(P, K, columns.count):
        forward = _by_columns(problem, structure, columns, detached)
        if forward is not None:
            return forward
    pull = pullback(problem, columns, stacked)
    unit = torch.eye(K, dtype=stacked.dtype, device=stacked.device)
    J = torch.stack([pull(row.expand(P, K)) for row in unit], 1)
    u = random_like((P, K), stacked)
    expected, scale = torch.einsum('pk,pkn->pn', u, J), torch.einsum('pk,pkn->pn', u.abs(), J.abs())
    broken = differ(pull(u), expected, scale.amax(1, keepdim=True))
    return Linearization(structure, columns, detached, J, broken)


def _columns_are_cheaper(P: int, K: int, n: int) -> bool:
    """Whether n passes in forward mode cost less than K in reverse mode.

    By numbers passed, a pass in forward mode costs two of reverse mode. Small ones cost their calls: about as
    much as 2000 numbers in reverse mode, ten times that in forward mode, which torch does partly in Python.
    """
    return 2 * n * (20000 + P * K) < K * (2000 + P * K)


def _by_columns(problem: Problem, structure: Structure, columns: Columns,
                residuals: list[Tensor]) -> Linearization | None:
    """The same in forward mode; None where the model has no forward-mode derivatives."""
    push = pushforward(problem, columns)

    def along(v: Tensor) -> Tensor:
        return structure.stack([y.detach().reshape(-1) for y in push(v)])

    unit = torch.eye(columns.count, dtype=residuals[0].dtype, device=residuals[0].device)
    v = random_like((structure.problems, columns.count), residuals[0])
    try:
        J = torch.stack([along(e.expand_as(v)) for e in unit], 2)
        actual = along(v)
    except (RuntimeError, NotImplementedError):
        return None
    expected, scale = torch.einsum('pkn,pn->pk', J, v), torch.einsum('pkn,pn->pk', J.abs(), v.abs())
    return Linearization(structure, columns, residuals, J, differ(actual, expected, scale.amax(1, keepdim=True)))
