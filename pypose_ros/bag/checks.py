"""The single checks of `pypose-ros validate`."""
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .imu_units import check_imu_units
from .reader import Topic
from .recording import IMU, ODOMETRY, POSE, BiasSeries, ImuSeries, OdometrySeries, PoseSeries, Series

MAX_IMU_GAP = 0.1       # seconds, the node's `max_imu_gap`
MAX_CLOCK_OFFSET = 1.0  # seconds between a stamp and its recording before we ask which clock it was
MAX_SPEED = 30.0        # m/s, the node's `max_velocity`


@dataclass(frozen=True)
class Finding:
    """Something to know about a bag, and what to do about it.

    Levels: 'error' (the data cannot be used as it is), 'warning' (the estimate will suffer), 'info'.
    """

    level: str
    code: str
    topic: str
    message: str
    advice: str = ''


@dataclass(frozen=True)
class Timing:
    """Rate (Hz) from the median step; jitter: half the spread of the middle 90 % of steps; largest step;
    median delay from stamp to recording; seconds."""

    rate: float
    jitter: float
    largest_gap: float
    log_delay: float


def timing(stamps_ns: NDArray, log_ns: NDArray) -> Timing:
    steps = np.diff(np.sort(stamps_ns)) * 1e-9
    median = float(np.median(steps))
    low, high = np.quantile(steps, [0.05, 0.95])
    delay = float(np.median((log_ns - stamps_ns).astype(np.float64))) * 1e-9
    rate = 1 / median if median > 0 else float('nan')
    return Timing(rate, float(high - low) / 2, float(steps.max()), delay)


def check_stamps(topic: str, stamps_ns: NDArray, log_ns: NDArray) -> Iterator[Finding]:
    """Zero, repeated and backward stamps; stamps of another clock than the recorder's."""
    zero = int((stamps_ns == 0).sum())
    if zero:
        yield Finding('error', 'stamp_zero', topic, f'{zero} of {len(stamps_ns)} stamps are zero',
                      'let the driver fill in header.stamp')
        if zero == len(stamps_ns):
            return
    steps = np.diff(stamps_ns)
    repeated, backward = int((steps == 0).sum()), int((steps < 0).sum())
    if repeated:
        first = int(np.flatnonzero(steps == 0)[0]) + 1
        yield Finding('warning', 'stamp_repeated', topic, f'{repeated} stamps repeat the one before (first: '
                      f'message {first})', 'the node drops repeats; check the driver for double publishing')
    if backward:
        first = int(np.flatnonzero(steps < 0)[0])
        jump = float(steps.min()) * -1e-9
        looped = jump > 1.0
        yield Finding(
            'error' if looped else 'warning', 'stamp_backward', topic,
            f'{backward} stamps go back (first: message {first + 1}, largest {jump:.3f} s)',
            'a clock was set or a bag looped: the node resets there' if looped else
            'messages out of order are dropped; look at the transport and at the driver\'s clock')
    delay = (log_ns - stamps_ns) * 1e-9
    if abs(np.median(delay)) > MAX_CLOCK_OFFSET:
        yield Finding('info', 'clock_offset', topic, f'stamps and recording times differ by '
                      f'{np.median(delay):.3f} s (median)',
                      'another clock (simulation, or a driver without synchronization): replay by stamps '
                      'works, '
                      'live use needs one clock')
    elif (delay < -1e-3).mean() > 0.01:
        yield Finding('warning', 'stamp_future', topic, f'{100 * (delay < -1e-3).mean():.0f} % of the '
                                                        'messages '
                      f'were recorded before their stamp, by up to {-delay.min():.3f} s',
                      'synchronize the clocks of sensor and computer')
    if len(delay) > 100 and abs(np.median(delay)) <= MAX_CLOCK_OFFSET and np.ptp(stamps_ns) > 10_000_000_000:
        tenth = len(delay) // 10
        span = float(np.median(stamps_ns[-tenth:]) - np.median(stamps_ns[:tenth])) * 1e-9
        drift = float(np.median(delay[-tenth:]) - np.median(delay[:tenth])) / span if span > 0 else 0.0
        if abs(drift) > 2e-4:
            yield Finding('warning', 'clock_drift', topic, f'the stamps\' clock drifts by {1e3 * drift:.2f} '
                                                           'ms/s '
                          'against the recorder\'s', 'synchronize the clocks (PTP, chrony, hardware trigger)')


def check_regularity(topic: str, stamps_ns: NDArray, found: Timing, *, imu: bool) -> Iterator[Finding]:
    """Gaps, jitter and too low a rate."""
    steps = np.diff(stamps_ns) * 1e-9
    limit = MAX_IMU_GAP if imu else max(1.0, 5 / found.rate if found.rate > 0 else 1.0)
    gaps = np.flatnonzero(steps > limit)
    if len(gaps):
        yield Finding('warning', 'gap', topic, f'{len(gaps)} gaps longer than {limit:g} s, the longest '
                      f'{steps.max():.3f} s at message {int(steps.argmax()) + 1}',
                      'look for lost messages: deeper queues, reliable transport, less load while recording')
    if imu and found.rate > 0:
        missing = np.round(steps[steps > 0] * found.rate) - 1
        lost = int(missing[missing > 0].sum())
        if lost > 0.001 * len(stamps_ns):
            yield Finding('warning', 'lost', topic, f'about {lost} samples '
                                                    f'({100 * lost / (lost + len(stamps_ns)):.2g}'
                          ' %) are missing', 'lost between driver and bag; record with a deeper queue')
        if found.jitter > 0.2 / found.rate:
            yield Finding('warning', 'jitter', topic, f'the interval varies by {1e3 * found.jitter:.2f} ms '
                                                      'around '
                          f'{1e3 / found.rate:.2f} ms', 'stamps are taken on arrival; use the sensor\'s own '
                                                        'time stamps')
        if found.rate < 50:
            yield Finding('warning', 'rate_low', topic, f'{found.rate:.0f} Hz is slow for an IMU',
                          'preintegration wants 100 Hz or more; raise the driver\'s rate')


def check_frames(series: Series) -> Iterator[Finding]:
    """Empty, changing and old-style frame names."""
    if '' in series.frames:
        yield Finding('error', 'frame_empty', series.topic, 'header.frame_id is empty',
                      'set it in the driver; the node refuses messages without a frame')
    if len(series.frames) > 1:
        yield Finding('error', 'frame_changes', series.topic, f'frame_id changes: {", ".join(series.frames)}',
                      'one topic, one sensor: give each its own topic')
    for frame in series.frames:
        if frame.startswith('/'):
            yield Finding('info', 'frame_slash', series.topic, f'frame_id {frame} starts with a slash (ROS '
                                                               '1)',
                          'tf2 knows it without: it is taken as ' + frame.lstrip('/'))
    if isinstance(series, OdometrySeries) and '' in series.child_frames:
        yield Finding('warning', 'frame_child_empty', series.topic, 'child_frame_id is empty',
                      'the twist has no frame; set it (base_link)')
    if isinstance(series, OdometrySeries) and set(series.frames) & set(series.child_frames):
        yield Finding('error', 'frame_self', series.topic, 'frame_id and child_frame_id are the same')


def check_values(series: Series) -> Iterator[Finding]:
    """Numbers that are none, attitudes that are none, covariances that cannot be, and units."""
    if isinstance(series, ImuSeries):
        yield from _finite(series.topic, series.samples)
        good = np.isfinite(series.samples).all(axis=1)
        if good.sum() >= 10:
            for level, code, message, advice in check_imu_units(series):
                yield Finding(level, code, series.topic, message, advice)
        for index, name in enumerate(('orientation', 'angular velocity', 'linear acceleration')):
            matrices = series.covariances[:, index].reshape(-1, 3, 3)
            yield from _covariance(series.topic, matrices, f'{name} covariance', absent=bool(index == 0))
        present = series.covariances[:, 0, 0] != -1
        yield from _quaternions(series.topic, series.orientation[present], imu=True)
    elif isinstance(series, PoseSeries):
        yield from _finite(series.topic, series.poses)
        yield from _quaternions(series.topic, series.poses[:, 3:])
        yield from _speed(series)
        if series.covariances.any():
            yield from _covariance(series.topic, series.covariances, 'pose covariance')
        elif series.has_covariance:
            yield Finding('info', 'covariance_unknown', series.topic, 'the pose covariance is all zeros: '
                                                                      'unknown',
                          'the node then takes its parameter; better publish what the source knows')
    elif isinstance(series, BiasSeries):
        yield from _finite(series.topic, series.biases)


def check_contents(topics: list[Topic]) -> Iterator[Finding]:
    """Does the bag hold what the IMU node needs?"""
    kinds = {topic.msgtype for topic in topics if topic.count}
    if not topics or not kinds:
        yield Finding('error', 'empty', '', 'the bag holds no messages')
    elif IMU not in kinds:
        yield Finding('warning', 'no_imu', '', 'no sensor_msgs/Imu topic: imu_preintegration cannot run on '
                                               'it')
    elif not kinds & {ODOMETRY, POSE}:
        yield Finding('info', 'no_corrections', '', 'no Odometry and no PoseWithCovarianceStamped: nothing '
                                                    'corrects '
                      'the drift', 'replay with --corrections-from a ground truth')
    if IMU in kinds and 'tf2_msgs/msg/TFMessage' not in kinds:
        yield Finding('info', 'no_tf', '', 'no TF in the bag', 'give the parameter extrinsic_imu_to_base')


def _finite(topic: str, values: NDArray) -> Iterator[Finding]:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        yield Finding('error', 'not_finite', topic, f'{len(bad)} messages hold NaN or Inf (first: message '
                                                    f'{bad[0]})',
                      'the node rejects them; find the driver\'s fault')


def _quaternions(topic: str, quaternions: NDArray, *, imu: bool = False) -> Iterator[Finding]:
    norm = np.linalg.norm(quaternions, axis=1)
    norm = norm[np.isfinite(norm)]
    if not len(norm):
        return
    off = np.abs(norm - 1)
    if (norm < 1e-6).all():
        yield Finding('warning' if imu else 'error', 'quaternion_zero', topic, 'all orientations are zero '
                                                                               'quaternions',
                      'an IMU without orientation sets orientation_covariance[0] = -1' if imu else '')
    elif off.max() > 1e-4:
        yield Finding('warning', 'quaternion_norm', topic, f'{int((off > 1e-4).sum())} quaternions are off '
                                                           'unit, by up '
                      f'to {off.max():.2g}', 'the node rejects what is off by more than 1e-4; normalize at '
                                             'the source')


def _covariance(topic: str, matrices: NDArray, name: str, *, absent: bool = False) -> Iterator[Finding]:
    code = 'covariance_' + name.split()[0]
    if not matrices.any():
        if not absent:
            yield Finding('info', 'covariance_unknown', topic, f'the {name} is all zeros: unknown',
                          'the node then takes its noise parameters')
        return
    matrices = matrices[matrices[:, 0, 0] != -1]
    if not len(matrices):
        return
    if not np.isfinite(matrices).all() or np.abs(matrices).max() > 1e9:
        yield Finding('warning', code, topic, f'the {name} holds values beyond 1e9 or none at all',
                      'the node rejects such messages; use a large finite variance, e.g. 1e6')
        return
    diagonal = np.einsum('nii->ni', matrices)
    scale = np.abs(matrices).max(axis=(1, 2), keepdims=True) + 1e-300
    smallest = np.linalg.eigvalsh((matrices + np.swapaxes(matrices, 1, 2)) / 2)[:, 0]
    if (diagonal < 0).any() or (smallest < -1e-9 * scale[:, 0, 0]).any():
        yield Finding('error', code, topic, f'the {name} is not positive semidefinite',
                      'a covariance has non-negative variances and correlations within [-1, 1]')
    elif (np.abs(matrices - np.swapaxes(matrices, 1, 2)) > 1e-6 * scale).any():
        yield Finding('warning', code, topic, f'the {name} is not symmetric')


def _speed(series: PoseSeries) -> Iterator[Finding]:
    steps = np.diff(series.stamps_ns) * 1e-9
    moved = np.linalg.norm(np.diff(series.poses[:, :3], axis=0), axis=1)
    good = (steps > 1e-4) & np.isfinite(moved)
    speed = moved[good] / steps[good]
    if len(speed) and speed.max() > MAX_SPEED:
        yield Finding('warning', 'jump', series.topic, f'{int((speed > MAX_SPEED).sum())} jumps faster than '
                      f'{MAX_SPEED:g} m/s, the largest {moved[good][speed.argmax()]:.2f} m',
                      'relocalization or wrong units; the node would see divergence')
