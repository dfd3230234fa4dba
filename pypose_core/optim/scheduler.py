"""Schedulers: when to stop stepping."""
from __future__ import annotations

from torch import Tensor

from pypose_core.optim.base import _Optimizer
from pypose_core.optim.status import Status


class StopOnPlateau:
    """Stops an optimizer once the loss has not decreased enough for some steps.

    Args:
        optimizer: GN, LM or Dogleg.
        steps: steps at most.
        patience: steps in a row with too small a decrease, at which it stops.
        decreasing: relative decrease of the loss in a step, below which it is too small.
        verbose: print each step.

    `reason` says in a sentence why it stopped.
    """

    def __init__(self, optimizer: _Optimizer, steps: int, patience: int = 5, decreasing: float = 1e-3,
                 verbose: bool = False):
        if not isinstance(optimizer, _Optimizer):
            raise TypeError(f'{type(optimizer).__name__} is no second-order optimizer')
        self.optimizer, self.verbose = optimizer, verbose
        self.max_steps, self.steps = steps, 0
        self.decreasing = decreasing
        self.patience, self.patience_count = patience, 0
        self.reason = ''

    def continual(self) -> bool:
        """Whether to go on."""
        return not self.reason

    def state_dict(self) -> dict:
        """Everything but the optimizer."""
        return {key: value for key, value in vars(self).items() if key != 'optimizer'}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what state_dict() returned."""
        vars(self).update(state_dict)

    def step(self, loss: Tensor) -> None:
        """Take note of an optimizer's step that returned `loss`."""
        if self.optimizer.loss is None or self.optimizer.last is None:
            raise RuntimeError('scheduler.step() should be called after optimizer.step()')
        last, now = float(self.optimizer.last), float(self.optimizer.loss)
        relative = (last - now) / last if last > 0 else 0.
        if self.verbose:
            print(f'StopOnPlateau on step {self.steps} Loss {last:.6e} --> Loss {now:.6e} '
                  f'(reduction/loss: {relative:.4e}).')
        self.steps += 1
        # Written so that NaN counts as no decrease.
        self.patience_count = 0 if relative >= self.decreasing else self.patience_count + 1
        if self.steps >= self.max_steps:
            self.reason = 'Maximum steps reached'
        if self.patience_count >= self.patience:
            self.reason = 'Maximum patience steps reached'
        if self.optimizer.status in (Status.STALLED, Status.SINGULAR, Status.NONFINITE):
            self.reason = f'The optimizer {self.optimizer.status}'
        if self.verbose and self.reason:
            print(f'StopOnPlateau: {self.reason}, quitting.')

    def optimize(self, input, target=None, weight=None) -> None:
        """optimizer.step() until it is time to stop; the arguments are its."""
        while self.continual():
            self.step(self.optimizer.step(input, target, weight))
