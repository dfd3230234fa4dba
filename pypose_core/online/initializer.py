"""Watching the first samples until they give a first state."""
from dataclasses import dataclass

import numpy as np

from pypose_core.online.config import ImuSmootherConfig
from pypose_core.online.correction import QUATERNION_TOLERANCE, Correction
from pypose_core.online.imu_buffer import ImuBuffer
from pypose_core.online.initialization import STANDARD_GRAVITY, given_state, is_static, reports_in_g, static_state
from pypose_core.online.placement import placed_level
from pypose_core.online.verdict import Status

UNIT_SAMPLES = 10
"""Fewest samples by which the accelerometer's unit is recognized."""


@dataclass(frozen=True)
class Start:
    """A first state."""

    stamp_ns: int
    state: np.ndarray
    """(16,) NavState"""
    covariance: np.ndarray
    """(15, 15)"""
    correction: Correction | None = None
    """The pose that it was taken from, in mode pose."""


class Initializer:
    """Finds the first state in the way that `init.mode` asks for, and the accelerometer's unit."""

    def __init__(self, config: ImuSmootherConfig):
        self._config = config.init
        self._gravity = config.gravity
        self.accel_scale = config.accel_scale
        """Factor to m/s^2; 0 until it is recognized. It outlives resets: a sensor's unit does not change."""
        self.place: tuple[np.ndarray, np.ndarray] | None = None
        """Where to start: pose (7,) and covariance (6, 6), from a correction or from before a gap."""

    def recognize_unit(self, buffer: ImuBuffer, stamp_ns: int) -> str | None:
        """Look at the first window for an accelerometer in g; returns a sentence if it is, and scales the buffer."""
        window_ns = self._config.window * 1e9
        if self._config.mode in ('zero', 'orientation'):
            window_ns *= 0.1                     # these start at once: look only as long as one must
        if self.accel_scale > 0 or len(buffer) < UNIT_SAMPLES or stamp_ns - int(buffer.stamps[0]) < 0.99 * window_ns:
            return None
        if not reports_in_g(buffer.samples):
            self.accel_scale = 1.0
            return None
        self.accel_scale = STANDARD_GRAVITY
        buffer.scale_accelerometer(self.accel_scale)
        return ('the accelerometer reports in g: scaled to m/s^2. Set accel_scale to 9.80665 to say so, or to 1 if '
                'this is wrong')

    def look(self, buffer: ImuBuffer, stamp_ns: int, orientation: np.ndarray | None,
             corrections: list[Correction]) -> Start | Status:
        """The first state, or what is still missing.

        Args:
            buffer: the samples so far, the newest at stamp_ns.
            orientation: (4,) of the newest message, where it has one.
            corrections: absolute ones that wait for their stamp.
        """
        if self.accel_scale <= 0:
            return Status.COLLECTING
        if self._config.mode == 'static':
            return self._static(buffer, stamp_ns)
        if self._config.mode == 'pose':
            return self._at_pose(buffer, stamp_ns, corrections)
        if self._config.mode == 'zero':
            return self._given(stamp_ns, np.array([0, 0, 0, 1.0]))
        if orientation is None or abs(np.linalg.norm(orientation) - 1) > QUATERNION_TOLERANCE:
            return Status.AWAITING_ORIENTATION
        return self._given(stamp_ns, orientation / np.linalg.norm(orientation))

    def _static(self, buffer: ImuBuffer, stamp_ns: int) -> Start | Status:
        begin_ns = stamp_ns - round(self._config.window * 1e9)
        if int(buffer.stamps[0]) > begin_ns:
            return Status.COLLECTING
        buffer.forget_before(begin_ns)
        if not is_static(buffer.samples, self._config):
            return Status.MOVING
        state, covariance = static_state(buffer.samples, self._config, gravity=self._gravity)
        if self.place is not None:
            state, covariance = placed_level(state, covariance, *self.place)
        return Start(stamp_ns, state, covariance)

    def _given(self, stamp_ns: int, attitude: np.ndarray) -> Start:
        position = np.zeros(3) if self.place is None else self.place[0][:3]
        covariance = np.diag(np.repeat([self._config.attitude_sigma**2, self._config.position_sigma**2], 3))
        return Start(stamp_ns, *given_state(np.concatenate([position, attitude]), covariance, self._config,
                                            velocity_sigma=self._config.static_velocity_sigma))

    def _at_pose(self, buffer: ImuBuffer, stamp_ns: int, corrections: list[Correction]) -> Start | Status:
        buffer.forget_before(stamp_ns - round(self._config.window * 1e9))
        covered = [c for c in corrections if buffer.covers(c.stamp_ns)]
        if not covered:
            return Status.AWAITING_POSE
        first = min(covered, key=lambda c: c.stamp_ns)
        return Start(first.stamp_ns, *given_state(first.pose, first.covariance, self._config,
                                                  velocity_sigma=self._config.velocity_sigma), first)
