"""The chi-square quantile against scipy.stats, which is too slow to import in a node."""
from pathlib import Path

import numpy as np
from scipy.stats import chi2

from pypose_core import chi_square


def test_quantiles_are_those_of_scipy():
    p, dof = np.meshgrid([1e-6, 0.025, 0.5, 0.975, 0.999999], [1, 3, 6, 15, 1e4, 123.4])
    np.testing.assert_allclose(chi_square.quantile(p, dof), chi2.ppf(p, dof), rtol=1e-10)


def test_the_core_does_without_scipy_stats():
    core = Path(__file__).parents[1] / 'pypose_core'
    assert not [path for path in core.rglob('*.py') if 'scipy.stats import' in path.read_text()]
