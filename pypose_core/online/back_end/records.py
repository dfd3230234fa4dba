"""What the back-end remembers of keyframes and measurements: tables, and what they say to people."""
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .table import Table


class EdgeKind(IntEnum):
    """Numbers of pypose_ros/msg/PoseGraphEdge."""

    ODOMETRY = 0
    LOOP = 1
    IMU = 2
    PRIOR = 3


class PriorKind(IntEnum):
    """What a measurement of one keyframe in the map fixes."""

    POSE = 0
    POSITION = 1


@dataclass(frozen=True)
class LoopEvent:
    """What became of one measurement that may be wrong."""

    from_id: int
    to_id: int
    accepted: bool
    reason: str
    chi2: float


@dataclass(frozen=True)
class EdgeInput:
    """A relative pose from a front-end. Ends are named by keyframe ids, or by stamps (ns) where those are given."""

    transform: NDArray[np.float64]
    """(7,) T_from_to."""
    information: NDArray[np.float64]
    """(6, 6) of [translation, rotation] in the axes of `to`; zeros = unknown."""
    from_id: int = 0
    to_id: int = 0
    from_stamp_ns: int | None = None
    to_stamp_ns: int | None = None
    kind: EdgeKind = EdgeKind.LOOP
    source: str = ''


def keyframe_table() -> Table:
    """id, stamp, T_odom_base at the time, its covariance (NaN: unknown), and the estimate T_map_base."""
    return Table(id=(np.int64, ()), stamp_ns=(np.int64, ()), odom=(np.float64, (7,)),
                 odom_covariance=(np.float64, (6, 6)), pose=(np.float64, (7,)))


def edge_table() -> Table:
    """Ends by row of the keyframe table, measurement, and its standing at the last solve."""
    return Table(kind=(np.int8, ()), ends=(np.int64, (2,)), measured=(np.float64, (7,)),
                 information=(np.float64, (6, 6)), rejected=(np.bool_, ()), chi2=(np.float64, ()),
                 source=(np.int32, ()))


def prior_table() -> Table:
    """A keyframe measured in the map: its pose T_map_base, or the position (first three numbers of `measured`) of a
    point that sits at `offset` in the keyframe's frame; `information` in map axes, position before rotation."""
    return Table(kind=(np.int8, ()), keyframe=(np.int64, ()), measured=(np.float64, (7,)),
                 offset=(np.float64, (3,)), information=(np.float64, (6, 6)), rejected=(np.bool_, ()),
                 chi2=(np.float64, ()))


def solve_table() -> Table:
    """Solves: when by odometry's clock, s of wall time, (keyframes, factors), cost before and after (NaN: failed)."""
    return Table(stamp_ns=(np.int64, ()), duration=(np.float64, ()), size=(np.int64, (2,)), cost=(np.float64, (2,)),
                 success=(np.bool_, ()))
