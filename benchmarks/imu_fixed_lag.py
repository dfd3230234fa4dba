"""Causal inertial odometry on EuRoC: our fixed-lag smoother and GTSAM's, the same problem.

Corrections are drawn from ground truth at 10 Hz with white noise of 2 cm and 0.5 degrees per axis; both
sides get the same ones, the same IMU samples, noise densities, priors and window (10 keyframes), and
answer at every IMU sample before the correction of that instant is known. Errors are three-dimensional RMSE
without alignment, times CPU seconds of the whole run. GTSAM solves with QR: its Cholesky gives up on this
problem, and is called from Python.

Needs the recordings: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from euroc import SEQUENCES, Recording, corrections, load
from harness import Record, main
from peers.gtsam_fixed_lag import GtsamFixedLag, trajectory
from scipy.spatial.transform import Rotation

from pypose_core.inertial import ImuNoise
from pypose_core.online import ImuSmoother, ImuSmootherConfig, InitConfig

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get('PYPOSE_DATA', ROOT.parent / 'shared' / 'data')) / 'euroc'
SIGMA_POSITION, SIGMA_ROTATION = 0.02, np.radians(0.5)
WINDOW, RATE = 10, 10.0
TOLERANCE = 1.02


def configuration() -> ImuSmootherConfig:
    """That of config/euroc.yaml, without a robust kernel: the corrections' noise is white."""
    values = yaml.safe_load((ROOT / 'config' / 'euroc.yaml').read_text())['imu_preintegration']['ros__parameters']
    noise = ImuNoise(**{name: values[name] for name in (
        'gyroscope_noise_density', 'accelerometer_noise_density', 'gyroscope_random_walk',
        'accelerometer_random_walk')})
    return ImuSmootherConfig(noise=noise, gravity=values['gravity'], init=InitConfig(mode='pose'),
                             window_size=WINDOW, robust_kernel='none')


def run_ours(recording: Recording, config: ImuSmootherConfig, stamps: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """(N, 11) stamp, position, quaternion, velocity in the world; from the first converged output on."""
    covariance = np.diag(np.repeat([SIGMA_POSITION ** 2, SIGMA_ROTATION ** 2], 3))
    smoother = ImuSmoother(config)
    due = dict(zip(stamps.tolist(), poses))
    rows = []
    first = int(np.searchsorted(recording.imu_stamps, stamps[0]))
    for stamp, sample in zip(recording.imu_stamps[first:].tolist(), recording.imu[first:]):
        smoother.add_imu(stamp, sample)
        if smoother.output is not None:
            rows.append((stamp, smoother.output.state[:10].copy()))
        if stamp in due:
            smoother.add_pose(stamp, due[stamp], covariance)
            smoother.solve()
    return _table(rows)


def run_gtsam(recording: Recording, config: ImuSmootherConfig, stamps: np.ndarray,
              poses: np.ndarray) -> np.ndarray:
    init = config.init
    smoother = GtsamFixedLag(config.noise, gravity=config.gravity, window=WINDOW, sigma_position=SIGMA_POSITION,
                             sigma_rotation=SIGMA_ROTATION, period=1 / RATE, sigma_velocity0=init.velocity_sigma,
                             sigma_gyro_bias0=init.gyro_bias_sigma, sigma_accel_bias0=init.accel_bias_sigma)
    states = trajectory(smoother, recording.imu_stamps, recording.imu, stamps, poses)
    return _table((stamp, np.concatenate([p, Rotation.from_matrix(R).as_quat(), v])) for stamp, p, R, v in states)


def _table(rows) -> tuple[np.ndarray, np.ndarray]:
    stamps, states = zip(*rows)
    return np.array(stamps, dtype=np.int64), np.stack(states)


def errors(recording: Recording, stamps: np.ndarray, states: np.ndarray, since: int) -> np.ndarray:
    """RMSE of position m, rotation degrees, velocity m/s over the truth's stamps from `since` on."""
    at = np.searchsorted(stamps, recording.truth_stamps).clip(0, len(stamps) - 1)
    known = (stamps[at] == recording.truth_stamps) & (recording.truth_stamps >= since)
    ours, pose, velocity = states[at[known]], recording.truth_pose[known], recording.truth_velocity[known]
    turned = Rotation.from_quat(pose[:, 3:]).inv() * Rotation.from_quat(ours[:, 3:7])
    rmse = [np.linalg.norm(ours[:, :3] - pose[:, :3], axis=1), np.degrees(turned.magnitude()),
            np.linalg.norm(ours[:, 7:] - velocity, axis=1)]
    return np.array([np.sqrt(np.nanmean(np.square(x))) for x in rmse])


def records(quick: bool) -> Iterator[Record]:
    if not DATA.is_dir():
        sys.exit(f'no recordings: {DATA} is absent (set PYPOSE_DATA)')
    config = configuration()
    for name in SEQUENCES:
        recording = load(DATA / name)
        for seed in (0,) if quick else (0, 1, 2):
            drawn = corrections(recording, rate=RATE, sigma_position=SIGMA_POSITION,
                                sigma_rotation=SIGMA_ROTATION, seed=seed)
            seconds, results = [], []
            for run in (run_ours, run_gtsam):
                start = time.process_time()
                results.append(run(recording, config, *drawn))
                seconds.append(time.process_time() - start)
            since = max(int(stamps[0]) for stamps, _ in results)
            ours, peer = (errors(recording, *result, since) for result in results)
            note = ' and '.join(f'{position:.4f} m, {rotation:.3f} deg, {velocity:.4f} m/s'
                                for position, rotation, velocity in (ours, peer))
            yield Record(f'{name}, {len(recording.imu)} samples, {len(drawn[0])} solves, seed {seed}', 'gtsam 4.3.0',
                         *seconds, seconds[1] / seconds[0], bool((ours <= TOLERANCE * peer).all()), None,
                         f'agree: no error above {TOLERANCE} of the peer\'s; RMSE of ours and the peer: {note}')


if __name__ == '__main__':
    main(records, __doc__)
