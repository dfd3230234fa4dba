"""Whether squared normalized errors are those of a consistent filter."""
from scipy import stats
from torch import Tensor


def assert_consistent(nees: Tensor, dof: int) -> None:
    """nees (steps, runs) of independent runs: at each step their sum is χ² of dof * runs, and their mean is dof.

    A consistent filter fails in fewer than one of five hundred draws: the steps together have 1e-3 (Bonferroni), and so
    has the mean, whose deviation is that of the runs' own means, since steps of one run are not independent.
    """
    steps, runs = nees.shape
    low, high = stats.chi2.ppf([0.5e-3 / steps, 1 - 0.5e-3 / steps], dof * runs) / runs
    at = nees.mean(1)
    assert bool(((low < at) & (at < high)).all()), f'{at} outside of [{low}, {high}]'
    means = nees.mean(0)
    t = (means.mean() - dof) / means.std() * runs ** 0.5
    assert abs(t) < stats.t.ppf(1 - 0.5e-3, runs - 1), f'the mean of {means.mean()} is {t} deviations from {dof}'
