"""Preintegration of one sample at a time, as a node receives them."""
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pypose_core import native

from .noise import ImuNoise
from .preintegrate import preintegrate
from .preintegrated import Preintegrated


class Preintegrator:
    """Integrates IMU samples onto one packed row, in place and in double precision.

    With the native kernels a sample costs some microseconds from Python, of which the integration
    itself, covariance and bias Jacobian included, is a third of one. Without them the samples are
    kept and integrated when the result is asked for.
    """

    def __init__(self, noise: ImuNoise, *, bias: Sequence[float] | np.ndarray | Tensor | None = None):
        self.noise = noise
        self._noise = noise.vector()
        self._row = torch.zeros(296, dtype=torch.float64)
        self._bias = torch.zeros(6, dtype=torch.float64)
        self._sample = np.zeros(7)
        self._sample_tensor = torch.from_numpy(self._sample)
        self._kept: list[np.ndarray] = []
        # The operation itself, without the Python layers of torch.ops around it.
        self._step = torch._C._jit_get_operation('pypose::preintegrate_')[0] if native.available else None
        self.count = 0
        """Number of samples since the last reset."""
        self.reset(bias=torch.zeros(6) if bias is None else bias)

    def reset(self, *, bias: Sequence[float] | np.ndarray | Tensor | None = None) -> None:
        """Begin anew, at another bias (6,) [gyroscope rad/s, accelerometer m/s²] or at the same one."""
        if bias is not None:
            self._bias.copy_(torch.as_tensor(bias))
        self._row.zero_()
        self._row[4] = 1
        self._row[11:17] = self._bias
        self._kept.clear()
        self.count = 0

    def add(self, dt: float, gyro: Sequence[float] | np.ndarray, accel: Sequence[float] | np.ndarray) -> None:
        """One sample: angular rate (3,) rad/s and specific force (3,) m/s², held over dt seconds."""
        sample = self._sample
        sample[0] = dt
        sample[1:4] = gyro
        sample[4:7] = accel
        self.count += 1
        if self._step is not None:
            self._step(self._row, self._sample_tensor, self._noise)
        else:
            self._kept.append(sample.copy())

    @property
    def row(self) -> Tensor:
        """The packed row (296,); the next sample changes it in place."""
        if self._kept:
            dt, gyro, accel = torch.from_numpy(np.stack(self._kept)).split((1, 3, 3), -1)
            result = preintegrate(dt[:, 0], gyro, accel, noise=self.noise, bias=self._bias)
            self._row.copy_(result.row())
        return self._row

    @property
    def result(self) -> Preintegrated:
        """What has been integrated up to now; later samples don't change it."""
        return Preintegrated.from_row(self.row.clone())

    def predict(self, nav_state: Tensor, gravity: Tensor) -> Tensor:
        """The NavState (16,) now from that at the reset, corrected for that state's bias."""
        if native.available:
            return torch.ops.pypose.preintegrated_predict(nav_state, self.row, gravity)
        return Preintegrated.from_row(self.row).predict(nav_state, gravity)
