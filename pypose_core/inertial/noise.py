"""Noise of an IMU, in the continuous-time units of Kalibr's `imu.yaml` and of sensor data sheets."""
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImuNoise:
    """Continuous-time standard deviations, the same on the three axes.

    A sample held over dt carries white noise of variance density² / dt, and a bias moves over dt by a
    random step of variance random_walk² · dt.
    """

    gyroscope_noise_density: float
    """White noise of the angular rate, rad/s/√Hz: what a data sheet calls angular random walk."""
    accelerometer_noise_density: float
    """White noise of the specific force, m/s²/√Hz: velocity random walk on a data sheet."""
    gyroscope_random_walk: float
    """Drift of the gyroscope bias, rad/s²/√Hz."""
    accelerometer_random_walk: float
    """Drift of the accelerometer bias, m/s³/√Hz."""
    integration_sigma: float = 0.0
    """White noise added to the position, m/√s, for what the integration itself leaves out (GTSAM's
    integrationCovariance is its square). None by default: on-manifold integration at IMU rate is accurate
    far below the sensor's noise."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, (int, float)) and 0 <= value < float('inf')):
                raise ValueError(f'{field.name} = {value!r}: a finite standard deviation >= 0 is wanted')

    def vector(self, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """The five standard deviations in the order of the fields, shape (5,): what the kernels take."""
        return torch.tensor([float(getattr(self, field.name)) for field in fields(self)], dtype=dtype)

    def covariance(self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = 'cpu') -> Tensor:
        """Power spectral densities as 3×3 blocks, shape (5, 3, 3), in the order of the fields.

        This is what `preintegrate` takes, where each block may be any symmetric matrix and may differ
        from sequence to sequence and from sample to sample.
        """
        sigma = self.vector(dtype=dtype).to(device)
        return sigma.square()[:, None, None] * torch.eye(3, dtype=dtype, device=device)
