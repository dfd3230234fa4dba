"""The truth that a replay is measured against, from topics of the bag or from a TUM file."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pypose_core.metric import Trajectory, TrajectoryFileError, read_tum

from .errors import BagError
from .euroc import TRUTH_BIAS_TOPIC, TRUTH_POSE_TOPIC, TRUTH_TOPIC
from .reader import BagReader
from .recording import BIAS, ODOMETRY, POSE, POSE_STAMPED, BiasSeries, OdometrySeries, PoseSeries, read_one


@dataclass(frozen=True)
class GroundTruth:
    """Poses of base_link in the world; velocity in the world (N, 3), m/s, and biases where known."""

    source: str
    trajectory: Trajectory
    velocity: NDArray[np.float64] | None = None
    bias_stamps_ns: NDArray[np.int64] | None = None
    bias: NDArray[np.float64] | None = None

    def velocity_at(self, stamps_ns: NDArray) -> NDArray | None:
        """(M, 3) by straight lines between the known ones."""
        return None if self.velocity is None else interpolate(
            self.trajectory.stamps_ns, self.velocity, stamps_ns)

    def bias_at(self, stamps_ns: NDArray) -> NDArray | None:
        """(M, 6), likewise."""
        if self.bias is None or self.bias_stamps_ns is None:
            return None
        return interpolate(self.bias_stamps_ns, self.bias, stamps_ns)


def interpolate(known_ns: NDArray, values: NDArray, wanted_ns: NDArray) -> NDArray:
    """(M, d) values at other stamps; the first and last value beyond the ends."""
    # Seconds since the first stamp: absolute nanoseconds do not fit a float.
    known, wanted = (known_ns - known_ns[0]) * 1e-9, (wanted_ns - known_ns[0]) * 1e-9
    return np.stack([np.interp(wanted, known, column) for column in values.T], axis=1)


def find_truth_topic(bag: BagReader) -> str | None:
    """The topic that `convert` and the synthetic flight write the truth to, or one named like it."""
    kinds = {topic.name: topic.msgtype for topic in bag.topics if topic.count}
    for name in (TRUTH_TOPIC, TRUTH_POSE_TOPIC):
        if name in kinds:
            return name
    named = [name for name, kind in kinds.items()
             if kind in (ODOMETRY, POSE, POSE_STAMPED) and looks_like_truth(name)]
    return named[0] if len(named) == 1 else None


def looks_like_truth(topic: str) -> bool:
    """Whether a topic's name says that it is no measurement: it must not correct an estimate by itself."""
    return any(part in topic.lower() for part in ('ground_truth', 'groundtruth', '/gt', '_gt', 'truth'))


def read_ground_truth(source: str | None, bag: BagReader) -> GroundTruth | None:
    """Read the truth from a topic of the bag or a TUM file; None: look for a topic, and do without.

    Raises:
        BagError: the topic or the file is not there, or is malformed.
    """
    topics = {topic.name: topic for topic in bag.topics}
    if source is None:
        source = find_truth_topic(bag)
        if source is None:
            return None
    bias_stamps = bias = None
    if TRUTH_BIAS_TOPIC in topics and topics[TRUTH_BIAS_TOPIC].msgtype == BIAS:
        biases = read_one(bag, TRUTH_BIAS_TOPIC, BiasSeries)
        keep = _increasing(biases.stamps_ns)
        bias_stamps, bias = biases.stamps_ns[keep], biases.biases[keep]
    if source not in topics and Path(source).is_file():
        try:
            return GroundTruth(source, read_tum(source), None, bias_stamps, bias)
        except TrajectoryFileError as error:
            raise BagError(str(error)) from None
    if source not in topics:
        raise BagError(f'ground truth {source}: neither a topic of {bag.path} ({", ".join(topics)}) nor a '
                       'file')
    series = read_one(bag, source, PoseSeries)
    keep = _increasing(series.stamps_ns)
    try:
        trajectory = Trajectory(series.stamps_ns[keep], series.poses[keep])
    except ValueError as error:
        raise BagError(f'{bag.path}: topic {source}: {error}') from None
    velocity = None
    if isinstance(series, OdometrySeries) and series.twists[:, :3].any():
        velocity = Rotation.from_quat(trajectory.poses[:, 3:]).apply(series.twists[keep, :3])
    return GroundTruth(source, trajectory, velocity, bias_stamps, bias)


def _increasing(stamps_ns: NDArray) -> NDArray[np.bool_]:
    """Which stamps are later than all before them."""
    before = np.maximum.accumulate(np.concatenate([[np.iinfo(np.int64).min], stamps_ns[:-1]]))
    return stamps_ns > before
