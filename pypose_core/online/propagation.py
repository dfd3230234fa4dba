"""IMU-rate propagation: the estimate now, from the last optimized keyframe through the samples since."""
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pypose_core import native
from pypose_core.online import propagation_reference as reference
from pypose_core.online.config import ImuSmootherConfig
from pypose_core.online.packed import BIAS, ROW_SIZE, Workspace

FINE, SAMPLE_NOT_FINITE, STATE_NOT_FINITE, TOO_FAST = range(4)


def integrate(pieces: Tensor, bias: np.ndarray, noise: Tensor) -> np.ndarray:
    """Preintegrate piecewise-constant measurements.

    Args:
        pieces: (N, 7) [dt s, gyroscope rad/s, accelerometer m/s^2] or (N, 13), as `ImuBuffer.interval` gives.
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
        self._sample = torch.zeros(12, dtype=torch.float64)
        self.values = self._block.numpy()
        self._sample_values = self._sample.numpy()
        noise = config.noise
        self._sample_values[6:] = np.repeat([noise.gyroscope_noise_density, noise.accelerometer_noise_density], 3)
        self.values[Workspace.DENSITY] = self._sample_values[6:]
        self.noise = torch.cat([config.noise.vector(), torch.tensor(
            [config.max_imu_gap, config.gap_gyro_sigma, config.gap_accel_sigma], dtype=torch.float64)])
        self.values[Workspace.NOISE] = self.noise.numpy()
        self.values[Workspace.GRAVITY] = config.gravity
        self.values[Workspace.EXTRINSIC] = T_imu_base
        self.values[Workspace.MAX_VELOCITY] = config.max_velocity
        self._advance: Callable[..., int]
        self._output: Callable[..., None]
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
            pieces: (N, 7 or 13) measurements from the keyframe until now.
            last_sample: (6,) the newest sample, at which the next interval starts.
            last_dt: s, the newest sample's interval.
        """
        values = self.values
        values[Workspace.ANCHOR] = state
        values[Workspace.ANCHOR_COVARIANCE] = covariance.reshape(-1)
        values[Workspace.ROW] = integrate(pieces, state[10:], self.noise)
        values[Workspace.SAMPLE] = last_sample
        self._output(self._block, last_dt)

    def advance(self, sample: np.ndarray, dt: float, density: np.ndarray | None = None) -> int:
        """Integrate the interval of dt seconds that ends at `sample` (6,); returns FINE or what is wrong.

        `density`: (6,) of this sample, as ImuBuffer has them; the one before's by default.
        """
        self._sample_values[:6] = sample
        if density is not None:
            self._sample_values[6:] = density
        return self._advance(self._block, self._sample, dt)

    def move_biases(self, change: np.ndarray) -> None:
        """Samples of before, and the biases with them, are counted from elsewhere by (6,): the motion stays."""
        values = self.values
        for part in (values[Workspace.ANCHOR][10:], values[Workspace.ROW][BIAS], values[Workspace.SAMPLE],
                     values[Workspace.STATE][10:]):
            part += change

    def use_walk(self, gyroscope: float, accelerometer: float) -> None:
        """Random walks of the biases from now on, rad/s^2/√Hz and m/s^3/√Hz."""
        self.noise[2], self.noise[3] = gyroscope, accelerometer
        self.values[Workspace.NOISE] = self.noise.numpy()


def predict(state: np.ndarray, row: np.ndarray, gravity: float) -> np.ndarray:
    """The NavState (16,) that a preintegrated row (296,) leads to."""
    block = torch.zeros(Workspace.SIZE, dtype=torch.float64)
    values = block.numpy()
    values[Workspace.ANCHOR], values[Workspace.ROW], values[Workspace.GRAVITY] = state, row, gravity
    values[Workspace.EXTRINSIC.stop - 1] = 1.0
    (torch.ops.pypose.imu_output_ if native.available else reference.output_)(block, 0.0)
    return values[Workspace.STATE].copy()
