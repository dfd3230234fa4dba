"""What the estimator says of each measurement and of itself: enums whose members are sentences."""
from enum import Enum


class Verdict(Enum):
    """Answer to one measurement. `accepted` is true where it entered the estimator."""

    ACCEPTED = 'accepted'
    QUEUED = 'accepted; it enters when the IMU has reached its stamp'
    RESET = 'accepted after a reset: the clock jumped backwards'
    GAP = 'accepted after a gap in the IMU: the covariance was inflated'
    REINITIALIZED = 'accepted after a long gap in the IMU: the estimator initializes again'
    ZERO_STAMP = 'dropped: the stamp is zero or negative'
    DUPLICATE = 'dropped: the stamp equals the one before'
    OUT_OF_ORDER = 'dropped: the stamp is older than the one before'
    NOT_FINITE = 'dropped: it contains NaN or infinity'
    BAD_QUATERNION = 'dropped: the quaternion is not of unit length'
    BAD_COVARIANCE = 'dropped: the covariance is not symmetric positive definite or exceeds 1e9'
    TOO_OLD = 'dropped: the correction is older than the window and the buffer of IMU samples'
    TOO_NEW = 'dropped: the correction is too far ahead of the IMU'
    NOT_INITIALIZED = 'dropped: the estimator has no pose yet'

    @property
    def accepted(self) -> bool:
        return self in _ACCEPTED

    def __str__(self) -> str:
        return self.value


_ACCEPTED = frozenset({Verdict.ACCEPTED, Verdict.QUEUED, Verdict.RESET, Verdict.GAP, Verdict.REINITIALIZED})


class Status(Enum):
    """State of the estimator as a whole."""

    WAITING = 'waiting for the first IMU sample'
    COLLECTING = 'initializing: collecting IMU samples'
    MOVING = 'initializing: waiting for the robot to stand still'
    AWAITING_ORIENTATION = 'initializing: waiting for an orientation in the IMU messages'
    AWAITING_POSE = 'initializing: waiting for a pose correction'
    CONVERGING = 'initializing: the velocity is not yet known well enough'
    RUNNING = 'running'
    STALE = 'no correction for longer than correction_timeout: the estimate is dead reckoning'

    @property
    def has_output(self) -> bool:
        return self in (Status.RUNNING, Status.STALE)

    def __str__(self) -> str:
        return self.value
