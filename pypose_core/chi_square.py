"""The quantile of the chi-square distribution; scipy.stats would take longer to import than a node takes to start."""
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv


def quantile(probability: ArrayLike, dof: ArrayLike) -> NDArray:
    """x with P(chi2 <= x) = probability: 2 P^-1(dof / 2, probability), P the regularized lower incomplete gamma."""
    return 2 * gammaincinv(np.asarray(dof) / 2, probability)
