"""Summary of a series of non-negative errors."""
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Statistics:
    """Root mean square, mean, median, standard deviation, extremes and sum of squares of N errors."""

    rmse: float
    mean: float
    median: float
    std: float
    min: float
    max: float
    sse: float
    count: int

    @classmethod
    def of(cls, errors: NDArray) -> 'Statistics':
        """Args: errors: (N,), N >= 1, in any unit, which the results share (sse: its square)."""
        errors = np.asarray(errors, dtype=float)
        if errors.ndim != 1 or len(errors) == 0:
            raise ValueError(f'statistics need a vector of at least one error, got shape {errors.shape}')
        sse = float(errors @ errors)
        return cls(rmse=float(np.sqrt(sse / len(errors))), mean=float(errors.mean()),
                   median=float(np.median(errors)), std=float(errors.std()), min=float(errors.min()),
                   max=float(errors.max()), sse=sse, count=len(errors))

    def as_dict(self) -> dict[str, float]:
        return asdict(self)
