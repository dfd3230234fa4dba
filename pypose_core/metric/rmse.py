"""Root mean square error of vectors: velocities, biases."""
import numpy as np
from numpy.typing import NDArray


def rmse(estimate: NDArray, truth: NDArray) -> float:
    """sqrt(mean_i |estimate_i - truth_i|^2) over N vectors, in their unit.

    Args:
        estimate, truth: (N, d), N >= 1, in one frame.
    """
    difference = np.asarray(estimate, dtype=float) - np.asarray(truth, dtype=float)
    if difference.ndim != 2 or len(difference) == 0:
        raise ValueError(f'need N >= 1 vectors (N, d), got {difference.shape}')
    return float(np.sqrt((difference ** 2).sum(axis=1).mean()))
