"""What a replay works on: the IMU, the corrections and the truth of a bag, as arrays."""
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .corrections import Corrections, draw_corrections
from .errors import BagError
from .extrinsic import find_extrinsic
from .ground_truth import GroundTruth, looks_like_truth, read_ground_truth
from .reader import BagReader
from .recording import IMU, ODOMETRY, POSE, ImuSeries, PoseSeries, read_one

NONE = 'none'
_USUAL_IMU = ('/imu/data_raw', '/imu/data', '/imu')


@dataclass(frozen=True)
class ReplayOptions:
    """Which topics to take and what to draw from the truth; None detects a topic, 'none' goes without."""

    imu_topic: str | None = None
    pose_topic: str | None = None
    odometry_topic: str | None = None
    ground_truth: str | None = None
    """Topic or TUM file."""
    corrections_from: str | None = None
    """Topic or TUM file to draw corrections from; then those of the bag are left out."""
    correction_rate: float = 10.0
    """Hz."""
    correction_sigma: tuple[float, float] = (0.02, 0.5)
    """Metres, degrees."""
    correction_delay: float = 0.0
    """Seconds."""
    seed: int = 0
    """Of the drawn noise."""


@dataclass(frozen=True)
class ReplayInput:
    """All that an estimator is fed, and the truth that it is not."""

    bag: Path
    imu: ImuSeries
    T_base_imu: NDArray[np.float64]
    corrections: list[Corrections] = field(default_factory=list)
    truth: GroundTruth | None = None

    @property
    def arrivals_ns(self) -> NDArray[np.int64]:
        """(N,) when each IMU sample arrived: the recording's times, moved to the stamps' clock."""
        return self.imu.log_ns - _clock_offset(self.imu)

    def schedule(self) -> list[tuple[int, int, int]]:
        """(arrival, source, index) in the order of arrival; source 0 is the IMU, k the (k-1)-th corrections.

        What arrives together is taken in the order of source: a correction after the sample of its stamp.
        """
        columns = [self.arrivals_ns, *(c.arrivals_ns for c in self.corrections)]
        arrival = np.concatenate(columns)
        source = np.concatenate([np.full(len(c), k) for k, c in enumerate(columns)])
        index = np.concatenate([np.arange(len(c)) for c in columns])
        order = np.lexsort((index, source, arrival))
        return list(zip(arrival[order].tolist(), source[order].tolist(), index[order].tolist()))


def read_input(path: str | Path, options: ReplayOptions, *, base_frame: str = 'base_link',
               extrinsic: tuple[float, ...] = ()) -> ReplayInput:
    """Read what a replay needs.

    Raises:
        BagError: the bag has no usable IMU, an asked-for topic is missing, the extrinsic is unknown, ...
    """
    with BagReader(path) as bag:
        imu_topic = choose(bag, IMU, options.imu_topic, '--imu-topic', usual=_USUAL_IMU)
        if imu_topic is None:
            raise BagError(f'{path}: no sensor_msgs/Imu topic in it; it has '
                           + (', '.join(topic.name for topic in bag.topics) or 'none at all'))
        imu = read_one(bag, imu_topic, ImuSeries)
        if len(imu.stamps_ns) < 2:
            raise BagError(f'{path}: {len(imu.stamps_ns)} samples on {imu_topic} are too few')
        if len(imu.frames) > 1:
            raise BagError(f'{path}: {imu_topic} carries several IMUs: {", ".join(map(repr, imu.frames))}')
        T_base_imu = find_extrinsic(bag, imu.frames[0], base_frame, extrinsic)

        corrections = []
        if options.corrections_from is not None:
            source = read_ground_truth(options.corrections_from, bag)
            assert source is not None       # it was asked for by name
            corrections.append(draw_corrections(
                source.trajectory, rate=options.correction_rate, sigma=options.correction_sigma,
                seed=options.seed, delay=options.correction_delay, source=options.corrections_from))
        automatic = options.corrections_from is None
        for kind, msgtype, given, flag in (
                ('pose', POSE, options.pose_topic, '--pose-topic'),
                ('odometry', ODOMETRY, options.odometry_topic, '--odometry-topic')):
            topic = choose(bag, msgtype, given, flag) if automatic or given else None
            if topic is not None:
                corrections.append(_recorded(read_one(bag, topic, PoseSeries), kind, _clock_offset(imu)))
        truth = read_ground_truth(options.ground_truth, bag) if options.ground_truth != NONE else None
        if truth is None and options.corrections_from is not None and options.ground_truth != NONE:
            truth = source
    return ReplayInput(Path(path), imu, T_base_imu, corrections, truth)


def choose(bag: BagReader, msgtype: str, given: str | None, flag: str, *,
            usual: tuple[str, ...] = ()) -> str | None:
    """The topic asked for, or the only one of its type that is not ground truth."""
    if given == NONE:
        return None
    if given is not None:
        kinds = {topic.name: topic.msgtype for topic in bag.topics}
        name = given if given in kinds else '/' + given
        if kinds.get(name) != msgtype:
            raise BagError(f'{bag.path}: {flag} {given}: ' + (
                f'its type is {kinds[name]}, wanted {msgtype}' if name in kinds else
                f'no such topic; it has {", ".join(kinds)}'))
        return name
    found = [t.name for t in bag.topics if t.msgtype == msgtype and t.count and not looks_like_truth(t.name)]
    for name in usual:
        if name in found:
            return name
    if len(found) > 1:
        raise BagError(f'{bag.path}: several topics of type {msgtype}: {", ".join(found)}; choose with '
                       f'{flag}')
    return found[0] if found else None


def _recorded(series: PoseSeries, kind: str, offset_ns: int) -> Corrections:
    return Corrections(series.topic, kind, series.stamps_ns, series.log_ns - offset_ns, series.poses,
                       series.covariances)


def _clock_offset(imu: ImuSeries) -> int:
    """From the stamps' clock to the recorder's: zero, unless they are different clocks altogether."""
    offset = int(np.median(imu.log_ns - imu.stamps_ns))
    return offset if abs(offset) > 10 ** 9 else 0
