"""Conversion of a EuRoC MAV sequence into a bag.

Two layouts are known: the dataset's own (`mav0/imu0/data.csv`, `mav0/state_groundtruth_estimate0/data.csv`,
`mav0/imu0/sensor.yaml`) and a flat one (`imu0.csv`, `gt_state_20hz.csv`, `gt_pose_200hz_tum.txt`,
`imu0_sensor.yaml`). Ground truth is T_world_base, the base being EuRoC's body frame B; the states'
velocity is in the world. The IMU's pose in the body is the sensor file's T_BS.
"""
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pypose_core.metric import Trajectory, TrajectoryFileError, read_tum

from . import messages
from .errors import BagError
from .writer import BagWriter

IMU_TOPIC = '/imu/data_raw'
TRUTH_TOPIC = '/ground_truth/odometry'
TRUTH_POSE_TOPIC = '/ground_truth/pose'
TRUTH_BIAS_TOPIC = '/ground_truth/bias'
WORLD, BASE, IMU = 'world', 'base_link', 'imu0'


@dataclass(frozen=True)
class EurocSequence:
    """One sequence: IMU (N, 6) [rad/s, m/s^2], ground-truth states and poses (empty where absent)."""

    imu_stamps_ns: NDArray[np.int64]
    imu: NDArray[np.float64]
    state_stamps_ns: NDArray[np.int64]
    states: NDArray[np.float64]
    """(M, 16): position, quaternion x y z w, velocity in the world, gyroscope and accelerometer bias."""
    poses: Trajectory | None
    T_base_imu: NDArray[np.float64]
    covariances: tuple[float, float]
    """Variance per sample and axis of rate and force (density^2 * rate); zeros where unknown."""


def read_euroc(folder: str | Path) -> EurocSequence:
    """Read a sequence's folder.

    Raises:
        BagError: no IMU file in it, or a malformed line (file and line are named).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BagError(f'{folder}: no such folder')
    imu_file = _first(folder, 'mav0/imu0/data.csv', 'imu0/data.csv', 'imu0.csv')
    if imu_file is None:
        raise BagError(f'{folder}: not a EuRoC sequence: neither mav0/imu0/data.csv nor imu0.csv is in it')
    state_file = _first(folder, 'mav0/state_groundtruth_estimate0/data.csv',
                        'state_groundtruth_estimate0/data.csv', 'gt_state_20hz.csv')
    pose_file = _first(folder, 'gt_pose_200hz_tum.txt')
    sensor_file = _first(folder, 'mav0/imu0/sensor.yaml', 'imu0/sensor.yaml', 'imu0_sensor.yaml')
    stamps, imu = _read_csv(imu_file, 6)
    state_stamps, states = np.empty(0, np.int64), np.empty((0, 16))
    if state_file:
        state_stamps, states = _read_csv(state_file, 16)
        states = states[:, [0, 1, 2, 4, 5, 6, 3, *range(7, 16)]]     # the file's quaternion is w x y z
        norm = np.linalg.norm(states[:, 3:7], axis=1, keepdims=True)
        if np.abs(norm - 1).max() > 1e-2:
            raise BagError(f'{state_file}: a quaternion is not of unit length')
        states[:, 3:7] /= norm
    try:
        poses = read_tum(pose_file) if pose_file else None
    except TrajectoryFileError as error:
        raise BagError(str(error)) from None
    T_base_imu, covariances = _read_sensor(sensor_file) if sensor_file else (np.eye(7)[6], (0.0, 0.0))
    return EurocSequence(stamps, imu, state_stamps, states, poses, T_base_imu, covariances)


def convert_euroc(folder: str | Path, out: str | Path, *, overwrite: bool = False) -> dict[str, int]:
    """Write a sequence as a bag; returns the number of messages per topic."""
    sequence = read_euroc(folder)
    counts: dict[str, int] = {}
    with BagWriter(out, overwrite=overwrite) as bag:
        for stamp, topic, message in merge(*_streams(sequence), key=lambda item: item[0]):
            bag.write(topic, stamp, message)
            counts[topic] = counts.get(topic, 0) + 1
    return counts


def _streams(sequence: EurocSequence) -> Iterator[Iterator[tuple]]:
    first = int(sequence.imu_stamps_ns[0])
    yield iter([(first, '/tf_static', messages.static_transform(first, BASE, IMU, sequence.T_base_imu))])
    yield ((stamp, IMU_TOPIC, messages.imu(stamp, IMU, sample, sequence.covariances))
           for stamp, sample in zip(sequence.imu_stamps_ns.tolist(), sequence.imu))
    yield ((stamp, TRUTH_TOPIC, _truth(stamp, state))
           for stamp, state in zip(sequence.state_stamps_ns.tolist(), sequence.states))
    yield ((stamp, TRUTH_BIAS_TOPIC, messages.imu_bias(stamp, IMU, state[10:]))
           for stamp, state in zip(sequence.state_stamps_ns.tolist(), sequence.states))
    if sequence.poses is not None:
        yield ((stamp, TRUTH_POSE_TOPIC, messages.pose_stamped(stamp, WORLD, pose))
               for stamp, pose in zip(sequence.poses.stamps_ns.tolist(), sequence.poses.poses))


def _truth(stamp_ns: int, state: NDArray):
    # Odometry's twist is in the child frame. EuRoC gives no angular velocity: covariance -1 says so.
    v_base = Rotation.from_quat(state[3:7]).inv().apply(state[7:10])
    twist_covariance = np.zeros((6, 6))
    twist_covariance[3:, 3:] = -np.eye(3)
    return messages.odometry(stamp_ns, WORLD, BASE, state[:7], [*v_base, 0, 0, 0],
                             twist_covariance=twist_covariance)


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_csv(path: Path, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`stamp in ns, width numbers` per line; stamps as integers, which a float would round to 256 ns."""
    stamps: list[int] = []
    rows: list[list[float]] = []
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise BagError(f'{path}: {getattr(error, "strerror", None) or "not a text file"}') from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith('#'):
            continue
        fields = line.split(',')
        if len(fields) < width + 1:
            raise BagError(f'{path}:{number}: {len(fields)} values, wanted {width + 1}')
        try:
            stamp, row = int(fields[0]), [float(field) for field in fields[1:width + 1]]
        except ValueError:
            raise BagError(f'{path}:{number}: not a number among {line[:80]!r}') from None
        if not np.isfinite(row).all():
            raise BagError(f'{path}:{number}: a value is not finite')
        if stamps and stamp <= stamps[-1]:
            raise BagError(f'{path}:{number}: stamp {stamp} is not later than the one before')
        stamps.append(stamp)
        rows.append(row)
    if not rows:
        raise BagError(f'{path}: no data in it')
    return np.array(stamps, dtype=np.int64), np.array(rows)


def _read_sensor(path: Path) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """(T_base_imu, variances) of a sensor.yaml, whose first line may be OpenCV's `%YAML:1.0`."""
    lines = path.read_text(encoding='utf-8').splitlines()
    text = '\n'.join(line for line in lines if not line.startswith('%'))
    try:
        sensor = yaml.safe_load(text)
        T = np.array(sensor['T_BS']['data'], dtype=float).reshape(4, 4)
        rate = float(sensor['rate_hz'])
        densities = [float(sensor[f'{name}_noise_density']) for name in ('gyroscope', 'accelerometer')]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BagError(f'{path}: not a EuRoC IMU sensor file: {error!r}') from None
    T_base_imu = np.concatenate([T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_quat()])
    return T_base_imu, (densities[0] ** 2 * rate, densities[1] ** 2 * rate)
