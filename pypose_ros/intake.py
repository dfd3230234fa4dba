"""Raw messages on their way to an estimator: read, judged, counted.

What concerns the measurement itself (order of stamps, finite poses, unit quaternions, positive definite
covariances) is the estimator's to judge; here is what only a message has. Each `..._fault` function returns
None, or (reason for the counters, sentence for a person).
"""
from collections.abc import Callable

import numpy as np

from pypose_ros import cdr
from pypose_ros.diagnostics import Diagnostics

MAX_MAGNITUDE = 1e9
Fault = tuple[str, str] | None

_IMU_FIELDS = (('orientation', cdr.IMU_ORIENTATION, cdr.IMU_ORIENTATION_COVARIANCE),
               ('angular_velocity', cdr.IMU_GYROSCOPE, cdr.IMU_GYROSCOPE_COVARIANCE),
               ('linear_acceleration', cdr.IMU_ACCELEROMETER, cdr.IMU_ACCELEROMETER_COVARIANCE))


def header_fault(message: cdr.Received) -> Fault:
    """A stamp that is none, or no frame."""
    if message.nanosec >= cdr.NANO:
        return 'bad_stamp', f'nanosec is {message.nanosec}, a second or more'
    if message.sec <= 0 and message.stamp_ns <= 0:
        return 'zero_stamp', 'the stamp is zero'
    if not message.frame_id:
        return 'empty_frame', 'header.frame_id is empty'
    return None


def imu_fault(message: cdr.Received) -> Fault:
    """As `header_fault`, and numbers that cannot be, and fields marked absent (covariance[0] = -1)."""
    values = message.values
    # One product tells that all is well: it is finite and small only if every number is.
    if (message.stamp_ns > 0 and message.nanosec < cdr.NANO and message.frame_id
            and values.dot(values) < MAX_MAGNITUDE ** 2 and values[16] != -1.0 and values[28] != -1.0):
        return None
    fault = header_fault(message)
    if fault:
        return fault
    for name, field, covariance in _IMU_FIELDS:
        absent = values[covariance][0] == -1.0
        if absent and name != 'orientation':
            return 'field_absent', f'{name}_covariance[0] is -1: the message has no {name}'
        if not absent and not np.isfinite(values[field]).all():
            return 'not_finite', f'{name} contains NaN or infinity'
        if not np.isfinite(values[covariance]).all():
            return 'not_finite', f'{name}_covariance contains NaN or infinity'
        if np.abs(values[covariance]).max() > MAX_MAGNITUDE:
            return 'bad_covariance', f'{name}_covariance exceeds {MAX_MAGNITUDE:g}'
        if not absent and np.abs(values[field]).max() > MAX_MAGNITUDE:
            return 'out_of_range', f'{name} exceeds {MAX_MAGNITUDE:g}'
    return None


def orientation(message: cdr.Received) -> np.ndarray | None:
    """(4,) attitude of an Imu message, or None where it says that it has none."""
    if message.values[4] == -1.0:
        return None
    return message.values[cdr.IMU_ORIENTATION]


def correction_fault(message: cdr.Received) -> Fault:
    """Of an Odometry or PoseWithCovarianceStamped."""
    fault = header_fault(message)
    if fault is None and message.values[7] == -1.0:
        fault = 'field_absent', 'pose.covariance[0] is -1: the message has no pose'
    return fault


class Intake:
    """Reads the messages of one raw subscription; what is refused is counted and told.

    Args:
        topic: name for counters and log.
        kind: message type, see `cdr.Reader`.
        fault: one of the functions above.
    """

    def __init__(self, topic: str, kind: type, fault: Callable[[cdr.Received], Fault],
                 diagnostics: Diagnostics):
        self._topic, self._fault, self._diagnostics = topic, fault, diagnostics
        self._read = cdr.Reader(kind)
        self._rate = diagnostics.rate(topic)

    def __call__(self, data: bytes) -> cdr.Received | None:
        """The message, or None where it is refused."""
        self._rate.tick()
        try:
            message = self._read(data)
            fault = self._fault(message)
        except cdr.CdrError as error:
            fault = 'garbled', str(error)
        if fault is None:
            return message
        self._diagnostics.drop(f'{self._topic}: {fault[0]}', f'{self._topic} dropped: {fault[1]}')
        return None
