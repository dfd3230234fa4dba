"""When a loop of iterations ends, in PyPose's form."""
from __future__ import annotations

import torch
from torch import Tensor


class ReduceToBason:
    """Ends a loop when the loss no longer decreases, is small enough, or the steps are used up.

    Args:
        steps: the most steps.
        patience: this many steps in a row with a relative decrease below `decreasing` end the loop.
        decreasing: (last - loss) / |loss| that counts as progress.
        tol: a loss whose magnitude is below this ends the loop.
        verbose: print each step's loss and why the loop ended.

    Example:
        >>> stepper = ReduceToBason(steps=5)
        >>> while stepper.continual():
        ...     stepper.step(loss)
    """

    def __init__(self, steps: int, patience: int = 5, decreasing: float = 1e-3, tol: float = 1e-5,
                 verbose: bool = False):
        self.max_steps, self.patience, self.decreasing = steps, patience, decreasing
        self.tol, self.verbose = tol, verbose
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.last = torch.tensor(float('inf'))
        self.steps, self.patience_count, self._continual = 0, 0, True

    def continual(self) -> bool:
        """Whether another step is to be done."""
        return self._continual

    def _stop(self, why: str) -> None:
        self._continual = False
        if self.verbose:
            print(f'ReduceToBason: {why} reached, Quiting..')

    def step(self, loss: Tensor | float) -> None:
        """Hand in the loss after a step; of a batch each must satisfy the condition to stop."""
        if self.verbose:
            print('ReduceToBason step', self.steps, 'loss', loss)
        loss = torch.as_tensor(loss).detach()
        self.steps += 1
        if bool((loss.abs() < self.tol).all()):
            self._stop('Loss tol')
        if self.steps >= self.max_steps:
            self._stop('Maximum steps')
        slow = bool(((self.last.to(loss) - loss) / loss.abs() < self.decreasing).all())
        self.patience_count = self.patience_count + 1 if slow else 0
        self.last = loss
        if self.patience_count >= self.patience:
            self._stop('Maximum patience steps')
