"""Damping strategies of Levenberg-Marquardt: how λ follows from the quality of the last step.

A strategy has `defaults`, the entries that it keeps in the optimizer's param_groups[0], 'damping' among them,
and update(pg, last, loss, J, D, R), called after each trial step D.  With independent problems everything is
batched: last and loss (B), J (B, m, n), D (B, n, 1), R (B, m, 1), and each problem has its own damping.  J of a sparse
problem is no tensor: it can be multiplied (J @ D, J.mT @ R).  The
quality is (last - loss)/(decrease that the linear model predicts), a failed step (loss NaN) counts as bad.
"""
from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Jacobian(Protocol):
    """A tensor, or of a sparse problem what can be multiplied like one."""

    def __matmul__(self, D: Tensor, /) -> Tensor:
        """J D."""


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f'{name} has to be positive: {value}')


def _fraction(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f'{name} has to be between 0 and 1: {value}')


def quality(last: Tensor, loss: Tensor, J: Jacobian, D: Tensor, R: Tensor) -> Tensor:
    """(last - loss)/(|R|² - |R + J D|²) for each problem; -inf of a step that did not keep the loss down."""
    JD = J @ D
    predicted = -(JD * (2 * R + JD)).sum((-2, -1))
    # Of a step that went uphill by plan, the plain quotient would be positive.
    return torch.where(loss <= last, (last - loss) / predicted, -torch.inf)


class Constant:
    """The same damping always: a step that does not reduce the loss is not tried again.

    Args:
        damping: λ.
    """
    adapts = False

    def __init__(self, damping: float = 1e-6):
        _positive(damping=damping)
        self.defaults = {'damping': damping}

    def update(self, pg: dict, *args, **kwargs) -> None:
        """Nothing."""


class Adaptive:
    """λ times `down` after a very successful step, times `up` after an unsuccessful one.

    Args:
        damping: λ at the beginning.
        high: quality above which a step is very successful.
        low: quality above which it is successful.
        up, down: the factors.
        min, max: bounds of λ.
    """
    adapts = True

    def __init__(self, damping: float = 1e-6, high: float = .5, low: float = 1e-3, up: float = 2.,
                 down: float = .5, min: float = 1e-6, max: float = 1e16):
        _positive(damping=damping, high=high, low=low, min=min)
        _fraction(down=down)
        if not up > 1:
            raise ValueError(f'up has to be larger than 1: {up}')
        self.defaults = {'damping': damping, 'high': high, 'low': low, 'up': up, 'down': down}
        self.min, self.max = min, max

    def update(self, pg: dict, last: Tensor, loss: Tensor, J: Jacobian, D: Tensor, R: Tensor, **kwargs) -> None:
        rho = quality(last, loss, J, D, R)
        factor = torch.where(rho > pg['high'], pg['down'], torch.where(rho > pg['low'], 1., pg['up']))
        pg['damping'] = (pg['damping'] * factor).clamp(self.min, self.max)


class TrustRegion:
    """λ = 1/Δ; the radius Δ grows by `up` after a very successful step, shrinks faster and faster after bad ones.

    Args:
        radius: Δ at the beginning.
        high, low: as of Adaptive.
        up: factor of the radius after a very successful step.
        down: factor after the first unsuccessful step; after each further one it is multiplied by `factor`.
        factor: see down.
        min, max: bounds of the radius, and of its falling factor.
    """
    adapts = True

    def __init__(self, radius: float = 1e6, high: float = .5, low: float = 1e-3, up: float = 2.,
                 down: float = .5, factor: float = .5, min: float = 1e-6, max: float = 1e16):
        _positive(radius=radius, high=high, low=low, min=min)
        _fraction(down=down, factor=factor)
        if not up > 1:
            raise ValueError(f'up has to be larger than 1: {up}')
        self.min, self.max, self.down = min, max, down
        self.defaults = {'radius': radius, 'damping': 1 / radius, 'high': high, 'low': low, 'up': up,
                         'down': down, 'factor': factor}

    def update(self, pg: dict, last: Tensor, loss: Tensor, J: Jacobian, D: Tensor, R: Tensor, **kwargs) -> None:
        rho = quality(last, loss, J, D, R)
        radius = 1. / torch.as_tensor(pg['damping'], dtype=rho.dtype, device=rho.device)
        down = torch.as_tensor(pg['down'], dtype=rho.dtype, device=rho.device)
        successful = rho > pg['low']
        factor = torch.where(rho > pg['high'], pg['up'], torch.where(successful, 1., down))
        pg['down'] = torch.where(successful, self.down, down * pg['factor']).clamp(self.min, self.max)
        pg['radius'] = (radius * factor).clamp(self.min, self.max)
        pg['damping'] = 1. / pg['radius']
