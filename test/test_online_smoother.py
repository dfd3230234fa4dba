"""The fixed-lag smoother on flights whose truth is known."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from online_flight import config, play, short_flight
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from pypose_core import native
from pypose_core.online import ImuSmoother, Status, Verdict
from pypose_core.online.correction import compose, inverse

ROTATION, VELOCITY, POSITION = slice(0, 3), slice(3, 6), slice(6, 9)


def rmse(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).sum(1).mean()))


@pytest.mark.parametrize('mode', ['static', 'pose'])
def test_the_estimate_follows_the_flight(mode):
    flight = short_flight(20.0)
    errors = play(flight, ImuSmoother(config(mode=mode))).errors(flight)[1000:]
    assert np.degrees(rmse(errors[:, ROTATION])) < 0.3
    assert rmse(errors[:, VELOCITY]) < 0.04
    assert rmse(errors[:, POSITION]) < 0.025


def test_errors_are_as_large_as_the_covariance_says():
    """Mean NEES over independent flights within its 95 % band. (The biases' prior is wide on purpose.)"""
    parts = {'rotation': ROTATION, 'velocity': VELOCITY, 'position': POSITION, 'all three': slice(0, 9)}
    nees = {name: [] for name in parts}
    for seed in range(8):
        flight = short_flight(
            14.0,
            seed=seed,
            initial_bias=tuple(np.random.default_rng(seed + 50).normal(0, np.repeat([0.02, 0.2], 3))),
        )
        track = play(flight, ImuSmoother(config()))
        for name, part in parts.items():
            nees[name].append(track.nees(flight, part, every=200)[3:])
    for name, part in parts.items():
        values = np.concatenate(nees[name])
        size = part.stop - part.start
        low, high = chi2.ppf([0.025, 0.975], size * len(values)) / len(values)
        assert low < values.mean() < high, f'{name}: NEES {values.mean():.2f} outside {low:.2f} to {high:.2f}'


def test_two_runs_give_the_same_bytes():
    flight = short_flight(6.0)
    runs = [np.array(play(flight, ImuSmoother(config())).states).tobytes() for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.skipif(not native.available, reason=native.status)
def test_the_reference_path_gives_the_same_estimate(monkeypatch):
    flight = short_flight(1.7)
    ours = play(flight, ImuSmoother(config(window_size=3))).states
    monkeypatch.setattr(native, 'available', False)
    reference = play(flight, ImuSmoother(config(window_size=3))).states
    np.testing.assert_allclose(ours, reference, atol=1e-8)


def test_late_and_shuffled_corrections_give_the_estimate_of_prompt_ones():
    flight = short_flight(8.0)
    prompt = play(flight, ImuSmoother(config()), arrivals=flight.correction_stamps_ns)
    rng = np.random.default_rng(0)
    late = flight.correction_stamps_ns + rng.integers(0, 400_000_000, size=len(flight.correction_stamps_ns))
    late[:20] = flight.correction_stamps_ns[:20]  # initialization is not what is asked here
    late[-5:] = flight.correction_stamps_ns[-5:]  # all have arrived at the end
    smoother = ImuSmoother(config())
    delayed = play(flight, smoother, arrivals=late)
    assert smoother.counters['too_old'] == 0
    difference = delayed.states[-1] - prompt.states[-1]
    np.testing.assert_allclose(difference[:3], 0, atol=2e-3)
    np.testing.assert_allclose(difference[7:10], 0, atol=5e-3)


def test_a_correction_older_than_the_window_is_dropped_and_counted():
    flight = short_flight(5.0)
    smoother = ImuSmoother(config())
    play(flight, smoother)
    before = smoother.output.state.copy()
    old = int(flight.correction_stamps_ns[5])
    assert smoother.add_pose(old, flight.corrections[5], flight.correction_covariance) is Verdict.TOO_OLD
    assert smoother.counters['too_old'] == 1 and not smoother.solve()
    np.testing.assert_array_equal(smoother.output.state, before)


def test_a_solve_in_another_thread_is_taken_up_by_the_next_sample():
    flight = short_flight(4.0)
    smoother, inline = ImuSmoother(config()), ImuSmoother(config())
    play(flight, smoother, until=700)
    play(flight, inline, until=700)
    stamp, sample = int(flight.stamps_ns[700]), flight.imu[700]
    for each in (smoother, inline):
        each.add_pose(int(flight.stamps_ns[690]), flight.truth.poses[690], flight.correction_covariance)
    job = smoother.begin_solve()
    assert smoother.begin_solve() is None  # one at a time
    worker = threading.Thread(target=job.run)
    worker.start()
    worker.join()
    inline.solve()
    for each in (smoother, inline):
        each.add_imu(stamp, sample)
    assert smoother.last_job is job
    np.testing.assert_allclose(smoother.output.state, inline.output.state, atol=1e-12)


def test_relative_corrections_bound_the_drift():
    """Without any absolute measurement the position error grows as the odometry's, not as the IMU's."""
    flight = short_flight(20.0)
    rng = np.random.default_rng(0)
    smoother = ImuSmoother(config())
    T_ref_base, before = np.array([5.0, -3.0, 1.0, 0, 0, 1, 0]), flight.truth.poses[0]
    covariance = np.diag([1e-3**2] * 3 + [1e-3**2] * 3)
    track = []
    for k, (stamp, sample) in enumerate(zip(flight.stamps_ns.tolist(), flight.imu)):
        if k % 20 == 0:
            step = compose(inverse(before), flight.truth.poses[k])
            step[:3] += rng.normal(0, 1e-3, 3)
            step[3:] = (Rotation.from_quat(step[3:]) * Rotation.from_rotvec(rng.normal(0, 1e-3, 3))).as_quat()
            T_ref_base, before = compose(T_ref_base, step), flight.truth.poses[k]
            smoother.add_odometry(stamp, T_ref_base, covariance)
        smoother.add_imu(stamp, sample)
        smoother.solve()
        if smoother.output is not None:
            track.append(np.linalg.norm(smoother.output.state[:3] - flight.truth.poses[k, :3]))
    assert smoother.status is Status.RUNNING
    assert max(track) < 0.15 and smoother.counters['failed_solves'] == 0


def test_a_ground_robot_stays_on_the_ground():
    """Wheel odometry measures no height: what the robot cannot do keeps the IMU's drift out of it."""
    heights = {}
    for sigma in ((0.0, 0.0, 0.0), (0.0, 0.05, 0.05)):
        smoother = ImuSmoother(config(body_velocity_sigma=sigma))
        rng = np.random.default_rng(0)
        covariance = np.diag([1e-4, 1e-4, 1e6, 1e6, 1e6, 1e-4])
        for k in range(6000):                               # 30 s: still for 2, then straight on at 1 m/s
            t = k * 0.005
            speed = np.clip(t - 2.0, 0.0, 1.0)
            accel = np.array([1.0 if 2.0 < t < 3.0 else 0.0, 0.0, 9.80665]) + [0.05, -0.05, 0.08]
            sample = np.concatenate([rng.normal(0, 7e-3, 3), accel + rng.normal(0, 0.06, 3)])
            smoother.add_imu(10**9 + k * 5_000_000, sample)
            if k % 4 == 0:                                  # 50 Hz, faster than a solve needs
                x = max(0.0, t - 2.5) if speed == 1.0 else 0.5 * max(0.0, t - 2.0) ** 2
                smoother.add_odometry(10**9 + k * 5_000_000, np.array([x, 0, 0, 0, 0, 0, 1.0]), covariance)
            smoother.solve()
        assert smoother.counters['failed_solves'] == 0
        heights[sigma] = abs(smoother.output.T_odom_base[2])
        assert abs(smoother.output.T_odom_base[0] - 27.5) < 0.5
    free, bound = heights.values()
    assert bound < 0.3 < free


def test_the_lever_arm_of_the_imu_is_taken_out():
    """An IMU that is mounted 0.4 m off and turned: the base's pose is as good as without."""
    flight = short_flight(12.0)
    T_base_imu = np.concatenate([[0.4, -0.1, 0.2], Rotation.from_euler('xyz', [0.3, -0.2, 2.0]).as_quat()])
    lever, R_base_imu = T_base_imu[:3], Rotation.from_quat(T_base_imu[3:])
    true_rate, step = flight.truth.angular_velocity, 1e-9 * np.diff(flight.stamps_ns)[0]
    spin = np.gradient(true_rate, step, axis=0)
    felt = flight.imu.copy()
    felt[:, 3:] += np.cross(spin, lever) + np.cross(true_rate, np.cross(true_rate, lever))
    felt = np.hstack([R_base_imu.inv().apply(felt[:, :3]), R_base_imu.inv().apply(felt[:, 3:])])
    smoother = ImuSmoother(config(), T_base_imu=T_base_imu)
    errors, linear = [], []
    arrived = 0
    for k, stamp in enumerate(flight.stamps_ns.tolist()):
        while arrived < len(flight.corrections) and flight.correction_log_ns[arrived] <= stamp:
            smoother.add_pose(
                int(flight.correction_stamps_ns[arrived]),
                flight.corrections[arrived],
                flight.correction_covariance,
            )
            arrived += 1
        smoother.add_imu(stamp, felt[k])
        smoother.solve()
        if smoother.output is not None and k > 1000:
            errors.append(smoother.output.T_odom_base[:3] - flight.truth.poses[k, :3])
            body = Rotation.from_quat(flight.truth.poses[k, 3:]).inv().apply(flight.truth.velocity[k])
            linear.append(smoother.output.velocity_base - body)
    assert rmse(np.array(errors)) < 0.025 and rmse(np.array(linear)) < 0.05


def test_dropout_grows_the_covariance_turns_stale_and_recovers():
    flight = short_flight(12.0)
    gap = (flight.correction_stamps_ns > flight.stamps_ns[1000]) & (
        flight.correction_stamps_ns < flight.stamps_ns[1600]
    )
    arrivals = np.where(gap, np.iinfo(np.int64).max, flight.correction_log_ns)
    smoother = ImuSmoother(config())
    sigma, status = [], []
    waiting = 0
    for k, stamp in enumerate(flight.stamps_ns.tolist()):
        while waiting < len(arrivals) and (gap[waiting] or arrivals[waiting] <= stamp):
            if not gap[waiting]:
                smoother.add_pose(
                    int(flight.correction_stamps_ns[waiting]),
                    flight.corrections[waiting],
                    flight.correction_covariance,
                )
            waiting += 1
        smoother.add_imu(stamp, flight.imu[k])
        smoother.solve()
        status.append(smoother.status)
        sigma.append(
            np.sqrt(np.trace(smoother.output.pose_covariance[:3, :3])) if smoother.output else np.nan
        )
    assert status[1000] is Status.RUNNING and status[1500] is Status.STALE and status[-1] is Status.RUNNING
    assert (np.diff(sigma[1010:1600:50]) > 0).all() and sigma[1600] > 5 * sigma[1000] > 0
    assert sigma[-1] < 2 * sigma[1000]


def test_set_pose_moves_the_estimate_and_keeps_velocity_and_biases():
    flight = short_flight(5.0)
    smoother = ImuSmoother(config())
    play(flight, smoother)
    body, bias = smoother.output.velocity_base.copy(), smoother.output.bias.copy()
    pose = np.array([10.0, 20.0, 30.0, 0, 0, np.sin(0.5), np.cos(0.5)])
    assert smoother.set_pose(pose, np.diag([0.01] * 3 + [0.001] * 3)).accepted
    np.testing.assert_allclose(smoother.output.T_odom_base, pose, atol=1e-9)
    np.testing.assert_allclose(smoother.output.velocity_base, body, atol=1e-9)
    np.testing.assert_allclose(smoother.output.bias, bias, atol=1e-9)
    assert np.trace(smoother.output.pose_covariance[:3, :3]) == pytest.approx(0.03, rel=1e-3)


def test_calibrate_needs_a_robot_that_stands_still():
    flight = short_flight(8.0, static_time=2.5)
    smoother = ImuSmoother(config())
    play(flight, smoother, until=450)
    done, sentence = smoother.calibrate(0.5)
    assert done, sentence
    np.testing.assert_allclose(smoother.output.bias[:3], flight.bias[450, :3], atol=3e-3)
    play_on = replace(flight, stamps_ns=flight.stamps_ns[450:], imu=flight.imu[450:])
    play(play_on, smoother, corrections=False)
    done, sentence = smoother.calibrate(0.5)
    assert not done and 'stand still' in sentence


def test_preintegrated_links_are_handed_out_once_and_without_holes():
    flight = short_flight(8.0)
    smoother = ImuSmoother(config())
    play(flight, smoother)
    links = smoother.take_preintegrated()
    assert len(links) > 30 and smoother.take_preintegrated() == []
    for (earlier, later), (following, _) in zip(links, links[1:]):
        assert later.id == following.id and earlier.stamp_ns < later.stamp_ns
        assert later.row[0] == pytest.approx((later.stamp_ns - earlier.stamp_ns) * 1e-9, abs=1e-9)
