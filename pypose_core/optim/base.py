"""What Gauss-Newton, Levenberg-Marquardt and dogleg share: a step, its bookkeeping, and the loop to the end."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pypose_core.lie.dispatch import plain
from pypose_core.optim.corrector import FastTriggs
from pypose_core.optim.linearize import Linearization, linearize_blocks, linearize_dense
from pypose_core.optim.problem import Problem, Weights
from pypose_core.optim.solver import CG, PCG, Cholesky
from pypose_core.optim.status import STATUSES, Result, Stats, Status, Tolerance
from pypose_core.optim.structure import Structure, find_structure
from pypose_core.optim.tangent import retract, tangent_shape

if TYPE_CHECKING:
    from pypose_core.optim.block_jacobian import BlockJacobian, NormalEquations

SPARSE_FROM = 64        # columns; smaller problems are solved sooner as dense ones


@dataclass
class System:
    """The linear least-squares problems of one step, corrected for robust kernels; P problems."""
    linear: Linearization
    """Where it comes from."""
    R: Tensor
    """Residuals (P, height, 1)."""
    J: Tensor | BlockJacobian
    """Jacobians (P, height, columns)."""
    last: Tensor
    """Loss at the linearization point (P)."""
    normal: NormalEquations | None = None
    """Of a sparse problem."""

    @property
    def A(self) -> Tensor:
        """Jᵀ J (P, columns, columns), of dense problems."""
        assert isinstance(self.J, Tensor)
        return self.J.mT @ self.J

    @property
    def g(self) -> Tensor:
        """Jᵀ R, half the gradient of the loss (P, columns, 1)."""
        return self.J.mT @ self.R

    @property
    def column_norms(self) -> Tensor:
        """Lengths of the columns of J (P, columns)."""
        return torch.linalg.vector_norm(self.J, dim=1) if isinstance(self.J, Tensor) else self.J.column_norms()[None]

    @property
    def finite(self) -> Tensor:
        """Whether all numbers of a problem are (P)."""
        of_J = self.J.isfinite().flatten(1).all(1) if isinstance(self.J, Tensor) else self.J.isfinite()
        return self.last.isfinite() & self.R.isfinite().all(1).squeeze(-1) & of_J


def _as_list(value) -> list:
    return list(value) if isinstance(value, (tuple, list)) else [value]


class _Optimizer(torch.optim.Optimizer):
    """Base class of the second-order optimizers.

    After each step:
        loss, last: loss after and before the step, Σ ρ(rᵀ W r); tensors.
        status: what can be said of the problem that fared worst; states: the same of each problem.
        iterations: steps done since construction. costs: the loss after each of them; tensors.
        reject_count: trial steps that the last step rejected.
        structure: what is known about the Jacobian's structure, a sentence.
    """

    _normal = False
    """Whether steps can be had from the normal equations alone."""

    def __init__(self, model: nn.Module, *, defaults: dict, solver: Callable, kernel, corrector, weight,
                 vectorize: bool, structure: str, tolerance: Tolerance | None, sparse: bool = False):
        if structure not in ('auto', 'dense'):
            raise ValueError(f"structure must be 'auto' or 'dense', not {structure!r}")
        super().__init__(model.parameters(), defaults=defaults)
        self.model, self.solver, self.weight = model, solver, weight
        self.kernel = [None] if kernel is None else _as_list(kernel)
        if corrector is None:
            self.corrector = [None if k is None else FastTriggs(k) for k in self.kernel]
        else:
            self.corrector = _as_list(corrector)
        self.vectorize, self.tolerance = vectorize, tolerance or Tolerance()
        self.iterations, self.reject_count = 0, 0
        self.costs: list[Tensor] = []
        self.loss: Tensor | None = None
        self.last: Tensor | None = None
        self._auto = structure == 'auto'
        self.sparse = sparse
        self._found: dict[tuple, Structure] = {}
        self._refused: dict[tuple, str] = {}
        self._gathers = False
        self._equations: NormalEquations | None = None
        self._weights = Weights()
        self._codes: Tensor | None = None
        self._frozen: Tensor | None = None
        self.structure = 'not known before the first step'

    # What is told of the last step.

    @property
    def states(self) -> tuple[Status, ...]:
        """State of each independent problem."""
        return () if self._codes is None else tuple(STATUSES[c] for c in self._codes.tolist())

    @property
    def status(self) -> Status:
        """State of the problem that fared worst: one that can go on, else one that stopped in trouble."""
        states = set(self.states)
        for status in (Status.RUNNING, Status.NONFINITE, Status.SINGULAR, Status.MAX_ITERATIONS, Status.STALLED,
                       Status.DECREASE, Status.STEP, Status.GRADIENT):
            if status in states:
                return status
        return Status.RUNNING

    @torch.no_grad()
    def update_parameter(self, params: list[Tensor], step: Tensor) -> None:
        """Moves the parameters that require gradients by a step of the caller's own: p ← p + d, for groups Exp(d) p.

        Args:
            params: as in `param_groups[...]['params']`.
            step: their steps, one after the other: either as wide as the parameters are stored (for groups the rest is
                ignored), or as their tangents are.
        """
        moved = [p for p in params if p.requires_grad]
        shapes = [p.shape for p in moved]
        if step.numel() != sum(p.numel() for p in moved):
            shapes = [tangent_shape(p) for p in moved]
            if step.numel() != sum(s.numel() for s in shapes):
                raise ValueError(f'a step of {step.numel()} is given for parameters of '
                                 f'{sum(p.numel() for p in moved)}, of tangents of {sum(s.numel() for s in shapes)}')
        for p, shape, d in zip(moved, shapes, step.reshape(-1).split([s.numel() for s in shapes])):
            p.add_(d.view(shape))

    # The linear problem.

    def _linearize(self, problem: Problem, *, dense: bool = False) -> Linearization:
        if not self._auto or dense:
            self.structure = ('one dense problem: the structure that was found did not hold' if dense
                              else 'one dense problem, as asked for')
            return linearize_dense(problem, vectorize=self.vectorize)
        if self._gathers:       # as the last step found it; the attempt finds out whether it still is
            linear = self._linearize_gathers(problem)
            if isinstance(linear, Linearization):
                return linear
        with torch.enable_grad():
            residuals = problem.residuals()
        key = tuple(r.shape for r in residuals), tuple(p.shape for p in problem.params)
        if key not in self._found:
            self._found[key] = find_structure(problem, residuals)
        found = self._found[key]
        self.structure = found.sentence
        if found.batch:
            return linearize_blocks(problem, found, residuals)
        if key not in self._refused and self._sparse_pays(problem):
            linear = self._linearize_gathers(problem)
            if isinstance(linear, Linearization):
                return linear
            self._refused[key] = f'{found.sentence}, and no sparse one: {linear}'
        self.structure = self._refused.get(key, found.sentence)
        return linearize_dense(problem, vectorize=self.vectorize)

    def _linearize_gathers(self, problem: Problem) -> Linearization | str:
        """Of a sparse problem; or the reason why it is none."""
        # The solvers of sparse systems are loaded by those who need them.
        from pypose_core.optim.gathers import NotSparse, linearize_gathers
        try:
            linear = linearize_gathers(problem)
        except NotSparse as reason:
            self._gathers = False
            return str(reason)
        self._gathers, self.structure = True, linear.structure.sentence
        return linear

    def _sparse_pays(self, problem: Problem) -> bool:
        """Whether a sparse problem would be solved as one."""
        return self._normal and type(self.solver) in (Cholesky, CG, PCG) and (
            self.sparse or sum(tangent_shape(p).numel() for p in problem.params) >= SPARSE_FROM)

    def _normal_equations(self, J: BlockJacobian, R: Tensor) -> NormalEquations:
        if self._equations is None or not self._equations.fits(J):
            from pypose_core.optim.block_jacobian import NormalEquations
            self._equations = NormalEquations(J)
        self._equations.set(J, R)
        return self._equations

    def _system(self, problem: Problem, *, dense: bool = False) -> System:
        linear = self._linearize(problem, dense=dense)
        residuals, structure = linear.residuals, linear.structure
        if len(self.corrector) not in (1, len(residuals)):
            raise ValueError(f'{len(self.corrector)} correctors are given for {len(residuals)} residuals')
        last = structure.sum(problem.costs(residuals))
        R, J = linear.R, linear.J
        if any(c is not None for c in self.corrector):
            correctors = self.corrector * len(residuals) if len(self.corrector) == 1 else self.corrector
            rows = structure.unstack(J) if isinstance(J, Tensor) else J.unstack()
            pairs = [(r, j) if c is None else c(R=r, J=j) for c, r, j in zip(correctors, residuals, rows)]
            R = structure.stack([r.reshape(-1) for r, _ in pairs])
            rows = [j for _, j in pairs]
            J = structure.stack(rows) if isinstance(J, Tensor) else J.restack(rows)
        normal = None if isinstance(J, Tensor) else self._normal_equations(J, R)
        return System(linear, R.unsqueeze(-1), J, last, normal)

    # A step.

    def _begin(self, system: System) -> None:
        """Prepare what all trial steps of a step have in common."""
        raise TypeError(f'{type(self).__name__} defines no _begin()')

    def _propose(self, system: System) -> tuple[Tensor, Tensor]:
        """A trial step (P, columns, 1), and whether its linear system could be solved (P)."""
        raise TypeError(f'{type(self).__name__} defines no _propose()')

    def _accepts(self, last: Tensor, loss: Tensor) -> Tensor:
        """Which problems take a trial step with that loss (P)."""
        return loss <= last

    def _adapt(self, system: System, D: Tensor, loss: Tensor, done: Tensor) -> None:
        """Learn from a trial step of all problems but those that were done before."""

    def _tries(self) -> int:
        """How many trial steps a step may take."""
        return 1

    @torch.no_grad()
    def step(self, input, target=None, weight=None) -> Tensor:    # type: ignore[override]   # PyPose's, not torch's
        """One optimization step.

        Args:
            input: what the model is called with: a tensor, a tuple of arguments or a dict of keyword arguments.
            target: what the model's output (outputs, if a tuple) should equal; zero by default.
            weight: W for this step; a sequence of one for each output if there are several.

        Returns:
            The loss after the step, a scalar tensor.
        """
        weight = self.weight if weight is None else weight
        problem = Problem(self.model, input, target, weight, kernels=self.kernel, weights=self._weights)
        for attempt in range(3):
            if self._descend(problem, self._system(problem, dense=attempt == 2)):
                break
            self._found.clear()
            self._refused.clear()
        self.iterations += 1
        assert self.loss is not None        # _descend() has set it
        self.costs.append(self.loss)
        return self.loss

    def _descend(self, problem: Problem, system: System) -> bool:
        """Trial steps until all problems have taken one; False if the structure did not hold (nothing done)."""
        linear, last = system.linear, system.last
        P, columns = linear.structure.problems, linear.columns
        before = [plain(p.detach()).clone() for p in problem.params]
        frozen = self._frozen
        if frozen is None or frozen.shape != last.shape:
            frozen = torch.zeros(P, dtype=torch.bool, device=last.device)
        done, loss, solved_once = frozen, last, torch.zeros_like(frozen)
        values, length, predicted = before, None, last
        self._begin(system)
        rejected = 0
        while True:
            D, solved = self._propose(system)
            D = torch.where(done[:, None, None], 0, D)
            if length is None:
                length = D.abs().amax((1, 2))
                JD = system.J @ D
                predicted = -(JD * (2 * system.R + JD)).sum((1, 2))
                # A step as small as rounding may raise the loss at a minimum: no other would do better.
                settled = self._short(before, length) | (predicted.abs() <= self._small('decrease', last) * last)
                settled = settled & solved
            steps = columns.split(D.squeeze(-1))
            moved = [retract(p, b, s) for p, b, s in zip(problem.params, before, steps)]
            tried = self._loss_at(problem, linear.structure, moved, before)
            accepted = self._accepts(last, tried) & solved & ~done & ~linear.broken
            mask = accepted.view(linear.structure.batch or (1,))
            values = [torch.where(mask.view(mask.shape + (1,) * (b.ndim - mask.ndim)) if b.ndim else mask[0], m, v)
                      for m, v, b in zip(moved, values, before)]
            loss = torch.where(accepted, tried, loss)
            self._adapt(system, D, tried, done)
            solved_once, done = solved_once | solved, done | accepted
            # The only number that is read back.
            verdict = int(linear.broken.long() * 2 + (done | settled).all().long())
            rejected += verdict == 0
            if verdict or rejected == self._tries():
                break
        _write(problem, values)
        if verdict >= 2:
            return False
        self.reject_count = rejected
        self.last, self.loss = last.sum(), loss.sum()
        codes = self._judge(system, before, last, loss, length, predicted, done, solved_once)
        previous = self._codes
        if previous is not None and previous.shape == codes.shape:
            codes = torch.where(frozen, previous, codes)
        self._codes = codes
        return True

    def _loss_at(self, problem: Problem, structure: Structure, values: list[Tensor],
                 before: list[Tensor]) -> Tensor:
        _write(problem, values)
        try:
            return structure.sum(problem.costs(problem.residuals()))
        except BaseException:
            _write(problem, before)
            raise

    def _small(self, name: str, like: Tensor) -> float:
        return max(getattr(self.tolerance, name), 10 * torch.finfo(like.dtype).eps)

    def _short(self, before: list[Tensor], length: Tensor) -> Tensor:
        """Whether a step of that length is within tolerance of none (P)."""
        size = torch.stack([b.reshape(len(length), -1).abs().amax(1).to(length) for b in before]).amax(0)
        return length <= self._small('step', length) * (1 + size)

    def _judge(self, system: System, before: list[Tensor], last: Tensor, loss: Tensor, length: Tensor,
               predicted: Tensor, done: Tensor, solved: Tensor) -> Tensor:
        """The code of each problem's Status after a step."""
        length_of_R = torch.linalg.vector_norm(system.R, dim=1)
        cosine = (system.g.abs().squeeze(-1) / (system.column_norms * length_of_R).clamp(
            min=torch.finfo(last.dtype).tiny)).amax(1)
        decrease = self._small('decrease', last) * last
        codes = torch.full(last.shape, Status.RUNNING.code, device=last.device)
        for status, holds in (
                (Status.DECREASE, done & (last - loss <= decrease)),
                (Status.STALLED, ~done),
                (Status.DECREASE, ~done & (predicted.abs() <= decrease)),
                (Status.SINGULAR, ~solved),
                (Status.STEP, solved & self._short(before, length)),
                (Status.GRADIENT, cosine <= self._small('gradient', last)),
                (Status.NONFINITE, ~system.finite)):
            codes = torch.where(holds, status.code, codes)
        return codes

    # All steps.

    def optimize(self, input, target=None, weight=None, *, max_iterations: int = 100) -> Result:
        """Steps until every problem has finished, or max_iterations of them; a problem that has finished stays.

        Args:
            input, target, weight: as of step().
            max_iterations: steps at most.

        Returns:
            Loss, status and statistics.
        """
        costs: list[Tensor] = []
        begin = time.perf_counter()
        self._codes = self._frozen = None
        iterations, stalled = 0, None
        try:
            while iterations < max_iterations:
                loss = self.step(input, target, weight)
                assert self.last is not None and self._codes is not None        # step() has set them
                if not costs:
                    costs.append(self.last)
                costs.append(loss)
                iterations += 1
                codes = self._codes
                stalls = codes == Status.STALLED.code
                # A strategy may have been on its way to a damping that helps: it gets a second chance.
                again = stalls if stalled is None or stalled.shape != stalls.shape else stalls & ~stalled
                stalled = stalls
                self._frozen = (codes != Status.RUNNING.code) & ~again
                if bool(self._frozen.all()):
                    break
            if self._codes is not None and self._frozen is not None:
                out_of_time = ~self._frozen & (self._codes == Status.RUNNING.code)
                self._codes = torch.where(out_of_time, Status.MAX_ITERATIONS.code, self._codes)
        finally:
            self._frozen = None
        stats = Stats(iterations, torch.stack(costs) if costs else torch.empty(0), self.states, self.structure,
                      time.perf_counter() - begin)
        return Result(torch.tensor(torch.nan) if self.loss is None else self.loss, self.status, stats)


def _write(problem: Problem, values: list[Tensor]) -> None:
    for p, v in zip(problem.params, values):
        plain(p.detach()).copy_(v)
