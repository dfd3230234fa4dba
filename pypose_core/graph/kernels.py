"""Robust kernels: how a factor's cost grows with its squared whitened residual s."""
from enum import Enum

from torch import Tensor

from pypose_core.optim import kernel as kernels


class RobustKernel(Enum):
    """rho(s) with s = r' Omega r and width k in standard deviations; the numbers are those of the native kernels.

    Source: Zhang, "Parameter estimation techniques: a tutorial", Image and Vision Computing 15, 1997.
    """

    NONE = 0
    """s"""
    HUBER = 1
    """s up to k^2, then 2 k sqrt(s) - k^2"""
    CAUCHY = 2
    """k^2 log(1 + s / k^2)"""
    TUKEY = 3
    """k^2 / 3 (1 - (1 - s / k^2)^3) up to k^2, then constant"""
    GEMAN_MCCLURE = 4
    """s / (1 + s / k^2)"""
    WELSCH = 5
    """k^2 (1 - exp(-s / k^2))"""

    def rho(self, s: Tensor, width: float) -> Tensor:
        """rho(s) in torch, differentiable."""
        if self is RobustKernel.NONE:
            return s
        form = {RobustKernel.HUBER: kernels.Huber, RobustKernel.CAUCHY: kernels.Cauchy,
                RobustKernel.TUKEY: kernels.Tukey, RobustKernel.GEMAN_MCCLURE: kernels.GemanMcClure,
                RobustKernel.WELSCH: kernels.Welsch}[self]
        return form(width).rho(s)
