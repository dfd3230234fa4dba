"""Preintegration as the lower level: where corrected samples lead from a known state, and how sure that is."""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pypose_core.inertial import ImuNoise, Preintegrated
from pypose_core.lie import so3
from pypose_core.metric import nees

from .imu_corrector import CorrectedImu, ImuCorrector
from .imu_windows import ImuWindows


@dataclass(frozen=True)
class Motion:
    """Errors of N predicted motions."""

    error: Tensor
    """(N, 9) truth minus prediction: rotation (right perturbation, rad), velocity m/s and position m in the IMU's
    frame at the start."""
    covariance: Tensor
    """(N, 9, 9) that the front-end claims for it."""
    change: Tensor
    """As in CorrectedImu, context included."""

    def rmse(self) -> dict[str, float]:
        """Root mean square lengths: rotation in degrees, velocity in m/s, position in m."""
        rotation, velocity, position = (self.error.detach()[:, k:k + 3].square().sum(1).mean().sqrt().item()
                                        for k in (0, 3, 6))
        return {'rotation_deg': float(np.degrees(rotation)), 'velocity_m_s': velocity, 'position_m': position}

    def nees(self) -> float:
        """Mean normalized error squared; 9 where the covariance is right."""
        return nees(self.error.detach().numpy(), self.covariance.detach().numpy(), independent=len(self.error)).mean


class PreintegrationLevel:
    """Preintegrates what a front-end makes of windows, and compares with their ends.

    Args:
        gravity: (3,) in the world of the windows' states, m/s².
    """

    def __init__(self, gravity: Tensor):
        self.gravity = gravity.to(torch.float64)

    def __call__(self, front_end: Callable[[Tensor], CorrectedImu], windows: ImuWindows) -> Motion:
        corrected = front_end(windows.samples)
        first = windows.samples.shape[1] - windows.dt.shape[1] - 1
        found = corrected.part(slice(first, None)).preintegrate(windows.dt)
        assert found.covariance is not None     # CorrectedImu has the noise
        return Motion(motion_error(found, windows, self.gravity), found.covariance[:, :9, :9], corrected.change)


def motion_error(found: Preintegrated, windows: ImuWindows, gravity: Tensor) -> Tensor:
    """(N, 9) as `Motion.error`."""
    a, b, t = windows.start, windows.end, found.dt[:, None]
    to_start = so3.inv(a[:, 3:7])
    rotation = so3.log(so3.mul(so3.inv(found.delta_rotation), so3.mul(to_start, b[:, 3:7])))
    velocity = so3.act(to_start, b[:, 7:10] - a[:, 7:10] - gravity * t) - found.delta_velocity
    position = so3.act(to_start, b[:, :3] - a[:, :3] - a[:, 7:10] * t - gravity * (t * t / 2)) - found.delta_position
    return torch.cat([rotation, velocity, position], -1)


def negative_log_likelihood(motion: Motion, windows: ImuWindows | None = None) -> Tensor:
    """Mean of (e' P^-1 e + log det P) / 18: errors and covariances at once, supervised by the windows' ends, which
    may be ground truth or the back-end's own result."""
    L = torch.linalg.cholesky(motion.covariance)
    whitened = torch.linalg.solve_triangular(L, motion.error[..., None], upper=False)[..., 0]
    return (whitened.square().sum(-1) / 2 + L.diagonal(dim1=-2, dim2=-1).log().sum(-1)).mean() / 9


def robust_negative_log_likelihood(motion: Motion, windows: ImuWindows | None = None, *, dof: float = 4.0) -> Tensor:
    """The same for Student's t errors: a window whose end is wrong counts little. Per window

        (dof + 9) / 2 log(1 + e' P^-1 e / dof) + log det(P) / 2
    """
    L = torch.linalg.cholesky(motion.covariance)
    s = torch.linalg.solve_triangular(L, motion.error[..., None], upper=False)[..., 0].square().sum(-1)
    return ((dof + 9) / 2 * torch.log1p(s / dof) + L.diagonal(dim1=-2, dim2=-1).log().sum(-1)).mean() / 9


def fixed_corrector(bias: Tensor, noise: ImuNoise) -> ImuCorrector:
    """What there was before learning: constant biases and the stated noise, as a front-end."""
    corrector = ImuCorrector(channels=1, dilations=()).double()
    corrector.calibrate(bias, noise, bias_sigma=(1e-9, 1e-9))
    return corrector
