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
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from pypose_core import native
from pypose_core.control.arrays import Array, given, module, tensor
from pypose_core.control.constraint_rows import ConstraintRows
from pypose_core.control.evaluate import Evaluator
from pypose_core.control.functions import Functions
from pypose_core.control.ocp_result import OcpResult
from pypose_core.control.problem import Box, Cost, LeastSquares, StageConstraint, StateConstraint
from pypose_core.control.sensitivity import attach
from pypose_core.control.state_space import Euclidean, StateSpace
from pypose_core.control.tape import Tape
from pypose_core.control.traced import Untraceable
from pypose_core.control.transcribe import Layout, leading_dimension, transcribe
from pypose_core.dynamics.system import System

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
        dynamics: x_{k+1} = f(x, u, p), discrete; or a System, as of pypose_core.dynamics.
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

    def __init__(self, dynamics: Callable | System, *, state: int | StateSpace, control: int, horizon: int,
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
        self.functions = Functions(self, dynamics, stage_cost, terminal_cost)
        constraints = list(constraints)
        if rate_bounds is not None:
            constraints.insert(0, StageConstraint('control rate', _rate, rate_bounds.lower, rate_bounds.upper,
                                                  rate_bounds.soft))
        self.stage_constraints = [c for c in constraints if isinstance(c, StageConstraint)]
        self.state_constraints = [c for c in constraints if isinstance(c, StateConstraint)]
        self.row_counts = [self.functions.count(c) for c in self.stage_constraints + self.state_constraints]
        counts = iter(self.row_counts)
        self.rows = rows = ConstraintRows(
            horizon, control, self.base_space, control_bounds, state_bounds,
            [(c, next(counts), 0, horizon) for c in self.stage_constraints]
            + [(c, next(counts), 1, horizon + 1) for c in self.state_constraints], price)
        self.groups, self.row_names, self.prices = rows.groups, tuple(rows.names), rows.prices
        self.lower, self.upper, self.box, self.box_number = rows.lower, rows.upper, rows.box, rows.box_number
        self.splits: dict[str, tuple[int, int]] = {}
        at = 0
        for name, shape in self.shapes.items():
            self.splits[name] = (at, at + math.prod(shape))
            at += math.prod(shape)
        self.parameter_count = at
        self.in_torch, self.reason = self._build(backend)
        self.native = not self.in_torch

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

    def pack(self, parameters: Mapping[str, Array], batch: int, like: Array | None = None) -> Array:
        """Parameters as (batch, N + 1, numbers): numpy's where `like` is, else a tensor."""
        xp = module(like)
        packed = xp.empty((batch, self.horizon + 1, self.parameter_count), dtype=xp.float64)
        if parameters.keys() != self.shapes.keys():
            raise ValueError(f'parameters {sorted(parameters)} were given, {sorted(self.shapes)} are needed')
        for name, (begin, end) in self.splits.items():
            shape, value = self.shapes[name], given(parameters[name], like)
            extra = value.ndim - len(shape)     # 0: the same everywhere; 1: per stage; 2: per problem and stage
            leading = (batch, self.horizon + 1)[2 - extra:] if 0 <= extra <= 2 else None
            if extra == 2 and len(value) == 1:
                leading = (1, self.horizon + 1)
            if leading is None or value.shape[extra:] != shape or value.shape[:extra] != leading:
                raise ValueError(f'parameter {name!r} has shape {tuple(value.shape)}; {shape}, '
                                 f'{(self.horizon + 1, *shape)} or {(batch, self.horizon + 1, *shape)} is needed')
            packed[..., begin:end] = value.reshape((*leading, end - begin))
        return packed

    def unpack(self, packed: Tensor) -> SimpleNamespace:
        """What the functions get as p, from rows of packed parameters (..., numbers)."""
        return SimpleNamespace(**{name: packed[..., a:b].reshape(*packed.shape[:-1], *self.shapes[name])
                                  for name, (a, b) in self.splits.items()})

    def initial(self, x0: Array, u_prev: Array | None) -> Array:
        """The first state, with the control before it appended where there are rates."""
        xp, x0 = module(x0), given(x0, x0)
        if self.rates:
            if u_prev is None:
                raise ValueError('this problem has rates of controls: give u_prev, the control applied before')
            u_prev = given(u_prev, x0)
            if u_prev.shape[-1:] != (self.control,) or u_prev.ndim > x0.ndim:
                raise ValueError(f'u_prev has shape {tuple(u_prev.shape)}; it must be ({self.control},), or have the '
                                 f'batch of x0')
            x0 = xp.concatenate([x0, xp.broadcast_to(u_prev, (*x0.shape[:-1], self.control))], -1)
        if x0.shape[-1] != self.space.size or x0.ndim > 2:
            raise ValueError(f'x0 must be (state,) or (batch, state) with {self.base_space.size} numbers, '
                             f'not {tuple(x0.shape)}')
        return x0

    def solve(self, x0: Array, *, u_prev: Array | None = None, parameters: Mapping[str, Array] | None = None,
              start: str = 'keep', guess: tuple[Array, Array] | None = None,
              bounds: Mapping[str, tuple[Array, Array]] | None = None,
              options: OcpOptions | None = None, differentiable: bool | None = None) -> OcpResult:
        """Solve from x0.

        Where x0 is a numpy array, so are all numbers of the result, and nothing is differentiable: torch is not called
        but for the solver. That is the choice where other threads want the interpreter, to which every call of torch
        gives it up.

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
        if start not in STARTS:
            raise ValueError(f'start must be one of {sorted(STARTS)}, not {start!r}')
        x = self.initial(x0, u_prev)
        flat = x[None] if x.ndim == 1 else x
        packed = self.pack(parameters or {}, len(flat), x)
        lower, upper = self.rows.bounds(bounds, len(flat), x)
        if guess is not None or start == 'roll':
            self._guess(tensor(flat), guess, start)
        elif start == 'guess':
            raise ValueError("start='guess' needs guess=(states, controls)")
        settings = (options or self.options).packed()
        numbers = tensor(flat), tensor(packed), tensor(lower), tensor(upper)
        if self.in_torch:
            found: list[Array] = list(self._by_torch(*numbers, start, settings))
        else:
            found = self._native.solve(*numbers, STARTS[start], settings)
        if isinstance(x, np.ndarray):
            if differentiable:
                raise ValueError('arrays have no gradients: give x0 as a tensor')
            found, differentiable = [t.numpy() for t in found], False
        X, U, costates, multipliers, raw = found
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
        costates = X.new_zeros(self.horizon + 1, self.space.tangent) if costates is None else costates
        if self.native:
            flat = self._native.record(X.contiguous(), U.contiguous(), packed, costates.contiguous())
        else:
            flat = Evaluator(self).records(X[None], U[None], packed[None], costates[None],
                                           X.new_zeros(1, self.horizon + 1, sum(self.row_counts)))[0]
        return self.parts(flat)

    def parts(self, flat: Tensor) -> dict[str, Tensor]:
        """Records (..., N + 1, stride) as what record() returns."""
        lay, nx, nd, ld = self.layouts[0], self.space.tangent, sum(self.row_counts), self.leading
        nw = self.control + nx

        def matrix(at: int, rows: int) -> Tensor:
            return flat[..., at:at + rows * ld].unflatten(-1, (rows, ld))[..., :nw]
        return {'cost': flat[..., 0], 'g': flat[..., lay.g:lay.g + nw], 'H': matrix(lay.H, nw),
                'c': flat[..., :-1, lay.c:lay.c + nx], 'M': matrix(lay.M, nx)[..., :-1, :, :],
                'd': flat[..., lay.d:lay.d + nd], 'D': matrix(lay.D, nd)}

    @torch.no_grad()
    def rollout(self, x0: Tensor, U: Tensor, packed: Tensor) -> Tensor:
        """States (..., N + 1, state) by applying controls (..., N, control), by torch; parameters as of pack()."""
        X = [x0]
        for k in range(self.horizon):
            X.append(self.functions.dynamics(X[-1], U[..., k, :], self.unpack(packed[..., k, :])))
        return torch.stack(X, -2)

    @torch.no_grad()
    def _guess(self, x0: Tensor, guess: tuple[Tensor, Tensor] | None, start: str) -> None:
        B, N = len(x0), self.horizon
        X = torch.zeros(B, N + 1, self.space.size, dtype=torch.float64)
        U = torch.zeros(B, N, self.control, dtype=torch.float64)
        if guess is not None:
            for name, value, whole in zip(('states', 'controls'), guess, (X[..., :self.base_space.size], U)):
                if value is not None and tuple(value.shape) not in (whole.shape, whole.shape[1:]):
                    raise ValueError(f'the guess of {name} has shape {tuple(value.shape)}; {tuple(whole.shape[1:])} or '
                                     f'{tuple(whole.shape)} is needed')
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
