"""IMU-rate propagation: the estimate now, from the last optimized keyframe through the samples since."""
import numpy as np
import torch
from torch import Tensor

from pypose_core import native
from pypose_core.online import propagation_reference as reference
from pypose_core.online.config import ImuSmootherConfig
from pypose_core.online.front_end import ImuFrontEnd
from pypose_core.online.packed import BIAS, ROW_SIZE, Workspace

NOISE_DENSITY = slice(Workspace.NOISE.start, Workspace.NOISE.start + 2)
FINE, SAMPLE_NOT_FINITE, STATE_NOT_FINITE, TOO_FAST = range(4)


def integrate(pieces: Tensor, bias: np.ndarray, noise: Tensor) -> np.ndarray:
    """Preintegrate piecewise-constant measurements.

    Args:
        pieces: (N, 7) [dt s, gyroscope rad/s, accelerometer m/s^2], as `ImuBuffer.interval` gives.
        bias: (6,) gyroscope, accelerometer bias at which to integrate.
        noise: (8,) the NOISE part of the workspace.
    Returns:
        A packed row (296,).
    """
    row = torch.zeros(ROW_SIZE, dtype=torch.float64)
    row[BIAS] = torch.from_numpy(bias)
    (torch.ops.pypose.imu_integrate_ if native.available else reference.integrate_)(row, pieces, noise)
    return row.numpy()


class ImuPropagator:
    """Holds the anchor (a NavState with covariance) and the samples since, preintegrated, in one block
    of memory; native code advances it by a sample in one call. The outputs are numpy views into it."""

    def __init__(self, config: ImuSmootherConfig, T_imu_base: np.ndarray):
        self._block = torch.zeros(Workspace.SIZE, dtype=torch.float64)
        self._sample = torch.zeros(6, dtype=torch.float64)
        self.values = self._block.numpy()
        self._sample_values = self._sample.numpy()
        self.noise = torch.cat([config.noise.vector(), torch.tensor(
            [config.max_imu_gap, config.gap_gyro_sigma, config.gap_accel_sigma], dtype=torch.float64)])
        self._configured = self.noise.clone()
        self.values[Workspace.NOISE] = self.noise.numpy()
        self.values[Workspace.GRAVITY] = config.gravity
        self.values[Workspace.EXTRINSIC] = T_imu_base
        self.values[Workspace.MAX_VELOCITY] = config.max_velocity
        if native.available:
            self._advance, self._output = torch.ops.pypose.imu_advance_, torch.ops.pypose.imu_output_
        else:
            self._advance, self._output = reference.advance_, reference.output_

    def anchor(self, state: np.ndarray, covariance: np.ndarray, pieces: Tensor, last_sample: np.ndarray,
               last_dt: float) -> None:
        """Propagate from another keyframe.

        Args:
            state: (16,) NavState of the keyframe.
            covariance: (15, 15) of it.
            pieces: (N, 7) measurements from the keyframe until now.
            last_sample: (6,) the newest sample, at which the next interval starts.
            last_dt: s, the newest sample's interval.
        """
        values = self.values
        values[Workspace.ANCHOR] = state
        values[Workspace.ANCHOR_COVARIANCE] = covariance.reshape(-1)
        values[Workspace.ROW] = integrate(pieces, state[10:], self.noise)
        values[Workspace.SAMPLE] = last_sample
        self._output(self._block, last_dt)

    @property
    def anchor_covariance(self) -> np.ndarray:
        """(15, 15) of the keyframe that propagation starts from; a copy."""
        return self.values[Workspace.ANCHOR_COVARIANCE].reshape(15, 15).copy()

    def set_noise(self, front_end: ImuFrontEnd | None) -> None:
        """Use a front-end's noise, also where `noise` was handed to; None for the configured one."""
        self.noise.copy_(self._configured)
        if front_end is not None:
            self.noise[:2], self.noise[2:4] = torch.from_numpy(front_end.density), torch.from_numpy(front_end.walk)
        self.values[Workspace.NOISE] = self.noise.numpy()

    def set_density(self, density: np.ndarray) -> None:
        """Noise (2,) of the next interval, rad/s/sqrt(Hz) and m/s^2/sqrt(Hz)."""
        self.values[NOISE_DENSITY] = density

    def advance(self, sample: np.ndarray, dt: float) -> int:
        """Integrate the interval of dt seconds that ends at `sample` (6,); returns FINE or what is wrong."""
        self._sample_values[:] = sample
        return self._advance(self._block, self._sample, dt)


def predict(state: np.ndarray, row: np.ndarray, gravity: float) -> np.ndarray:
    """The NavState (16,) that a preintegrated row (296,) leads to."""
    block = torch.zeros(Workspace.SIZE, dtype=torch.float64)
    values = block.numpy()
    values[Workspace.ANCHOR], values[Workspace.ROW], values[Workspace.GRAVITY] = state, row, gravity
    values[Workspace.EXTRINSIC.stop - 1] = 1.0
    (torch.ops.pypose.imu_output_ if native.available else reference.output_)(block, 0.0)
    return values[Workspace.STATE].copy()
