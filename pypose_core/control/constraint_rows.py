"""The constraints of an optimal control problem as rows with bounds at each stage."""
from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pypose_core.control.arrays import Array, given, module
from pypose_core.control.problem import Box


class ConstraintRows:
    """Rows in the order boxes of controls, boxes of states, functions of stages, functions of states.

    Args:
        horizon, control, space: of the problem.
        control_bounds, state_bounds: Box or None.
        functions: (constraint, number of its rows, first stage, stage after the last).
        price: of violating a row that must hold.
    """

    def __init__(self, horizon: int, control: int, space, control_bounds: Box | None, state_bounds: Box | None,
                 functions: list, price: float):
        self.stages = horizon + 1
        self.box: list[int] = []           # column of w = [u; δx]
        self.box_number: list[int] = []    # number of [u, x]
        self.groups: dict[str, slice] = {}
        self.names: list[str] = []
        self.prices: tuple[list[float], list[float], list[int]] = [], [], []     # linear, quadratic, elastic
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []
        if control_bounds is not None:
            if control_bounds.soft is not None:
                raise ValueError('bounds of controls are never soft: a control within them always exists')
            self._add('control', control, control_bounds, 0, horizon, price, hard=True)
            self.box += range(control)
            self.box_number += range(control)
        if state_bounds is not None:
            numbers = [n for n, c in enumerate(space.columns) if c is not None]
            lower, upper = (self._stages('state', b, space.size)[:, numbers]
                            for b in (state_bounds.lower, state_bounds.upper))
            used = [i for i in range(len(numbers)) if bool((lower[:, i].isfinite() | upper[:, i].isfinite()).any())]
            self._add('state', len(used), Box(lower[:, used], upper[:, used], state_bounds.soft), 1, horizon + 1, price)
            self.names[len(self.names) - len(used):] = [f'state[{numbers[i]}]' for i in used]
            self.box += [control + space.columns[numbers[i]] for i in used]
            self.box_number += [control + numbers[i] for i in used]
        for constraint, count, first, last in functions:
            self._add(constraint.name, count, constraint, first, last, price)
        none = torch.zeros(self.stages, 0, dtype=torch.float64)
        self.lower, self.upper, present = (torch.cat([none, *part], -1) for part in zip(*self._parts)) \
            if self._parts else (none, none, none)
        self.present = present.bool()

    def _stages(self, name: str, bound, count: int) -> Tensor:
        """A bound as (N + 1, count)."""
        bound = torch.as_tensor(bound, dtype=torch.float64)
        if bound.ndim > 2 or (bound.ndim == 2 and len(bound) != self.stages) or (
                bound.ndim and bound.shape[-1] not in (1, count)):
            raise ValueError(f'a bound of {name!r} has shape {tuple(bound.shape)}; a number, ({count},) or '
                             f'({self.stages}, {count}) is needed')
        return bound.expand(self.stages, count)

    def _add(self, name: str, count: int, box, first: int, last: int, price: float, hard: bool = False) -> None:
        if name in self.groups:
            raise ValueError(f'two constraints are named {name!r}')
        start = len(self.names)
        self.groups[name] = slice(start, start + count)
        self.names.extend(f'{name}[{i}]' if count > 1 else name for i in range(count))
        present = torch.zeros(self.stages, count, dtype=torch.float64)
        present[first:last] = 1
        lower, upper = (torch.where(present > 0, self._stages(name, bound, count), none)
                        for bound, none in ((box.lower, -math.inf), (box.upper, math.inf)))
        _check(name, lower, upper)
        self._parts.append((lower, upper, present))
        linear, quadratic, elastic = self.prices
        linear += [-1.0 if hard else box.soft.linear if box.soft else price] * count
        quadratic += [box.soft.quadratic if box.soft else 0.0] * count
        elastic += [int(not hard and box.soft is None)] * count

    def bounds(self, others: Mapping[str, tuple[Array, Array]] | None, batch: int,
               like: Array | None = None) -> tuple[Array, Array]:
        """Lower and upper (batch, N + 1, rows), those given in place of the problem's own: numpy's where `like` is."""
        xp = module(like)
        own = (self.lower, self.upper, self.present)
        low, high, present = own if xp is torch else (t.numpy() for t in own)
        lower, upper = (xp.empty((batch, *b.shape), dtype=xp.float64) for b in (low, high))
        lower[:], upper[:] = low, high
        for name, pair in (others or {}).items():
            if name not in self.groups:
                raise ValueError(f'there is no constraint {name!r} to give bounds to, only {sorted(self.groups)}')
            rows = self.groups[name]
            for into, bound in zip((lower, upper), pair):
                bound, there = given(bound, like), into[..., rows]
                try:
                    wide = xp.broadcast_to(bound, there.shape)
                except (RuntimeError, ValueError) as error:
                    raise ValueError(f'bounds of {name!r} have shape {tuple(bound.shape)}; ({there.shape[-1]},), '
                                     f'{tuple(there.shape[1:])} or {tuple(there.shape)} is needed') from error
                into[..., rows] = xp.where(present[:, rows], wide, there)
            _check(name, lower[..., rows], upper[..., rows])
        return lower, upper


def _check(name: str, lower: Array, upper: Array) -> None:
    """Lower bounds below upper ones, and both numbers."""
    if not bool((lower <= upper).all()):
        low, high = (np.asarray(b.detach() if isinstance(b, Tensor) else b) for b in (lower, upper))
        k, i = np.argwhere(~(low <= high))[0, -2:].tolist()
        low, high = (b.reshape(-1, *b.shape[-2:])[:, k, i].tolist() for b in (low, high))
        raise ValueError(f'the bounds of {name!r} leave nothing between them: row {i} at stage {k} has {low[0]} and '
                         f'{high[0]}')
