"""IMU-rate propagation: native code equals the reference, and both are the motion."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pypose_core.inertial import ImuNoise
from pypose_core.online import ImuSmootherConfig, propagation_reference
from pypose_core.online.imu_buffer import ImuBuffer
from pypose_core.online.packed import COVARIANCE, JACOBIAN, Workspace
from pypose_core.online.propagation import (
    FINE,
    SAMPLE_NOT_FINITE,
    TOO_FAST,
    ImuPropagator,
    integrate,
    predict,
)

NOISE = ImuNoise(
    gyroscope_noise_density=1e-3,
    accelerometer_noise_density=1e-2,
    gyroscope_random_walk=1e-4,
    accelerometer_random_walk=1e-3,
    integration_sigma=1e-5,
)
CONFIG = ImuSmootherConfig(noise=NOISE, gravity=9.81, max_imu_gap=0.05)
EXTRINSIC = np.concatenate([[0.3, -0.2, 0.1], Rotation.from_euler('xyz', [0.1, 0.2, -0.3]).as_quat()])


def random_state(rng) -> np.ndarray:
    return np.concatenate(
        [
            rng.normal(size=3),
            Rotation.random(random_state=3).as_quat(),
            rng.normal(size=3),
            0.01 * rng.normal(size=3),
            0.1 * rng.normal(size=3),
        ]
    )


def noise_vector() -> torch.Tensor:
    return ImuPropagator(CONFIG, EXTRINSIC).noise


def pieces_of(rng, count: int, dt: float = 0.005) -> torch.Tensor:
    return torch.from_numpy(
        np.column_stack([np.full(count, dt), rng.normal(size=(count, 3)), 5 * rng.normal(size=(count, 3))])
    )


@pytest.mark.parametrize('dt', [0.005, 0.2], ids=['regular', 'gap'])
def test_native_integration_equals_reference(dt):
    rng = np.random.default_rng(0)
    pieces, bias = pieces_of(rng, 30, dt), 0.05 * rng.normal(size=6)
    row = torch.zeros(296, dtype=torch.float64)
    row[11:17] = torch.from_numpy(bias)
    propagation_reference.integrate_(row, pieces, noise_vector())
    ours = integrate(pieces, bias, noise_vector())
    np.testing.assert_allclose(ours, row.numpy(), rtol=1e-9, atol=1e-15 + 1e-12 * row.abs().max())


def test_native_output_equals_reference():
    rng = np.random.default_rng(1)
    propagator = ImuPropagator(CONFIG, EXTRINSIC)
    factor = 0.01 * rng.normal(size=(15, 15))
    propagator.anchor(random_state(rng), factor @ factor.T, pieces_of(rng, 20), rng.normal(size=6), 0.005)
    expected = propagator._block.clone()
    sample = torch.from_numpy(np.concatenate([rng.normal(size=6), rng.uniform(1e-3, 1e-2, size=6)]))
    assert propagator.advance(sample[:6].numpy(), 0.005, sample[6:].numpy()) == FINE
    assert propagation_reference.advance_(expected, sample, 0.005) == FINE
    np.testing.assert_allclose(propagator.values, expected.numpy(), rtol=1e-9, atol=1e-14)


def test_a_gap_inflates_the_covariance():
    rng = np.random.default_rng(2)
    usual = pieces_of(rng, 20, 0.005)
    gap = usual[:1].clone()
    gap[0, 0] = usual[:, 0].sum()
    grown = [
        integrate(pieces, np.zeros(6), noise_vector())[COVARIANCE].reshape(15, 15).diagonal()
        for pieces in (usual, gap)
    ]
    assert (grown[1][:9] > 10 * grown[0][:9]).all()


def test_the_bias_jacobian_is_the_derivative():
    rng = np.random.default_rng(3)
    pieces, bias, step = pieces_of(rng, 200), 0.05 * rng.normal(size=6), 1e-6
    row = integrate(pieces, bias, noise_vector())
    jacobian = row[JACOBIAN].reshape(9, 6)
    for k in range(6):
        moved = integrate(pieces, bias + step * np.eye(6)[k], noise_vector())
        turn = (Rotation.from_quat(row[1:5]).inv() * Rotation.from_quat(moved[1:5])).as_rotvec()
        difference = np.concatenate([turn, moved[5:11] - row[5:11]]) / step
        # The half step of the attitude adds a term of relative size dt / T to the gyroscope's column.
        np.testing.assert_allclose(jacobian[:, k], difference, rtol=0, atol=0.02 * np.abs(difference).max())


def test_a_turn_under_gravity_stays_at_rest():
    """The attitude of the interval's middle: with that of its start this would drift by 0.1 m/s."""
    rate, dt, count = np.array([1.0, 0.5, -0.8]), 0.005, 800
    buffer = ImuBuffer()
    for k in range(count + 1):
        R = Rotation.from_rotvec(rate * k * dt)
        buffer.append(10**9 + k * 5_000_000, np.concatenate([rate, R.inv().apply([0, 0, 9.81])]))
    row = integrate(buffer.interval(10**9, 10**9 + count * 5_000_000), np.zeros(6), noise_vector())
    state = predict(np.array([0, 0, 0, 0, 0, 0, 1.0] + [0] * 9), row, 9.81)
    np.testing.assert_allclose(state[7:10], 0, atol=2e-4)
    np.testing.assert_allclose(
        Rotation.from_quat(state[3:7]).as_matrix(),
        Rotation.from_rotvec(rate * count * dt).as_matrix(),
        atol=1e-9,
    )


def test_an_interval_integrates_as_its_parts():
    rng = np.random.default_rng(4)
    buffer = ImuBuffer(capacity=8)  # grows and compacts on the way
    stamps = 10**9 + np.cumsum(rng.integers(4_000_000, 6_000_000, size=50))
    for stamp in stamps:
        buffer.append(int(stamp), rng.normal(size=6))
    begin, middle, end = int(stamps[0]) + 1_234_567, int(stamps[25]) + 777_777, int(stamps[-1]) - 333_333
    state = random_state(rng)
    whole = predict(state, integrate(buffer.interval(begin, end), state[10:], noise_vector()), 9.81)
    for stamp in (middle, int(stamps[25])):
        half = predict(state, integrate(buffer.interval(begin, stamp), state[10:], noise_vector()), 9.81)
        both = predict(half, integrate(buffer.interval(stamp, end), state[10:], noise_vector()), 9.81)
        np.testing.assert_allclose(both, whole, atol=2e-5)  # the split interval is linear, not constant
    assert float(buffer.interval(begin, end)[:, 0].sum()) == pytest.approx((end - begin) * 1e-9, abs=1e-12)


def test_the_twist_is_that_of_the_lever_arm():
    propagator = ImuPropagator(CONFIG, np.array([1.0, 0, 0, 0, 0, 0, 1.0]))  # the base 1 m ahead of the IMU
    state = np.array([0, 0, 0, 0, 0, 0, 1.0, 0.5, 0, 0] + [0] * 6)
    propagator.anchor(
        state,
        1e-6 * np.eye(15),
        torch.zeros(0, 7, dtype=torch.float64),
        np.array([0, 0, 2.0, 0, 0, 9.81]),
        0.005,
    )
    np.testing.assert_allclose(propagator.values[Workspace.LINEAR], [0.5, 2.0, 0.0])
    np.testing.assert_allclose(propagator.values[Workspace.ANGULAR], [0, 0, 2.0])
    np.testing.assert_allclose(propagator.values[Workspace.POSE], [1, 0, 0, 0, 0, 0, 1])


def test_covariances_are_those_of_sampled_errors():
    """Pose and twist covariance against 20 000 perturbed states, in ROS order about fixed axes."""
    rng = np.random.default_rng(5)
    state, factor = random_state(rng), 0.003 * rng.normal(size=(15, 15))
    covariance, sample = factor @ factor.T, rng.normal(size=6)
    propagator = ImuPropagator(CONFIG, EXTRINSIC)
    propagator.anchor(state, covariance, torch.zeros(0, 7, dtype=torch.float64), sample, 0.0)
    lever, R_imu_base = EXTRINSIC[:3], Rotation.from_quat(EXTRINSIC[3:])
    errors = rng.multivariate_normal(np.zeros(15), covariance, size=20_000)
    R = Rotation.from_quat(state[3:7]) * Rotation.from_rotvec(errors[:, :3])
    position = state[:3] + errors[:, 6:9] + R.apply(lever)
    rate = sample[:3] - state[10:13] - errors[:, 9:12]
    linear = R_imu_base.inv().apply(R.inv().apply(state[7:10] + errors[:, 3:6]) + np.cross(rate, lever))
    base = Rotation.from_quat(propagator.values[Workspace.POSE][3:])
    about_fixed_axes = ((R * R_imu_base) * base.inv()).as_rotvec()
    for part, samples in (
        (Workspace.POSE_COVARIANCE, np.hstack([position, about_fixed_axes])),
        (Workspace.TWIST_COVARIANCE, np.hstack([linear, R_imu_base.inv().apply(rate)])),
    ):
        expected = np.cov(samples.T)
        np.testing.assert_allclose(
            propagator.values[part].reshape(6, 6), expected, rtol=0, atol=0.05 * np.abs(expected).max()
        )


def test_a_bad_sample_changes_nothing_and_speed_is_watched():
    propagator = ImuPropagator(CONFIG, EXTRINSIC)
    state = np.array([0, 0, 0, 0, 0, 0, 1.0] + [0] * 9)
    propagator.anchor(
        state,
        1e-6 * np.eye(15),
        torch.zeros(0, 7, dtype=torch.float64),
        np.array([0, 0, 0, 0, 0, 9.81]),
        0.005,
    )
    before = propagator.values.copy()
    assert propagator.advance(np.array([0, np.nan, 0, 0, 0, 9.81]), 0.005) == SAMPLE_NOT_FINITE
    np.testing.assert_array_equal(propagator.values, before)
    assert propagator.advance(np.array([0, 0, 0, 1e6, 0, 9.81]), 0.005) == TOO_FAST
