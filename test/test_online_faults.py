"""What the estimator does when its input is wrong: a verdict, a count, and an estimate that stays sound."""

import numpy as np
import pytest
from online_flight import config, play, short_flight

from pypose_core.online import ImuSmoother, Status, Verdict, fixed_lag
from pypose_core.online.window import SolveStatus, WindowSolution

COVARIANCE = np.diag([1e-4] * 6)
IDENTITY = np.array([0, 0, 0, 0, 0, 0, 1.0])
SAMPLE = np.array([0, 0, 0, 0, 0, 9.80665])


@pytest.fixture
def running():
    """A smoother in flight, the flight, and the index of its next sample."""
    flight = short_flight(14.0)
    smoother = ImuSmoother(config())
    play(flight, smoother, until=1000)
    smoother.take_events()
    return smoother, flight, 1000


def resume(smoother, flight, begin, end, offset_ns=0):
    """Play on, with corrections at their own stamps."""
    chosen = {int(s): k for k, s in enumerate(flight.correction_stamps_ns)}
    for k in range(begin, end):
        stamp = int(flight.stamps_ns[k])
        if stamp in chosen:
            smoother.add_pose(
                stamp + offset_ns, flight.corrections[chosen[stamp]], flight.correction_covariance
            )
        smoother.add_imu(stamp + offset_ns, flight.imu[k])
        smoother.solve()


def position_error(smoother, flight, k) -> float:
    return float(np.linalg.norm(smoother.output.state[:3] - flight.truth.poses[k, :3]))


def test_zero_duplicate_and_old_stamps_are_dropped_and_counted(running):
    smoother, flight, k = running
    before = smoother.output.state.copy()
    stamp = int(flight.stamps_ns[k - 1])
    assert smoother.add_imu(0, flight.imu[k]) is Verdict.ZERO_STAMP
    assert smoother.add_imu(stamp, flight.imu[k]) is Verdict.DUPLICATE
    assert smoother.add_imu(stamp - 100_000_000, flight.imu[k]) is Verdict.OUT_OF_ORDER
    assert [smoother.counters[n] for n in ('zero_stamp', 'duplicate', 'out_of_order')] == [1, 1, 1]
    np.testing.assert_array_equal(smoother.output.state, before)


def test_a_bag_that_loops_resets_and_runs_again_within_one_window(running):
    smoother, flight, _ = running
    assert smoother.add_imu(int(flight.stamps_ns[0]), flight.imu[0]) is Verdict.RESET
    assert smoother.output is None and len(smoother.keyframes) == 0
    resume(smoother, flight, 1, 260)
    assert smoother.status is Status.RUNNING and smoother.counters['resets'] == 1
    assert position_error(smoother, flight, 259) < 0.1


def test_a_short_gap_inflates_the_covariance(running):
    smoother, flight, k = running
    before = np.trace(smoother.output.covariance[3:6, 3:6])
    assert smoother.add_imu(int(flight.stamps_ns[k + 60]), flight.imu[k + 60]) is Verdict.GAP
    assert np.trace(smoother.output.covariance[3:6, 3:6]) > 4 * before
    resume(smoother, flight, k + 61, k + 400)
    assert position_error(smoother, flight, k + 399) < 0.1
    assert any('gap' in sentence for _, sentence in smoother.take_events())


def test_a_long_gap_stops_the_output_and_initializes_again_where_it_was():
    flight = short_flight(6.0, static_time=10.0)  # at rest, so that static initialization can
    smoother = ImuSmoother(config())
    play(flight, smoother, until=600)
    pose = smoother.output.T_odom_base.copy()
    assert smoother.add_imu(int(flight.stamps_ns[-1]) + 2 * 10**9, flight.imu[600]) is Verdict.REINITIALIZED
    assert smoother.output is None
    for k in range(1, 400):
        smoother.add_imu(int(flight.stamps_ns[-1]) + 2 * 10**9 + k * 5_000_000, flight.imu[k])
    np.testing.assert_allclose(smoother.output.T_odom_base, pose, atol=0.02)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_samples_that_are_not_finite_are_rejected(running, bad):
    smoother, flight, k = running
    before, stamp = smoother.output.state.copy(), int(flight.stamps_ns[k])
    for axis in range(6):
        sample = flight.imu[k].copy()
        sample[axis] = bad
        assert smoother.add_imu(stamp, sample) is Verdict.NOT_FINITE
    np.testing.assert_array_equal(smoother.output.state, before)
    fresh = ImuSmoother(config())
    assert fresh.add_imu(stamp, np.full(6, bad)) is Verdict.NOT_FINITE


@pytest.mark.parametrize(
    'pose, covariance, verdict',
    [
        ([np.nan, 0, 0, 0, 0, 0, 1], COVARIANCE, Verdict.NOT_FINITE),
        ([0, 0, 0, 0, 0, 0, 1.001], COVARIANCE, Verdict.BAD_QUATERNION),
        ([0, 0, 0, 0, 0, 0, 0], COVARIANCE, Verdict.BAD_QUATERNION),
        (IDENTITY, np.diag([np.nan] * 6), Verdict.NOT_FINITE),
        (IDENTITY, np.diag([1e10] * 6), Verdict.BAD_COVARIANCE),
        (IDENTITY, np.diag([1.0, 1, 1, 1, 1, -1]), Verdict.BAD_COVARIANCE),
        (IDENTITY, COVARIANCE + np.triu(np.ones((6, 6)), 1), Verdict.BAD_COVARIANCE),
    ],
)
def test_corrections_that_cannot_be_true_are_rejected(running, pose, covariance, verdict):
    smoother, flight, k = running
    stamp = int(flight.stamps_ns[k - 1])
    assert smoother.add_pose(stamp, np.array(pose, dtype=float), covariance) is verdict
    assert smoother.add_odometry(stamp, np.array(pose, dtype=float), covariance) is verdict
    assert smoother.counters[verdict.name.lower()] == 2 and smoother.begin_solve() is None


def test_an_unknown_covariance_is_replaced_by_the_parameter(running):
    smoother, flight, k = running
    stamp = int(flight.stamps_ns[k - 1])
    assert smoother.add_pose(stamp, flight.truth.poses[k - 1], np.zeros((6, 6))).accepted
    smoother.solve()
    taken = smoother.keyframes[-1].poses[0].covariance.diagonal()
    np.testing.assert_allclose(taken[3:], smoother.config.pose_sigma[0] ** 2)
    np.testing.assert_allclose(taken[:3], smoother.config.pose_sigma[1] ** 2)


def test_correction_stamps_from_another_clock_are_refused(running):
    smoother, flight, k = running
    last = int(flight.stamps_ns[k - 1])
    assert smoother.add_pose(last + 10**10, IDENTITY, COVARIANCE) is Verdict.TOO_NEW
    assert smoother.add_pose(last - 10**10, IDENTITY, COVARIANCE) is Verdict.TOO_OLD
    assert smoother.add_pose(0, IDENTITY, COVARIANCE) is Verdict.ZERO_STAMP


def test_a_correction_ahead_of_the_imu_waits_for_it(running):
    smoother, flight, k = running
    ahead = int(flight.stamps_ns[k + 3]) + 1000
    assert smoother.add_pose(ahead, flight.truth.poses[k + 3], COVARIANCE) is Verdict.QUEUED
    for i in range(k, k + 4):
        smoother.add_imu(int(flight.stamps_ns[i]), flight.imu[i])
        assert not smoother.solve()
    smoother.add_imu(int(flight.stamps_ns[k + 4]), flight.imu[k + 4])
    assert smoother.solve() and smoother.keyframes[-1].stamp_ns == ahead


def test_divergence_starts_again_where_the_last_good_keyframe_was(running):
    smoother, flight, k = running
    good = smoother.keyframes[-1].state[:3].copy()
    kick = flight.imu[k].copy()
    kick[3:] = 1e5
    smoother.add_imu(int(flight.stamps_ns[k]), kick)
    assert smoother.counters['divergences'] == 1
    assert smoother.output is None  # nothing is given out that is not believed
    resume(smoother, flight, k + 1, k + 600)
    assert smoother.status is Status.RUNNING and position_error(smoother, flight, k + 599) < 0.1
    assert np.linalg.norm(good - flight.truth.poses[k, :3]) < 0.2


def test_a_failed_solve_keeps_the_last_good_estimate(running, monkeypatch):
    smoother, flight, k = running
    before = smoother.output.state.copy()

    def fail(problem):
        return WindowSolution(
            problem.states * np.nan, problem.prior_information, SolveStatus.SINGULAR, 1, 1.0, 1.0
        )

    smoother.add_pose(int(flight.stamps_ns[k - 1]), flight.truth.poses[k - 1], COVARIANCE)
    with monkeypatch.context() as patch:
        patch.setattr(fixed_lag, 'solve', fail)
        smoother.solve()
    np.testing.assert_allclose(smoother.output.state, before, atol=1e-9)
    assert smoother.counters['failed_solves'] == 1
    assert any('last good estimate is kept' in sentence for _, sentence in smoother.take_events())
    resume(smoother, flight, k, k + 300)
    assert smoother.status is Status.RUNNING and position_error(smoother, flight, k + 299) < 0.1


def test_an_exception_in_the_worker_is_a_failed_solve_not_a_hang(running, monkeypatch):
    smoother, flight, k = running

    def explode(problem):
        raise RuntimeError('out of memory')

    smoother.add_pose(int(flight.stamps_ns[k - 1]), flight.truth.poses[k - 1], COVARIANCE)
    job = smoother.begin_solve()
    with monkeypatch.context() as patch:
        patch.setattr(fixed_lag, 'solve', explode)
        with pytest.raises(RuntimeError):
            job.run()
    smoother.add_imu(int(flight.stamps_ns[k]), flight.imu[k])
    assert smoother.counters['failed_solves'] == 1 and smoother.status.has_output


def test_memory_does_not_grow_with_time(running):
    smoother, flight, k = running
    resume(smoother, flight, k, len(flight.stamps_ns))
    assert len(smoother.keyframes) <= smoother.config.window_size
    assert len(smoother._buffer) < 1.5 * 200 * 1.2
    assert len(smoother._pending) == 0


def test_without_corrections_keyframes_are_made_by_time():
    smoother = ImuSmoother(config(mode='zero', window_size=3))
    for n in range(2000):
        smoother.add_imu(10**9 + n * 5_000_000, SAMPLE)
        smoother.solve()
    assert smoother.status is Status.STALE and len(smoother.keyframes) == 3
    assert len(smoother._buffer) < 4 * 200
