"""A bag through the pose-graph back-end, without the middleware: odometry, loops, poses and fixes as recorded."""
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pypose_core.online.back_end import PoseGraphBackEnd
from pypose_core.online.back_end.geodetic import LocalFrame
from pypose_core.online.verdict import Verdict
from pypose_ros.nodes.pose_graph_messages import edge_from_msg
from pypose_ros.nodes.pose_graph_params import PoseGraphParams, back_end_config

from .errors import BagError
from .reader import BagReader
from .recording import ODOMETRY, POSE, stamp_ns, xyz, xyzw
from .replay_input import NONE, choose

FIX, EDGE = 'sensor_msgs/msg/NavSatFix', 'pypose_ros/msg/PoseGraphEdge'
UNKNOWN_COVARIANCE = 0      # NavSatFix.COVARIANCE_TYPE_UNKNOWN
NO_FIX = -1                 # NavSatStatus.STATUS_NO_FIX


@dataclass(frozen=True)
class GraphTopics:
    """Which topics to take; None detects the only one of its type, 'none' goes without."""

    odometry: str | None = None
    pose: str | None = NONE
    """Absolute poses in the map; never taken unasked, a bag may have many that are something else."""
    fix: str | None = None
    loop: str | None = None


@dataclass(frozen=True)
class GraphReplay:
    """What came of a bag."""

    back_end: PoseGraphBackEnd
    taken: Counter[str]
    """Messages by topic."""
    dropped: Counter[str]
    """Messages by topic and reason."""


def replay_graph(path: Path, params: PoseGraphParams, topics: GraphTopics) -> GraphReplay:
    """Feed the back-end in the order of recording; each measurement that can move the map is followed by a solve.

    Frames are taken as they are: odometry is that of the base, poses are in the map.

    Raises:
        BagError: the bag is no good, or has no odometry.
    """
    back_end = PoseGraphBackEnd(back_end_config(params))
    if params.datum:
        back_end.local_frame = LocalFrame(*params.datum)
    taken: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with BagReader(path) as bag:
        odometry = choose(bag, ODOMETRY, topics.odometry, '--odometry-topic', usual=('/odometry', '/odom'))
        if odometry is None:
            raise BagError(f'{path}: it has no odometry ({ODOMETRY})')
        add: dict[str, Callable[[PoseGraphBackEnd, Any], Verdict | None]] = {odometry: _add_odometry}
        for kind, given, flag, use in ((POSE, topics.pose, '--pose-topic', _add_pose),
                                       (FIX, topics.fix, '--fix-topic', _add_fix),
                                       (EDGE, topics.loop, '--loop-topic', _add_edge)):
            if (name := choose(bag, kind, given, flag)) is not None:
                add[name] = use
        for message in bag.messages(set(add)):
            verdict = add[message.topic](back_end, bag.decode(message))
            if verdict is None or not verdict.accepted:
                dropped[f'{message.topic}: {"no_fix" if verdict is None else verdict.name.lower()}'] += 1
                continue
            taken[message.topic] += 1
            if (job := back_end.begin_solve()) is not None:
                job.run()
                back_end.poll()
    if not len(back_end.keyframes):
        raise BagError(f'{path}: no message of {odometry} could be used: {dict(dropped)}')
    return GraphReplay(back_end, taken, dropped)


def _add_odometry(back_end: PoseGraphBackEnd, message) -> Verdict:
    pose = message.pose.pose
    return back_end.add_odometry(stamp_ns(message.header), np.array([*xyz(pose.position), *xyzw(pose.orientation)]),
                                 np.array(message.pose.covariance).reshape(6, 6))


def _add_pose(back_end: PoseGraphBackEnd, message) -> Verdict:
    pose = message.pose.pose
    return back_end.add_pose(stamp_ns(message.header), np.array([*xyz(pose.position), *xyzw(pose.orientation)]),
                             np.array(message.pose.covariance).reshape(6, 6))


def _add_fix(back_end: PoseGraphBackEnd, message) -> Verdict | None:
    if message.status.status == NO_FIX:
        return None
    known = message.position_covariance_type != UNKNOWN_COVARIANCE
    return back_end.add_fix(stamp_ns(message.header), message.latitude, message.longitude, message.altitude,
                            np.array(message.position_covariance).reshape(3, 3) if known else None)


def _add_edge(back_end: PoseGraphBackEnd, message) -> Verdict:
    return back_end.add_edge(edge_from_msg(message))[0]
