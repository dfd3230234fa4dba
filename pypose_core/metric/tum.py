"""Trajectories as text in TUM's format: `stamp x y z qx qy qz qw`, seconds and metres."""
import math
import os
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from .trajectory import Trajectory

_NANO = Decimal(10) ** 9


class TrajectoryFileError(ValueError):
    """A file that is not a TUM trajectory; the message names file, line and fault."""


def read_tum(path: str | os.PathLike) -> Trajectory:
    """Read a TUM trajectory. Lines that start with # and empty lines are skipped.

    Stamps are read as decimals, never through a float, which would round them to 0.2 us.

    Raises:
        TrajectoryFileError: unreadable, without poses, or with a line at fault, which is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError:
        raise TrajectoryFileError(f'{path}: not a text file') from None
    except OSError as error:
        raise TrajectoryFileError(f'{path}: {error.strerror or error}') from None
    stamps: list[int] = []
    poses: list[list[float]] = []
    for number, line in enumerate(text.split('\n'), start=1):
        fields = line.replace(',', ' ').split()
        if not fields or fields[0].startswith('#'):
            continue
        stamp, pose = _parse(fields, f'{path}:{number}')
        if stamps and stamp <= stamps[-1]:
            raise TrajectoryFileError(f'{path}:{number}: stamp {fields[0]} is not later than the one before')
        stamps.append(stamp)
        poses.append(pose)
    if not stamps:
        raise TrajectoryFileError(f'{path}: no poses in it')
    return Trajectory(np.array(stamps, dtype=np.int64), np.array(poses))


def _parse(fields: list[str], where: str) -> tuple[int, list[float]]:
    if len(fields) != 8:
        raise TrajectoryFileError(f'{where}: {len(fields)} values, wanted 8: stamp x y z qx qy qz qw')
    try:
        stamp = Decimal(fields[0])
        pose = [float(field) for field in fields[1:]]
    except (InvalidOperation, ValueError):
        raise TrajectoryFileError(f'{where}: not a number among {" ".join(fields)[:80]!r}') from None
    if not stamp.is_finite() or not np.isfinite(pose).all():
        raise TrajectoryFileError(f'{where}: a value is not finite')
    if abs(stamp) >= 2 ** 63 / _NANO:
        raise TrajectoryFileError(f'{where}: stamp {fields[0]} is not in seconds (beyond 292 years)')
    norm = math.hypot(*pose[3:])     # of any finite numbers
    if abs(norm - 1) > 1e-2:
        raise TrajectoryFileError(f'{where}: the quaternion has norm {norm:.4g}, not 1')
    return int((stamp * _NANO).to_integral_value()), pose


def format_tum(trajectory: Trajectory) -> str:
    """The text of a TUM file: stamps exact to the nanosecond, values to 9 decimals."""
    lines = ['# timestamp(s) tx ty tz qx qy qz qw']
    for stamp, pose in zip(trajectory.stamps_ns.tolist(), trajectory.poses.tolist()):
        sign, stamp = ('-', -stamp) if stamp < 0 else ('', stamp)
        seconds, nanoseconds = divmod(stamp, 10 ** 9)
        lines.append(f'{sign}{seconds}.{nanoseconds:09d} ' + ' '.join(f'{value:.9f}' for value in pose))
    return '\n'.join(lines) + '\n'


def write_tum(path: str | os.PathLike, trajectory: Trajectory) -> None:
    """Write a TUM file; it appears whole or not at all."""
    path = Path(path)
    beside = path.with_name(path.name + '.part')
    beside.write_text(format_tum(trajectory), encoding='utf-8')
    os.replace(beside, path)
