"""What the controller says of each path, and of itself."""
from enum import Enum


class PathVerdict(Enum):
    """Answer to a path or a costmap."""

    ACCEPTED = 'accepted'
    EMPTY = 'refused: it has no poses'
    NOT_FINITE = 'refused: it contains NaN or infinity'
    BAD_QUATERNION = 'refused: a quaternion is not of unit length'
    TOO_FAR = 'refused: it begins farther away than the controller looks'
    BAD_GRID = 'refused: the grid has no cells, a resolution that is not positive, or an origin that is not finite'
    TOO_LARGE = 'refused: the grid has more cells than the controller has room for'

    @property
    def accepted(self) -> bool:
        return self is PathVerdict.ACCEPTED

    def __str__(self) -> str:
        return self.value


class TrackingStatus(Enum):
    """State of the controller after a cycle."""

    IDLE = 'no path to follow'
    TRACKING = 'following the path'
    REACHED = 'the goal is reached'
    NO_ODOMETRY = 'no odometry, or none that is recent'
    NO_SOLUTION = 'no trajectory was found'
    BLOCKED = 'every trajectory that was found touches an obstacle'
    NO_PROGRESS = 'no progress along the path'
    PATIENCE = 'nothing that could be commanded for longer than failure_tolerance'

    @property
    def failed(self) -> bool:
        """The path is given up."""
        return self in (TrackingStatus.NO_PROGRESS, TrackingStatus.PATIENCE)

    def __str__(self) -> str:
        return self.value
