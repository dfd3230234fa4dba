"""The synthetic flight: its motion is exact, its noise is what was asked for, its seed decides it."""
import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pypose_core.inertial import ImuNoise
from pypose_ros.bag.synthetic import FlightConfig, fly, motion, write_flight

QUIET = ImuNoise(gyroscope_noise_density=0.0, accelerometer_noise_density=0.0, gyroscope_random_walk=0.0,
                 accelerometer_random_walk=0.0)


def test_velocity_force_and_rate_are_the_derivatives_of_the_path():
    config, h = FlightConfig(), 1e-5
    t = np.linspace(0, 40, 801)
    at, before, after = (motion(t + d, config) for d in (0, -h, h))
    np.testing.assert_allclose((after.poses - before.poses)[:, :3] / (2 * h), at.velocity, atol=1e-8)
    np.testing.assert_allclose((after.velocity - before.velocity) / (2 * h), at.acceleration, atol=1e-7)
    turn = Rotation.from_quat(before.poses[:, 3:]).inv() * Rotation.from_quat(after.poses[:, 3:])
    np.testing.assert_allclose(turn.as_rotvec() / (2 * h), at.angular_velocity, atol=1e-8)


def test_it_rests_at_the_start_and_then_flies():
    flight = fly(FlightConfig(noise=QUIET, initial_bias=(0.0,) * 6))
    rest = flight.stamps_ns - flight.stamps_ns[0] <= 1_500_000_000
    np.testing.assert_allclose(flight.imu[rest], [[0, 0, 0, 0, 0, 9.80665]] * rest.sum(), atol=1e-12)
    np.testing.assert_allclose(flight.truth.poses[rest], [[0, 0, 0, 0, 0, 0, 1]] * rest.sum(), atol=1e-12)
    assert np.linalg.norm(flight.truth.velocity, axis=1).max() > 2


def test_integrating_the_noiseless_imu_returns_to_the_truth():
    flight = fly(FlightConfig(duration=10, imu_rate=1000, noise=QUIET, initial_bias=(0.0,) * 6))
    R, v, p, dt = Rotation.identity(), np.zeros(3), np.zeros(3), 1e-3
    for a, b in zip(flight.imu[:-1], flight.imu[1:]):
        omega = (a[:3] + b[:3]) / 2
        middle = R * Rotation.from_rotvec(omega * dt / 2)
        force = middle.apply((a[3:] + b[3:]) / 2) - [0, 0, 9.80665]
        p, v, R = p + v * dt + force * dt * dt / 2, v + force * dt, R * Rotation.from_rotvec(omega * dt)
    np.testing.assert_allclose(p, flight.truth.poses[-1, :3], atol=2e-5)
    np.testing.assert_allclose(v, flight.truth.velocity[-1], atol=2e-5)


def test_noise_bias_and_corrections_have_the_stated_strength():
    noise = ImuNoise(gyroscope_noise_density=1e-3, accelerometer_noise_density=1e-2,
                     gyroscope_random_walk=1e-3, accelerometer_random_walk=1e-2)
    config = FlightConfig(duration=200, noise=noise)
    flight = fly(config)
    clean = fly(dataclasses.replace(config, noise=QUIET, initial_bias=(0.0,) * 6))
    white = flight.imu - clean.imu - flight.bias
    np.testing.assert_allclose(white.std(axis=0), np.repeat([1e-3, 1e-2], 3) * np.sqrt(200), rtol=0.02)
    steps = np.diff(flight.bias, axis=0)
    np.testing.assert_allclose(steps.std(axis=0), np.repeat([1e-3, 1e-2], 3) / np.sqrt(200), rtol=0.02)
    truth = flight.truth.poses[::20]
    errors = np.hstack([flight.corrections[:, :3] - truth[:, :3], (
        Rotation.from_quat(flight.corrections[:, 3:]) * Rotation.from_quat(truth[:, 3:]).inv()).as_rotvec()])
    np.testing.assert_allclose(errors.std(axis=0), np.sqrt(np.diag(flight.correction_covariance)), rtol=0.05)
    assert (flight.correction_stamps_ns == flight.stamps_ns[::20]).all()
    assert (flight.correction_log_ns - flight.correction_stamps_ns == 20_000_000).all()


@pytest.mark.parametrize('rate', [100.0, 200.0, 1000.0])
def test_the_seed_decides_the_bag_to_the_byte(tmp_path, rate):
    config = FlightConfig(duration=1.0, imu_rate=rate)
    for name in ('a', 'b'):
        write_flight(tmp_path / f'{name}/x.mcap', config)
    write_flight(tmp_path / 'c/x.mcap', dataclasses.replace(config, seed=1))
    a, b, c = ((tmp_path / f'{name}/x.mcap').read_bytes() for name in 'abc')
    assert a == b and a != c
    assert len(fly(config).stamps_ns) == rate + 1
