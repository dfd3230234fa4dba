"""Faults of time: bad stamps, clocks that jump, gaps, late corrections, repeated transforms."""
import numpy as np
import pytest
from node_rig import PERIOD, T0, Sample, circle_pose, circling, pose_message, standing

from pypose_ros import convert


def increasing(stamps) -> bool:
    return bool((np.diff(stamps) > 0).all())


@pytest.mark.parametrize('stamp, reason', [
    (0, 'zero_stamp'), (T0 + 399 * PERIOD, 'duplicate'), (T0 + 390 * PERIOD, 'out_of_order')])
def test_zero_repeated_and_older_stamps_are_dropped_counted_and_warned_about_once(rig, capfd, stamp, reason):
    node = rig.start()
    rig.samples(standing(T0, 2.0))
    rig.samples([Sample(stamp)] * 3)
    rig.samples(standing(T0 + 400 * PERIOD, 0.1))
    stamps = [message.stamp_ns for message in rig.heard()]
    assert increasing(stamps) and stamps[-1] == T0 + 419 * PERIOD
    assert node.diagnostics.drops[f'imu: {reason}'] == 3
    assert capfd.readouterr().err.count('imu dropped') == 1


def test_drops_appear_in_the_diagnostics(rig):
    rig.start()
    rig.samples(standing(T0, 0.1) + [Sample(0)])
    rig.told(lambda s: s.get('dropped: imu: zero_stamp') == '1', 'the drop')


def test_a_clock_that_jumps_back_restarts_everything_within_one_window(rig):
    node = rig.start()
    rig.samples(standing(T0, 2.0))
    before = len(rig.heard())
    earlier = T0 - 3600 * 1_000_000_000
    rig.samples(standing(earlier, 2.0))
    after = [message.stamp_ns for message in rig.heard()[before:]]
    assert increasing(after) and earlier < after[0] <= earlier + 1_050_000_000
    assert after[-1] == earlier + 399 * PERIOD
    assert node.estimator.counters['resets'] == 1
    # TF runs again too: its stamps are earlier than any before.
    rig.until(lambda: earlier < convert.stamp_from_msg(rig.transforms[-1].header.stamp) < T0, 'TF of the second run')


def test_a_bag_played_twice_gives_the_same_twice(rig):
    node = rig.start(init__mode='pose')
    runs = []
    for _ in range(2):
        before = len(rig.heard())
        rig.drive(T0, 3.0)
        runs.append(rig.heard()[before:])
    first, second = ([message.stamp_ns for message in run] for run in runs)
    assert increasing(first) and increasing(second)
    assert first[-1] == second[-1] == T0 + 599 * PERIOD
    assert second[0] <= T0 + 1_100_000_000
    truth = circle_pose(T0, first[-1])
    for run in runs:
        np.testing.assert_allclose(run[-1].values[:3], truth[:3], atol=0.02)
    assert node.estimator.counters['resets'] == 1


def test_a_short_gap_inflates_the_covariance_and_the_output_goes_on(rig):
    node = rig.start(correction_timeout=10.0)
    rig.samples(standing(T0, 2.0))
    before = rig.heard()[-1].values[7]
    gap = 300_000_000
    rig.samples(standing(T0 + 399 * PERIOD + gap, 0.1))
    with_gap = rig.heard()[-1]
    assert with_gap.stamp_ns == T0 + 399 * PERIOD + gap + 19 * PERIOD
    node.estimator.reset('for the comparison')
    rig.samples(standing(T0 + 10 ** 10, 2.0 + 0.4))
    without_gap = rig.heard()[-1].values[7]
    assert with_gap.values[7] > 1.5 * without_gap > before
    assert node.estimator.counters['gap'] == 1


def test_a_long_gap_stops_the_output_until_the_estimator_has_initialized_again(rig):
    node = rig.start()
    rig.samples(standing(T0, 2.0))
    last = rig.heard()[-1].stamp_ns
    later = T0 + 5_000_000_000
    before = len(rig.odometry)
    rig.samples(standing(later, 2.0))
    stamps = [message.stamp_ns for message in rig.heard()[before:]]
    assert last < later + 900_000_000 < stamps[0] <= later + 1_050_000_000
    assert node.estimator.counters['reinitialized'] == 1


def test_a_late_correction_counts_as_if_it_had_come_in_time(rig):
    node = rig.start(init__mode='pose')
    ends = []
    for begin, late in ((T0, 0), (T0 + 10 ** 12, 60)):      # the second time 60 samples, 0.3 s, late
        rig.drive(begin, 2.0)
        samples = circling(begin + 400 * PERIOD, 0.6)
        rig.samples(samples[:41 + late])
        stamp = samples[40].stamp_ns
        rig.send('pose', [pose_message(stamp, circle_pose(begin, stamp) + [0, 0, 0.02, 0, 0, 0, 0])])
        rig.solved()
        rig.samples(samples[41 + late:])
        ends.append(rig.heard()[-1])
    assert not any('pose' in reason for reason in node.diagnostics.drops)
    assert [end.stamp_ns for end in ends] == [T0 + 519 * PERIOD, T0 + 10 ** 12 + 519 * PERIOD]
    assert ends[0].values[2] > 0.01
    np.testing.assert_allclose(ends[1].values[:7], ends[0].values[:7], atol=1e-6)


def test_a_correction_older_than_the_buffer_is_dropped_and_counted(rig):
    node = rig.start(init__mode='pose', window_size=3)
    rig.drive(T0, 3.0)
    rig.send('pose', [pose_message(T0 + 100_000_000, circle_pose(T0, T0 + 100_000_000))])
    assert node.diagnostics.drops['pose: too_old'] == 1


def test_no_transform_is_sent_twice_with_one_stamp(rig):
    node = rig.start(init__mode='pose')
    rig.drive(T0, 2.0)
    node._outputs.tf.send(T0 + 399 * PERIOD, np.array([0.0, 0, 0, 0, 0, 0, 1]))
    rig.heard()
    rig.until(lambda: rig.transforms[-1].header.stamp == convert.stamp_to_msg(T0 + 399 * PERIOD), 'the last transform')
    rig.spin(0.2)
    stamps = [convert.stamp_from_msg(t.header.stamp) for t in rig.transforms]
    assert len(stamps) > 100 and increasing(stamps)
    assert node._outputs.tf.suppressed == 1


def test_without_corrections_the_covariance_grows_and_tf_stops(rig):
    node = rig.start(init__mode='pose', correction_timeout=0.5)
    rig.drive(T0, 2.0)
    trace = rig.heard()[-1].values[7:43].reshape(6, 6)[:3, :3].trace()
    rig.samples(circling(T0 + 400 * PERIOD, 2.0))
    newest = rig.heard()[-1]
    assert newest.stamp_ns == T0 + 799 * PERIOD
    assert newest.values[7:43].reshape(6, 6)[:3, :3].trace() > 4 * trace

    def last_transform() -> int:
        return convert.stamp_from_msg(rig.transforms[-1].header.stamp)

    rig.until(lambda: last_transform() >= T0 + 380 * PERIOD + 500_000_000 - PERIOD, 'transforms to the time limit')
    rig.spin(0.2)
    assert last_transform() <= T0 + 400 * PERIOD + 500_000_000
    assert node.estimator.status.name == 'STALE'
    rig.told(lambda s: 'no correction' in s['message'], 'why')
