"""Synthetic flights played into the smoother, for the tests of pypose_core.online."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from pypose_core.online import ImuSmoother, ImuSmootherConfig, InitConfig
from pypose_ros.bag.synthetic import MEMS, Flight, FlightConfig, fly


def config(**changes) -> ImuSmootherConfig:
    """The flights' configuration with changes; `mode` is init.mode."""
    mode = changes.pop('mode', 'static')
    return ImuSmootherConfig(
        **{
            'noise': MEMS,
            'accel_scale': 1.0,
            'robust_kernel': 'none',
            'init': InitConfig(mode=mode),
            **changes,
        }
    )


def short_flight(duration: float = 12.0, **changes) -> Flight:
    return fly(FlightConfig(duration=duration, **changes))


@dataclass
class Track:
    """What the smoother gave out: one entry an IMU sample with output."""

    index: list[int] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    covariances: list[np.ndarray] = field(default_factory=list)

    def errors(self, flight: Flight) -> np.ndarray:
        """(N, 15) truth minus estimate: rotation (body), velocity, position, biases."""
        k, x = np.array(self.index), np.array(self.states)
        rotation = (
            Rotation.from_quat(x[:, 3:7]).inv() * Rotation.from_quat(flight.truth.poses[k, 3:])
        ).as_rotvec()
        return np.hstack(
            [
                rotation,
                flight.truth.velocity[k] - x[:, 7:10],
                flight.truth.poses[k, :3] - x[:, :3],
                flight.bias[k] - x[:, 10:],
            ]
        )

    def nees(self, flight: Flight, part: slice = slice(None), every: int = 40) -> np.ndarray:
        """Normalized estimation error squared of a part of the error state, thinned to weak correlation."""
        errors = self.errors(flight)[::every, part]
        covariances = np.array(self.covariances)[::every, part, part]
        return np.einsum('ni,nij,nj->n', errors, np.linalg.inv(covariances), errors)


def play(
    flight: Flight,
    smoother: ImuSmoother,
    *,
    until: int | None = None,
    corrections: bool = True,
    arrivals: np.ndarray | None = None,
) -> Track:
    """Feed samples and corrections in the order of their arrival, solving at once."""
    track = Track()
    arrivals = flight.correction_log_ns if arrivals is None else arrivals
    order = np.argsort(arrivals, kind='stable') if corrections else np.zeros(0, dtype=int)
    waiting = iter(order)
    pending = next(waiting, None)
    for k, (stamp, sample) in enumerate(zip(flight.stamps_ns[:until].tolist(), flight.imu)):
        while pending is not None and arrivals[pending] <= stamp:
            smoother.add_pose(
                int(flight.correction_stamps_ns[pending]),
                flight.corrections[pending],
                flight.correction_covariance,
            )
            pending = next(waiting, None)
        smoother.add_imu(stamp, sample)
        smoother.solve()
        if smoother.output is not None:
            track.index.append(k)
            track.states.append(smoother.output.state.copy())
            track.covariances.append(smoother.output.covariance.copy())
    return track
