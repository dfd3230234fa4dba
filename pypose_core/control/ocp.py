"""Nonlinear optimal control with constraints, solved by sequential quadratic programming.

    min over u, x   Σ_{k<N} l(x_k, u_k, p_k) + l_N(x_N, p_N)
    subject to      x_0 given,  x_{k+1} = f(x_k, u_k, p_k),
                    bounds on u_k, x_k, u_k - u_{k-1},  lower ≤ d(x_k, u_k, p_k) ≤ upper

Each quadratic program is solved by a primal-dual interior point whose Newton steps are Riccati recursions
(csrc/control). Source: Gros, Zanon, Quirynen, Bemporad and Diehl, "From linear to nonlinear MPC: bridging the gap
via the real-time iteration" (2020).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.control.evaluate import Evaluator
from pypose_core.control.ocp_result import OcpResult
from pypose_core.control.problem import Box, Cost, LeastSquares, StageConstraint, StateConstraint
from pypose_core.control.sensitivity import attach
from pypose_core.control.state_space import Euclidean, StateSpace
from pypose_core.control.tape import Tape
from pypose_core.control.traced import Untraceable
from pypose_core.control.transcribe import Layout, leading_dimension, transcribe

STARTS = {'keep': 0, 'shift': 1, 'roll': 2, 'guess': 3}


@dataclass(frozen=True)
class OcpOptions:
    """How an optimal control problem is solved."""

    max_iterations: int = 50
    """Quadratic programs at most; 1 is the real-time iteration."""
    tolerance: float = 1e-6
    """Largest number of a step in u and δx at which the iteration ends."""
    feasibility: float = 1e-6
    """Sum of defects and largest violation that count as none."""
    qp_tolerance: float = 1e-8
    """Complementarity at which a quadratic program counts as solved."""
    regularization: float = 0.0
    """Added to the diagonal of every Hessian."""
    time_budget: float = 0.0
    """Seconds after which no further quadratic program is begun; 0: none."""
    start_mu: float = 1.0
    """Complementarity at which the interior point begins without multipliers."""
    line_search: bool = True
    """Shorten steps that do not improve the merit function; without it every step is taken in full."""

    def packed(self) -> list[float]:
        return [float(self.max_iterations), self.tolerance, self.feasibility, self.qp_tolerance, self.regularization,
                self.time_budget, self.start_mu, float(self.line_search)]


class OCP:
    """An optimal control problem with its warm start.

    The functions are torch functions of (x, u, p) or (x, p), where p has the parameters as attributes. They are
    called once with symbols, and from then on evaluated natively; `native` tells whether that worked and `reason` why
    not. What cannot be traced (networks that learn, branches on values) is evaluated by torch, in one call per
    iteration for all stages of all problems of a batch. Where that is the dynamics alone, costs and constraints stay
    native.

    Args:
        dynamics: x_{k+1} = f(x, u, p), discrete.
        state: number of states, or a StateSpace with rotations.
        control: number of controls.
        horizon: intervals N.
        stage_cost, terminal_cost: LeastSquares or Cost.
        control_bounds, state_bounds: Box; states at k = 1 … N.
        rate_bounds: Box of u_k - u_{k-1}, with the control before the first one given to solve().
        rates: the functions use p.u_prev, the control before; implied by rate_bounds.
        constraints: StageConstraint and StateConstraint.
        parameters: name -> shape of what p holds. Each is given to solve() once or for each of the N + 1 stages.
        hessian: 'gauss_newton', or 'exact' for the Hessian of the Lagrangian, regularized where it is indefinite.
        price: of violating a constraint that must hold, while iterating: it should exceed every multiplier, and is
            raised up to 1000 times where it does not.
        backend: 'auto', 'native' (raise where tracing fails) or 'torch'.
    """

    def __init__(self, dynamics: Callable, *, state: int | StateSpace, control: int, horizon: int,
                 stage_cost: LeastSquares | Cost, terminal_cost: LeastSquares | Cost,
                 control_bounds: Box | None = None, state_bounds: Box | None = None, rate_bounds: Box | None = None,
                 rates: bool = False, constraints: Sequence[StageConstraint | StateConstraint] = (),
                 parameters: Mapping[str, Sequence[int]] | None = None, hessian: str = 'gauss_newton',
                 price: float = 1e3, options: OcpOptions | None = None, backend: str = 'auto'):
        if hessian not in ('gauss_newton', 'exact'):
            raise ValueError(f"hessian must be 'gauss_newton' or 'exact', not {hessian!r}")
        if backend not in ('auto', 'native', 'torch'):
            raise ValueError(f"backend must be 'auto', 'native' or 'torch', not {backend!r}")
        if horizon < 2 or control < 1:
            raise ValueError(f'horizon {horizon} must be at least 2 and control {control} at least 1')
        self.horizon, self.control, self.hessian = horizon, control, hessian
        self.options = options or OcpOptions()
        self.base_space = state if isinstance(state, StateSpace) else StateSpace([Euclidean(state)])
        self.rates = rates or rate_bounds is not None
        self.space = StateSpace([*self.base_space.parts, Euclidean(control)]) if self.rates else self.base_space
        self.shapes = {name: tuple(shape) for name, shape in (parameters or {}).items()}
        self.functions = _Functions(self, dynamics, stage_cost, terminal_cost)
        constraints = list(constraints)
        if rate_bounds is not None:
            constraints.insert(0, StageConstraint('control rate', _rate, rate_bounds.lower, rate_bounds.upper,
                                                  rate_bounds.soft))
        self.stage_constraints = [c for c in constraints if isinstance(c, StageConstraint)]
        self.state_constraints = [c for c in constraints if isinstance(c, StateConstraint)]
        self._rows(control_bounds, state_bounds, price)
        self.splits: dict[str, tuple[int, int]] = {}
        at = 0
        for name, shape in self.shapes.items():
            self.splits[name] = (at, at + math.prod(shape))
            at += math.prod(shape)
        self.parameter_count = at
        self.in_torch, self.reason = self._build(backend)
        self.native = not self.in_torch

    def _rows(self, control_bounds: Box | None, state_bounds: Box | None, price: float) -> None:
        """Rows of the constraints: boxes of controls, boxes of states, functions of stages, functions of states."""
        N, nu, space = self.horizon, self.control, self.base_space
        names, lower, upper, l1, l2, elastic = [], [], [], [], [], []
        self.box: list[int] = []           # column of w = [u; δx]
        self.box_number: list[int] = []    # number of [u, x]
        self.groups: dict[str, slice] = {}
        self.row_counts: list[int] = []

        def add(name, count, box, first, last, hard=False):
            start = len(names)
            self.groups[name] = slice(start, start + count)
            names.extend(f'{name}[{i}]' if count > 1 else name for i in range(count))
            for bound, into, none in ((box.lower, lower, -math.inf), (box.upper, upper, math.inf)):
                values = torch.full((N + 1, count), none, dtype=torch.float64)
                values[first:last] = torch.as_tensor(bound, dtype=torch.float64)
                into.append(values)
            l1.extend([-1.0 if hard else box.soft.linear if box.soft else price] * count)
            l2.extend([box.soft.quadratic if box.soft else 0.0] * count)
            elastic.extend([int(not hard and box.soft is None)] * count)

        if control_bounds is not None:
            if control_bounds.soft is not None:
                raise ValueError('bounds of controls are never soft: a control within them always exists')
            add('control', nu, control_bounds, 0, N, hard=True)
            self.box += range(nu)
            self.box_number += range(nu)
        if state_bounds is not None:
            numbers = [n for n, c in enumerate(space.columns) if c is not None]
            lo, hi = (torch.as_tensor(b, dtype=torch.float64).expand(space.size)[numbers]
                      for b in (state_bounds.lower, state_bounds.upper))
            used = [i for i in range(len(numbers)) if lo[i].isfinite() or hi[i].isfinite()]
            add('state', len(used), Box(lo[used], hi[used], state_bounds.soft), 1, N + 1)
            names[-len(used):] = [f'state[{numbers[i]}]' for i in used]
            self.box += [nu + space.columns[numbers[i]] for i in used]
            self.box_number += [nu + numbers[i] for i in used]
        for constraints, first, last in ((self.stage_constraints, 0, N), (self.state_constraints, 1, N + 1)):
            for c in constraints:
                count = self.functions.count(c)
                self.row_counts.append(count)
                add(c.name, count, c, first, last)
        self.row_names = tuple(names)
        self.lower, self.upper = (torch.cat(b, -1) if b else torch.zeros(N + 1, 0, dtype=torch.float64)
                                  for b in (lower, upper))
        self.prices = l1, l2, elastic

    def _build(self, backend: str) -> tuple[str, str]:
        """Trace the functions and make the native problem; (what torch evaluates: '', 'dynamics' or 'all'; why)."""
        if not native.available:
            raise RuntimeError(f'optimal control needs the native kernels: {native.status}')
        nd, nx, nu, f = sum(self.row_counts), self.space.tangent, self.control, self.functions
        self.leading = leading_dimension(nx + nu)
        self.layouts = Layout.of(nx, nu + nx, nd, self.leading), Layout.of_values(nx, nd)
        tapes, in_torch, reason = [Tape.empty()] * 5, 'all', 'asked for'
        for dynamics, rest in ((f.dynamics, ''), (None, 'dynamics')) if backend != 'torch' else ():
            try:
                tapes = transcribe(
                    dynamics=dynamics, stage_cost=f.cost(False), terminal_cost=f.cost(True),
                    stage_rows=[f.row(c) for c in self.stage_constraints],
                    state_rows=[f.row(c) for c in self.state_constraints], row_counts=self.row_counts,
                    space=self.space, nu=nu, shapes=self.shapes, exact=self.hessian == 'exact')
                in_torch, reason = rest, reason if rest else ''
                break
            except Untraceable as error:
                if backend == 'native':
                    raise
                reason = str(error)
        sizes = [self.horizon, nx, nu, self.space.size, self.parameter_count, len(self.box), nd, self.leading,
                 int(self.hessian == 'exact')]
        full, value = self.layouts
        self._native = torch.classes.pypose.Ocp(
            sizes, [*full, *value], self.box, self.box_number, *self.prices, list(self.space.rotations),
            [tape.packed() for tape in tapes])
        return in_torch, reason

    def pack(self, parameters: Mapping[str, Tensor], batch: int) -> Tensor:
        """Parameters as (batch, N + 1, numbers)."""
        packed = torch.empty(batch, self.horizon + 1, self.parameter_count, dtype=torch.float64)
        if len(parameters) != len(self.shapes):
            raise ValueError(f'parameters {sorted(parameters)} were given, {sorted(self.shapes)} are needed')
        for name, (begin, end) in self.splits.items():
            shape, value = self.shapes[name], torch.as_tensor(parameters[name], dtype=torch.float64)
            extra = value.ndim - len(shape)     # 0: the same everywhere; 1: per stage; 2: per problem and stage
            packed[..., begin:end] = value.reshape(*value.shape[:extra], end - begin)
        return packed

    def unpack(self, packed: Tensor) -> SimpleNamespace:
        """What the functions get as p, from rows of packed parameters (..., numbers)."""
        return SimpleNamespace(**{name: packed[..., a:b].reshape(*packed.shape[:-1], *self.shapes[name])
                                  for name, (a, b) in self.splits.items()})

    def initial(self, x0: Tensor, u_prev: Tensor | None) -> Tensor:
        """The first state, with the control before it appended where there are rates."""
        x0 = torch.as_tensor(x0, dtype=torch.float64)
        if self.rates:
            if u_prev is None:
                raise ValueError('this problem has rates of controls: give u_prev, the control applied before')
            u_prev = torch.as_tensor(u_prev, dtype=torch.float64)
            x0 = torch.cat([x0, u_prev.expand(*x0.shape[:-1], self.control)], -1)
        if x0.shape[-1] != self.space.size or x0.ndim > 2:
            raise ValueError(f'x0 must be (state,) or (batch, state) with {self.base_space.size} numbers, '
                             f'not {tuple(x0.shape)}')
        return x0

    def solve(self, x0: Tensor, *, u_prev: Tensor | None = None, parameters: Mapping[str, Tensor] | None = None,
              start: str = 'keep', guess: tuple[Tensor, Tensor] | None = None,
              bounds: Mapping[str, tuple[Tensor, Tensor]] | None = None,
              options: OcpOptions | None = None, differentiable: bool | None = None) -> OcpResult:
        """Solve from x0.

        Args:
            x0: (state,), or (batch, state) for as many independent problems.
            u_prev: (control,) or (batch, control), where the problem has rates.
            parameters: name -> value of shape (*shape), (N + 1, *shape) or (batch, N + 1, *shape).
            start: 'keep' begins at the last solution, 'shift' at the last solution one step later, 'roll' at the
                states that the guessed controls lead to (zero controls where none are guessed), 'guess' at `guess`.
            guess: states (N + 1, state) and controls (N, control), with the batch's dimension if there is one.
            bounds: name of a constraint, 'control', 'state' or 'control rate' -> (lower, upper) in place of those
                given before; (rows,), (N + 1, rows) or (batch, N + 1, rows).
            differentiable: give the states and controls gradients (sensitivity.py). By default where an argument
                requires them; say True where only something within the functions does. The solution should be
                found to a tolerance well below the accuracy that the gradients need.
        """
        x = self.initial(x0, u_prev)
        flat = x.unsqueeze(0) if x.ndim == 1 else x
        packed = self.pack(parameters or {}, len(flat))
        lower, upper = self._bounds(bounds, len(flat))
        if guess is not None or start == 'roll':
            self._guess(flat, guess, start)
        elif start == 'guess':
            raise ValueError("start='guess' needs guess=(states, controls)")
        options = (options or self.options).packed()
        given = tuple(t.detach().contiguous() for t in (flat, packed, lower, upper))
        if self.in_torch:
            X, U, costates, multipliers, raw = self._by_torch(*given, start, options)
        else:
            X, U, costates, multipliers, raw = self._native.solve(*given, STARTS[start], options)
        if differentiable is None:
            differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (flat, packed, lower, upper))
        if differentiable:
            X, U = attach(self, flat, packed, lower, upper, X, U, costates, multipliers)
        if self.rates:
            X = X[..., :self.base_space.size]
        result = OcpResult(X, U, costates, multipliers, raw, self.row_names)
        return result.one(0) if x.ndim == 1 else result

    def _by_torch(self, x0: Tensor, packed: Tensor, lower: Tensor, upper: Tensor, start: str,
                  options: list[float]) -> list[Tensor]:
        """Functions evaluated by torch, for all problems in one call; everything else natively."""
        problem, last, evaluator = self._native, x0, Evaluator(self)
        if start in ('shift', 'roll'):
            X, U = problem.results(len(x0))[:2]
        if start == 'shift':
            with torch.no_grad():
                last = self.functions.dynamics(X[:, -1], U[:, -1], self.unpack(packed[:, -2])).contiguous()
        elif start == 'roll':
            problem.set_guess(self.rollout(x0, U, packed), U)
        problem.begin(x0, packed, lower, upper, STARTS[start], last, options, self.in_torch == 'dynamics')
        unfinished = len(x0)
        while unfinished:
            which, X, U, costates, net = problem.wanted()
            some = packed if len(which) == len(packed) else packed[which]
            unfinished = problem.advance(evaluator.records(X, U, some, costates, net, self.in_torch == 'dynamics'))
        return problem.results(len(x0))

    def record(self, X: Tensor, U: Tensor, parameters: Mapping[str, Tensor] | None = None, *,
               costates: Tensor | None = None) -> dict[str, Tensor]:
        """The quadratic model at states X (N + 1, state) and controls U (N, control), the state with u_prev appended
        where there are rates. The costates (N + 1, tangent), zero by default, enter an exact Hessian.

        Returns:
            cost (N + 1,), its gradient g (N + 1, w) and Hessian H (N + 1, w, w) by w = [u; δx], defects c (N, x) and
            their Jacobian M (N, x, w), constraint rows d (N + 1, rows) and their Jacobian D (N + 1, rows, w).
        """
        packed = self.pack(parameters or {}, 1)[0]
        lay, nx, nd, ld = self.layouts[0], self.space.tangent, sum(self.row_counts), self.leading
        nw = self.control + nx
        costates = X.new_zeros(self.horizon + 1, nx) if costates is None else costates
        if self.native:
            flat = self._native.record(X.contiguous(), U.contiguous(), packed, costates.contiguous())
        else:
            flat = Evaluator(self).records(X[None], U[None], packed[None], costates[None],
                                           X.new_zeros(1, self.horizon + 1, nd))[0]

        def matrix(at: int, rows: int) -> Tensor:
            return flat[:, at:at + rows * ld].reshape(len(flat), rows, ld)[..., :nw]
        return {'cost': flat[:, 0], 'g': flat[:, lay.g:lay.g + nw], 'H': matrix(lay.H, nw),
                'c': flat[:-1, lay.c:lay.c + nx], 'M': matrix(lay.M, nx)[:-1], 'd': flat[:, lay.d:lay.d + nd],
                'D': matrix(lay.D, nd)}

    @torch.no_grad()
    def rollout(self, x0: Tensor, U: Tensor, packed: Tensor) -> Tensor:
        """States (..., N + 1, state) by applying controls (..., N, control), by torch; parameters as of pack()."""
        X = [x0]
        for k in range(self.horizon):
            X.append(self.functions.dynamics(X[-1], U[..., k, :], self.unpack(packed[..., k, :])))
        return torch.stack(X, -2)

    def _bounds(self, bounds: Mapping | None, batch: int) -> tuple[Tensor, Tensor]:
        lower, upper = (b.expand(batch, -1, -1).contiguous() for b in (self.lower, self.upper))
        if bounds:
            lower, upper = lower.clone(), upper.clone()
            for name, pair in bounds.items():
                rows = self.groups[name]
                for into, given in zip((lower, upper), pair):
                    there = into[..., rows].isfinite()      # not at stages where the constraint is not
                    into[..., rows] = torch.where(there, torch.as_tensor(given, dtype=torch.float64), into[..., rows])
        return lower, upper

    @torch.no_grad()
    def _guess(self, x0: Tensor, guess: tuple[Tensor, Tensor] | None, start: str) -> None:
        B, N = len(x0), self.horizon
        X = torch.zeros(B, N + 1, self.space.size, dtype=torch.float64)
        U = torch.zeros(B, N, self.control, dtype=torch.float64)
        if guess is not None:
            U[:] = torch.as_tensor(guess[1], dtype=torch.float64)
            if start == 'guess':
                X[..., :self.base_space.size] = torch.as_tensor(guess[0], dtype=torch.float64)
                if self.rates:
                    X[:, 1:, self.base_space.size:] = U
                    X[:, 0, self.base_space.size:] = x0[:, self.base_space.size:]
        self._native.set_guess(X, U)


def _rate(x, u, p):
    """Change of the control."""
    return u - p.u_prev


class _Functions:
    """The user's functions on the state that has the last control appended, where there are rates."""

    def __init__(self, ocp: OCP, dynamics: Callable, stage_cost, terminal_cost):
        self.n, self.rates, self.nu = ocp.base_space.size, ocp.rates, ocp.control
        self.shapes = ocp.shapes
        self._dynamics, self._costs = dynamics, (stage_cost, terminal_cost)

    def _split(self, x, p):
        if not self.rates:
            return x, p
        namespace = type(p)(**vars(p))
        namespace.u_prev = x[..., self.n:]
        return x[..., :self.n], namespace

    def base_dynamics(self, x, u, p):
        """The next state, without the control appended."""
        x, p = self._split(x, p)
        return self._dynamics(x, u, p)

    def dynamics(self, x, u, p):
        after = self.base_dynamics(x, u, p)
        return torch.cat([after, u], -1) if self.rates else after

    def cost(self, terminal: bool):
        cost = self._costs[terminal]
        return type(cost)(self._wrapped(cost.residual if isinstance(cost, LeastSquares) else cost.value, terminal))

    def row(self, constraint):
        return self._wrapped(constraint.function, isinstance(constraint, StateConstraint))

    def _wrapped(self, function: Callable, of_state: bool) -> Callable:
        def on_state(x, p):
            return function(*self._split(x, p))

        def on_stage(x, u, p):
            x, p = self._split(x, p)
            return function(x, u, p)
        return on_state if of_state else on_stage

    def _probe(self) -> tuple[Tensor, Tensor, SimpleNamespace]:
        """Some state, control and parameters."""
        p = SimpleNamespace(**{name: torch.ones(shape, dtype=torch.float64) for name, shape in self.shapes.items()})
        return torch.ones(self.n + self.nu * self.rates, dtype=torch.float64), torch.ones(self.nu).double(), p

    def count(self, constraint) -> int:
        """Rows of a constraint, found by calling it."""
        x, u, p = self._probe()
        with torch.no_grad():
            d = self.row(constraint)(*((x, p) if isinstance(constraint, StateConstraint) else (x, u, p)))
        if d.ndim != 1:
            raise ValueError(f'constraint {constraint.name!r} must give rows (rows,), not {tuple(d.shape)}')
        return len(d)

    @cached_property
    def cost_counts(self) -> tuple[int, int]:
        """Residuals of a stage and of the end; 1 for costs of another form."""
        x, u, p = self._probe()
        counts = []
        for terminal in (False, True):
            cost = self.cost(terminal)
            with torch.no_grad():
                counts.append(cost.residual(*((x, p) if terminal else (x, u, p))).shape[-1]
                              if isinstance(cost, LeastSquares) else 1)
        return counts[0], counts[1]
