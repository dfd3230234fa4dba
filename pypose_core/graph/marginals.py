"""Covariances of the variables of a graph at its optimum."""
from functools import cached_property

import torch
from torch import Tensor

from pypose_core.linalg import BlockSparseMatrix, NotPositiveDefinite

from .problem import Problem, Values


class Marginals:
    """Blocks of H^-1, in the tangent of each variable (perturbed on the right).

    Those of single variables and of pairs that share a factor come from the factor by Takahashi's equations; other
    pairs cost a solve each.

    Raises:
        NotPositiveDefinite: a variable is undetermined; names it.
    """

    def __init__(self, problem: Problem, values: Values):
        self._problem = problem
        failed = problem.cholesky.try_factorize(problem.linearize(values)[2])
        if failed >= 0:
            raise NotPositiveDefinite(failed, problem.variable(failed))

    @cached_property
    def _inverse(self) -> BlockSparseMatrix:
        return self._problem.cholesky.selected_inverse()

    def single(self, name: str, index: int) -> Tensor:
        """(dof, dof) covariance of one variable, by a solve: where no others are asked for; zero where it is held."""
        problem, dof = self._problem, self._problem.groups[name].dof
        column = int(problem.column[name][index])
        if column < 0:
            return torch.zeros(dof, dof, dtype=torch.float64)
        unit = torch.zeros(dof, problem.dimension, dtype=torch.float64)
        unit[:, column:column + dof] = torch.eye(dof, dtype=torch.float64)
        return problem.cholesky.solve(unit)[:, column:column + dof]

    def covariance(self, name: str) -> Tensor:
        """(N, dof, dof) covariance of each variable of a set; zero where it is held."""
        problem, dof = self._problem, self._problem.groups[name].dof
        block = problem.block[name]
        free = block >= 0
        out = torch.zeros(len(block), dof, dof, dtype=torch.float64)
        offset = problem.pattern.offsets(torch.stack([block[free], block[free]], 1))
        out[free] = self._inverse.values[offset[:, None] + torch.arange(dof * dof)].view(-1, dof, dof)
        return out

    def joint(self, first: tuple[str, int], second: tuple[str, int]) -> Tensor:
        """(d1 + d2, d1 + d2) covariance of two variables, as ('pose', 3)."""
        problem = self._problem
        blocks = [int(problem.block[name][index]) for name, index in (first, second)]
        dofs = [problem.groups[name].dof for name, _ in (first, second)]
        out = torch.zeros(sum(dofs), sum(dofs), dtype=torch.float64)
        places = [slice(0, dofs[0]), slice(dofs[0], sum(dofs))]
        for block, place, (name, index) in zip(blocks, places, (first, second)):
            if block >= 0:
                out[place, place] = self.covariance(name)[index]
        if min(blocks) >= 0 and blocks[0] != blocks[1]:
            out[places[0], places[1]] = self._cross(*blocks)
        elif min(blocks) >= 0:
            out[places[0], places[1]] = out[places[0], places[0]]
        out[places[1], places[0]] = out[places[0], places[1]].mT
        return out

    def _cross(self, i: int, j: int) -> Tensor:
        pattern = self._problem.pattern
        if int(pattern.offsets(torch.tensor([[max(i, j), min(i, j)]]))[0]) >= 0:
            return self._inverse.block(i, j)
        rows = slice(int(pattern.starts[i]), int(pattern.starts[i + 1]))
        unit = torch.zeros(int(pattern.sizes[j]), pattern.dimension, dtype=torch.float64)
        unit[:, int(pattern.starts[j]):int(pattern.starts[j + 1])] = torch.eye(len(unit), dtype=torch.float64)
        return self._problem.cholesky.solve(unit)[:, rows].mT
