"""Units of an IMU, judged by what is physically possible: gravity at rest, rates of turning."""
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .recording import ImuSeries

STANDARD_GRAVITY = 9.80665
FASTEST = 35.0      # rad/s: 2000 degrees/s, the range of common MEMS gyroscopes
_DEGREES = float(np.degrees(1.0))


def quiet_windows(series: ImuSeries, *, length: float = 0.5) -> list[slice]:
    """Windows of `length` seconds among the quietest tenth: as near to rest as the recording gets."""
    steps = np.diff(series.stamps_ns)
    steps = steps[steps > 0]
    if not len(steps):
        return []
    size = max(int(round(length * 1e9 / float(np.median(steps)))), 5)
    windows = [slice(k, k + size) for k in range(0, len(series.samples) - size + 1, size)]
    if not windows:
        return []
    force = float(np.nanmedian(np.linalg.norm(series.samples[:, 3:], axis=1)))
    unrest = np.array([_unrest(series.samples[window], force) for window in windows])
    return [windows[k] for k in np.argsort(unrest, kind='stable')[:max(len(windows) // 10, 1)]]


def _unrest(samples: NDArray, force: float) -> float:
    spread = np.nanstd(samples, axis=0)
    return float(np.linalg.norm(spread[:3]) + np.linalg.norm(spread[3:]) / max(force, 1e-9))


def check_imu_units(series: ImuSeries) -> Iterator[tuple[str, str, str, str]]:
    """(level, code, message, advice) of what is wrong with the units; an info line where all is well."""
    good = np.asarray(np.isfinite(series.samples).all(axis=1))
    windows = [window for window in quiet_windows(series) if good[window].all()]
    if not windows:
        return
    force = float(np.median([np.linalg.norm(series.samples[w, 3:].mean(axis=0)) for w in windows]))
    if 0.9 < force < 1.1:
        yield ('error', 'accelerometer_in_g', f'the accelerometer reads {force:.3f} at rest: its unit is g',
               'multiply by 9.80665 in the driver, or set the node\'s accel_scale')
    elif force < 0.5:
        yield ('error', 'gravity_removed', f'the accelerometer reads {force:.3f} m/s^2 at rest: gravity is '
                                           'removed',
               'publish the raw specific force on imu/data_raw')
    elif abs(force - STANDARD_GRAVITY) > 0.5:
        yield ('warning', 'gravity_magnitude', f'the accelerometer reads {force:.3f} m/s^2 at its quietest, '
                                               'not '
               f'{STANDARD_GRAVITY}', 'never at rest, a scale error, or a large bias: calibrate')
    else:
        yield ('info', 'gravity_magnitude', f'the accelerometer reads {force:.3f} m/s^2 at its quietest', '')

    # A gyroscope is judged as a whole: against the driver's own attitude, or that of gravity in its frame.
    rates = series.samples[good, :3]
    ratio = _rate_to_orientation_ratio(series)
    judge = 'of the orientation'
    if ratio is None:
        ratio, judge = _rate_to_gravity_ratio(series), 'by which gravity turns'
    speed = np.linalg.norm(rates, axis=1)
    rest = float(np.median([np.linalg.norm(series.samples[w, :3].mean(axis=0)) for w in windows]))
    if ratio is not None and ratio > _DEGREES / 3:
        yield ('error', 'gyroscope_in_degrees', f'the rates are {ratio:.0f} times those {judge}: their unit '
                                                'is '
               'degrees/s', 'multiply by pi/180 in the driver')
    elif ratio is None and np.quantile(speed, 0.99) > FASTEST:
        yield ('error', 'gyroscope_in_degrees', f'rates of {np.quantile(speed, 0.99):.0f} rad/s are beyond '
                                                'any '
               'gyroscope of this kind (2000 degrees/s is 35 rad/s): probably degrees/s',
               'multiply by pi/180 in the driver')
    elif (speed > FASTEST).any():
        yield ('warning', 'gyroscope_spikes', f'{int((speed > FASTEST).sum())} samples are faster than '
               f'{FASTEST:g} rad/s, the fastest {speed.max():.0f} rad/s', 'look for glitches on the '
                                                                          'sensor\'s bus')
    if ratio is None and rest > 0.5:
        yield ('warning', 'gyroscope_at_rest', f'the gyroscope reads {rest:.2f} rad/s at its quietest',
               'degrees/s, a large bias, or never at rest')
    if not rates.any():
        yield ('error', 'gyroscope_silent', 'all angular velocities are exactly zero',
               'the driver does not fill them in')


def _rate_to_orientation_ratio(series: ImuSeries) -> float | None:
    """Total turn by the gyroscope over total turn by the driver's orientation; None without either."""
    if not series.has_orientation or len(series.samples) < 100:
        return None
    stamps = series.stamps_ns * 1e-9
    stride = max(len(stamps) // 2000, 10)       # over longer steps, so that noise does not add up
    chosen = np.arange(0, len(stamps), stride)
    turns = Rotation.from_quat(series.orientation[chosen])
    by_attitude = (turns[:-1].inv() * turns[1:]).magnitude()
    steps = np.diff(series.stamps_ns, append=series.stamps_ns[-1]) * 1e-9
    angle = np.vstack([np.zeros(3), np.cumsum(series.samples[:, :3] * steps[:, None], axis=0)])[:-1]
    by_gyroscope = np.linalg.norm(np.diff(angle[chosen], axis=0), axis=1)
    turning = by_attitude > 0.02
    if turning.sum() < 5 or not np.isfinite(by_gyroscope).all():
        return None
    return float(np.median(by_gyroscope[turning] / by_attitude[turning]))


def _rate_to_gravity_ratio(series: ImuSeries) -> float | None:
    """Median turn by the gyroscope over that of the force's mean direction, half a second to the next.

    Near 1 or above for rad/s, since a turn about the vertical is not seen; 57 times that for degrees/s.
    None where the sensor hardly tilts (fewer than five turns by 0.15 rad).
    """
    step = float(np.median(np.diff(series.stamps_ns))) * 1e-9
    if not step > 0 or not np.isfinite(series.samples).all():
        return None
    size = max(round(0.5 / step), 3)
    count = len(series.samples) // size
    blocks = series.samples[:count * size].reshape(count, size, 6)
    if count < 6:
        return None
    direction = blocks[:, :, 3:].mean(axis=1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-300
    tilt = np.arccos(np.clip((direction[1:] * direction[:-1]).sum(axis=1), -1, 1))
    angle = np.cumsum(blocks[:, :, :3].reshape(-1, 3) * step, axis=0).reshape(count, size, 3).mean(axis=1)
    turn = np.linalg.norm(np.diff(angle, axis=0), axis=1)
    turning = tilt > 0.15
    return float(np.median(turn[turning] / tilt[turning])) if turning.sum() >= 5 else None
