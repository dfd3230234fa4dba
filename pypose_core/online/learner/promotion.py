"""Whether new weights are better than those in use."""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Judgement:
    """Of new weights."""

    accepted: bool
    sentence: str

    def __bool__(self) -> bool:
        return self.accepted


def judge(candidate: NDArray, current: NDArray, *, margin: float, min_windows: int) -> Judgement:
    """Compare losses on the same held-out windows (N,).

    The candidate must be finite everywhere, better in the mean by `margin` of the present loss, and by more than the
    standard error of the differences, so that luck with one window is not enough.
    """
    candidate, current = np.asarray(candidate, float), np.asarray(current, float)
    if candidate.shape != current.shape or candidate.ndim != 1:
        raise ValueError(f'losses of the same windows are compared; got {candidate.shape} and {current.shape}')
    count = len(candidate)
    if count < min_windows:
        return Judgement(False, f'{count} held-out windows of the {min_windows} that are needed')
    if not (np.isfinite(candidate).all() and np.isfinite(current).all()):
        return Judgement(False, 'a held-out loss is not finite')
    mean, present = float(candidate.mean()), float(current.mean())
    gain = current - candidate
    numbers = f'held-out loss {mean:.4g}, in use {present:.4g}, {count} windows'
    if mean > (1 - margin) * present:
        return Judgement(False, f'not better by {100 * margin:.3g} %: {numbers}')
    if gain.mean() <= gain.std(ddof=1) / np.sqrt(count):
        return Judgement(False, f'better by less than its standard error: {numbers}')
    return Judgement(True, f'better: {numbers}')
