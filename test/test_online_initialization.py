"""Every way to the first state, and the units of the accelerometer."""

import numpy as np
import pytest
from online_flight import config, play, short_flight
from scipy.spatial.transform import Rotation

from pypose_core.online import ImuSmoother, ImuSmootherConfig, InitConfig, Status, Verdict
from pypose_core.online.initialization import is_static, level_from_gravity, reports_in_g, static_state

G = 9.80665


def rest(count: int = 400, *, seed: int = 0, accel=(0.0, 0.0, G), noise=(1e-3, 0.02)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.hstack(
        [rng.normal(0, noise[0], (count, 3)), np.array(accel) + rng.normal(0, noise[1], (count, 3))]
    )


def feed(smoother: ImuSmoother, samples: np.ndarray, begin: int = 0, **kwargs) -> list[Verdict]:
    return [smoother.add_imu(10**9 + (begin + k) * 5_000_000, s, **kwargs) for k, s in enumerate(samples)]


@pytest.mark.parametrize('roll, pitch', [(0, 0), (0.3, -0.4), (-1.2, 0.2), (3.0, 1.0), (0.1, -1.5)])
def test_leveling_turns_the_specific_force_upwards(roll, pitch):
    body = Rotation.from_euler('xyz', [roll, pitch, 0.0]).inv().apply([0, 0, G])
    np.testing.assert_allclose(
        Rotation.from_quat(level_from_gravity(body)).apply(body), [0, 0, G], atol=1e-12
    )


def test_static_initialization_takes_level_and_gyroscope_bias_from_the_window():
    tilt = Rotation.from_euler('xyz', [0.2, -0.1, 0.0])
    samples = rest(accel=tilt.inv().apply([0, 0, G])) + np.array([0.01, -0.02, 0.03, 0, 0, 0])
    smoother = ImuSmoother(config())
    feed(smoother, samples)
    assert smoother.status in (Status.RUNNING, Status.STALE)
    assert (Rotation.from_quat(smoother.output.state[3:7]).inv() * tilt).magnitude() < 2e-3
    np.testing.assert_allclose(smoother.output.bias[:3], [0.01, -0.02, 0.03], atol=5e-4)


def test_static_prior_knows_that_tilt_and_accelerometer_bias_go_together():
    """The error of the first state over random biases is as large as its covariance says, cross terms included."""
    rng, init, nees = np.random.default_rng(0), InitConfig(), []
    for _ in range(300):
        attitude = Rotation.from_euler('xyz', [*rng.uniform(-0.5, 0.5, 2), 0.0])
        bias = rng.normal(0, init.accel_bias_sigma, 3)
        gravity = G + rng.normal(0, init.gravity_sigma)
        samples = rest(
            200, seed=int(rng.integers(1 << 30)), accel=attitude.inv().apply([0, 0, gravity]) + bias
        )
        state, covariance = static_state(samples, init, gravity=G)
        error = np.concatenate(
            [(Rotation.from_quat(state[3:7]).inv() * attitude).as_rotvec()[:2], bias - state[13:]]
        )
        part = np.r_[0, 1, 12:15]
        nees.append(error @ np.linalg.solve(covariance[np.ix_(part, part)] + 1e-9 * np.eye(5), error))
    # The error of the mean enters cautiously (once in the tilt, once in the bias), never optimistically.
    assert 0.7 * 5 < np.mean(nees) < 1.1 * 5


def test_motion_keeps_static_initialization_waiting_and_stillness_ends_it():
    smoother = ImuSmoother(config())
    moving = rest()
    moving[:, :3] += np.sin(np.arange(400) / 10)[:, None]
    feed(smoother, moving)
    assert smoother.status is Status.MOVING and smoother.output is None
    feed(smoother, rest(), begin=400)
    assert smoother.output is not None
    assert not is_static(moving, InitConfig()) and is_static(rest(), InitConfig())


def test_accelerometer_in_g_is_scaled_and_told_once():
    samples = rest()
    samples[:, 3:] /= G
    assert reports_in_g(samples) and not reports_in_g(rest())
    smoother = ImuSmoother(config(accel_scale=0.0))
    feed(smoother, samples)
    told = [sentence for _, sentence in smoother.take_events() if 'reports in g' in sentence]
    assert len(told) == 1
    np.testing.assert_allclose(smoother.output.state[7:10], 0, atol=0.05)
    smoother.reset()
    feed(smoother, samples, begin=1000)
    assert not [s for _, s in smoother.take_events() if 'reports in g' in s]
    np.testing.assert_allclose(smoother.output.state[7:10], 0, atol=0.05)


@pytest.mark.parametrize('mode', ['static', 'zero', 'orientation', 'pose'])
def test_units_are_recognized_in_every_mode(mode):
    samples = rest()
    samples[:, 3:] /= G
    smoother = ImuSmoother(config(accel_scale=0.0, mode=mode))
    feed(smoother, samples, orientation=np.array([0, 0, 0, 1.0]))
    assert any('reports in g' in sentence for _, sentence in smoother.take_events())


def test_orientation_mode_takes_the_message_and_waits_without_one():
    q = Rotation.from_euler('xyz', [0.1, 0.2, 1.5])
    samples = rest(accel=q.inv().apply([0, 0, G]))
    smoother = ImuSmoother(config(mode='orientation'))
    feed(smoother, samples[:50])
    assert smoother.status is Status.AWAITING_ORIENTATION
    feed(smoother, samples, begin=50, orientation=q.as_quat())
    assert (Rotation.from_quat(smoother.output.state[3:7]).inv() * q).magnitude() < 0.01


def test_zero_mode_starts_at_once_at_the_origin():
    smoother = ImuSmoother(config(mode='zero'))
    feed(smoother, rest(2))
    np.testing.assert_allclose(smoother.output.T_odom_base, [0, 0, 0, 0, 0, 0, 1], atol=1e-3)


def test_pose_mode_waits_for_a_pose_and_until_the_velocity_is_known():
    flight = short_flight(6.0, static_time=0.0, ramp_time=0.5)
    smoother = ImuSmoother(config(mode='pose'))
    play(flight, smoother, until=400, corrections=False)
    assert smoother.status is Status.AWAITING_POSE
    smoother.add_pose(int(flight.stamps_ns[399]), flight.truth.poses[399], flight.correction_covariance)
    smoother.add_imu(int(flight.stamps_ns[400]), flight.imu[400])
    assert smoother.status is Status.CONVERGING and smoother.output is None
    for k in range(401, 1000):
        if k % 20 == 0:
            smoother.add_pose(
                int(flight.stamps_ns[k - 1]), flight.truth.poses[k - 1], flight.correction_covariance
            )
        smoother.add_imu(int(flight.stamps_ns[k]), flight.imu[k])
        smoother.solve()
    assert smoother.status is Status.RUNNING
    np.testing.assert_allclose(smoother.output.state[7:10], flight.truth.velocity[999], atol=0.1)


def test_the_first_pose_after_a_static_start_places_the_frame_once():
    smoother = ImuSmoother(config())
    feed(smoother, rest())
    turn = Rotation.from_euler('z', 1.0)
    pose = np.concatenate([[10.0, -5.0, 2.0], turn.as_quat()])
    assert smoother.add_pose(10**9 + 399 * 5_000_000, pose, np.diag([1e-4] * 6)).accepted
    np.testing.assert_allclose(smoother.output.T_odom_base, pose, atol=5e-3)
    far = pose + np.array([1.0, 0, 0, 0, 0, 0, 0])
    feed(smoother, rest(20), begin=400)
    smoother.add_pose(10**9 + 419 * 5_000_000, far, np.diag([1e-4] * 6))
    assert smoother.solve()  # the second is a measurement like any other


@pytest.mark.parametrize(
    'broken, name',
    [
        ({'init': {'mode': 'guess'}}, 'init.mode'),
        ({'window_size': 1}, 'window_size'),
        ({'gravity': -1.0}, 'gravity'),
        ({'robust_kernel': 'l7'}, 'robust_kernel'),
        ({'reinit_gap': 0.01}, 'reinit_gap'),
    ],
)
def test_a_wrong_parameter_is_named(broken, name):
    if 'init' in broken:
        with pytest.raises(ValueError, match=name):
            InitConfig(**broken['init'])
    else:
        with pytest.raises(ValueError, match=name):
            ImuSmootherConfig(noise=config().noise, **broken)
    with pytest.raises(ValueError, match='T_base_imu'):
        ImuSmoother(config(), T_base_imu=[0, 0, 0, 0, 0, 0, 2])
