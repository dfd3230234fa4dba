"""Faults of content: numbers that cannot be, fields that are absent or unknown, wrong units."""
import numpy as np
import pytest
from node_rig import (
    COVARIANCE,
    PERIOD,
    T0,
    Sample,
    circle_pose,
    circling,
    odometry_message,
    pose_message,
    standing,
)
from rclpy.serialization import serialize_message

from pypose_ros import convert

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize('changes, reason', [
    ({'at_13': NAN}, 'not_finite'), ({'at_26': INF}, 'not_finite'), ({'at_16': NAN}, 'not_finite'),
    ({'at_28': 2e9}, 'bad_covariance'), ({'at_25': 1e10}, 'out_of_range'),
    ({'at_16': -1.0}, 'field_absent'), ({'at_28': -1.0}, 'field_absent')])
def test_an_imu_sample_that_cannot_be_is_dropped_with_the_reason(rig, changes, reason):
    node = rig.start()
    rig.samples(standing(T0, 1.5))
    bad = Sample(T0 + 300 * PERIOD).serialized(**changes)
    rig.send('imu', [bad])
    rig.samples(standing(T0 + 301 * PERIOD, 0.1))
    assert dict(node.diagnostics.drops) == {f'imu: {reason}': 1}
    stamps = [message.stamp_ns for message in rig.heard()]
    assert T0 + 300 * PERIOD not in stamps and stamps[-1] == T0 + 320 * PERIOD


def test_an_imu_message_of_no_frame_of_another_frame_of_bad_nanoseconds_or_garbled_is_dropped(rig):
    node = rig.start()
    rig.samples(standing(T0, 0.5))
    message = convert.imu_to_msg(T0 + 100 * PERIOD, 'imu_link', np.array([0, 0, 0, 0, 0, 9.8]))
    message.header.stamp.nanosec = 1_000_000_000
    rig.send('imu', [Sample(T0 + 100 * PERIOD, frame='').serialized(), serialize_message(message),
                     Sample(T0 + 100 * PERIOD, frame='other_imu').serialized()])
    assert dict(node.diagnostics.drops) == {'imu: empty_frame': 1, 'imu: bad_stamp': 1, 'imu: frame': 1}
    node._on_imu(b'\x00\x01\x00\x00garbled')        # no DDS writer of this type would send it
    assert node.diagnostics.drops['imu: garbled'] == 1


def test_an_absent_or_zero_orientation_does_not_matter_where_none_is_asked_for(rig):
    node = rig.start()
    absent, zero, undefined = {'at_4': -1.0}, {'at_4': 0.0, 'at_3': 0.0}, {'at_4': -1.0, 'at_0': NAN}
    for k, orientation in enumerate((absent, zero, undefined)):
        samples = standing(T0 + k * 100 * PERIOD, 0.5)
        rig.send('imu', (sample.serialized(**orientation) for sample in samples))
    assert not node.diagnostics.drops and rig.heard()[-1].stamp_ns == T0 + 299 * PERIOD


HUGE = COVARIANCE.copy()
HUGE[0, 0] = 2e9
INDEFINITE = COVARIANCE.copy()
INDEFINITE[0, 0] = -0.5
MISSING = COVARIANCE.copy()
MISSING[0, 0] = -1.0
TILTED = np.array([0, 0, 0, 0, 0, 0, 1 + 3e-4])
UNDEFINED = np.array([NAN, 0, 0, 0, 0, 0, 1])


@pytest.mark.parametrize('topic, make', [('pose', pose_message), ('odometry', odometry_message)])
def test_a_correction_that_cannot_be_is_dropped_with_the_reason(rig, topic, make):
    node = rig.start(init__mode='pose')
    rig.drive(T0, 1.5)
    stamp = T0 + 290 * PERIOD
    rig.send(topic, [
        make(stamp, UNDEFINED), make(stamp, TILTED), make(stamp, covariance=HUGE),
        make(stamp, covariance=INDEFINITE), make(stamp, covariance=MISSING), make(0)])
    assert dict(node.diagnostics.drops) == {
        f'{topic}: not_finite': 1, f'{topic}: bad_quaternion': 1, f'{topic}: bad_covariance': 2,
        f'{topic}: field_absent': 1, f'{topic}: zero_stamp': 1}
    rig.samples(circling(T0 + 300 * PERIOD, 0.1))
    np.testing.assert_allclose(rig.heard()[-1].values[:3], circle_pose(T0, T0 + 319 * PERIOD)[:3], atol=0.02)


def test_corrections_in_frames_that_do_not_fit_are_dropped_with_the_frames_named(rig, capfd):
    node = rig.start()
    rig.samples(standing(T0, 1.5))
    stamp = T0 + 290 * PERIOD
    rig.send('pose', [pose_message(stamp, frame='map'), pose_message(stamp, frame='')])
    rig.send('odometry', [odometry_message(stamp, child='lidar')])
    rig.until(lambda: len(node.diagnostics.drops) == 3, 'the time to wait for a transform is over')
    rig.answered()      # the log is written after the count
    assert dict(node.diagnostics.drops) == {
        'pose: frame': 1, 'pose: empty_frame': 1, 'odometry: frame': 1}
    log = capfd.readouterr().err
    assert "'map'" in log and "'odom'" in log and "'lidar'" in log and "'base_link'" in log


def test_a_covariance_of_zeros_is_unknown_and_the_parameter_takes_its_place(rig):
    covariances = []
    node = rig.start(init__mode='pose', pose_sigma=[0.05, 0.02])
    stated = np.diag([0.05 ** 2] * 3 + [0.02 ** 2] * 3)
    for begin, covariance in ((T0, stated), (T0 + 10 ** 12, np.zeros((6, 6)))):
        rig.corrected(circling(begin, 2.0), 'pose', lambda stamp, begin=begin, covariance=covariance:
                      pose_message(stamp, circle_pose(begin, stamp), covariance))
        covariances.append(rig.heard()[-1].values[7:43])
    assert not node.diagnostics.drops
    np.testing.assert_allclose(covariances[1], covariances[0], rtol=1e-3, atol=1e-8)


def test_an_accelerometer_in_g_is_recognized_in_the_static_window_and_told_once(rig, capfd):
    node = rig.start()
    rig.samples(standing(T0, 1.5, accel=(0.0, 0.0, 1.0)))
    newest = rig.heard()[-1]
    np.testing.assert_allclose(newest.values[:3], 0.0, atol=1e-3)
    assert not node.diagnostics.drops
    assert capfd.readouterr().err.count('reports in g') == 1


def test_an_output_that_is_not_finite_is_never_published(rig, monkeypatch):
    node = rig.start()
    rig.samples(standing(T0, 1.5))
    before = len(rig.heard())
    add = node.estimator.add_imu

    def spoilt(stamp_ns, sample, orientation):
        verdict = add(stamp_ns, sample, orientation)
        node.estimator.output.T_odom_base[0] = NAN
        return verdict

    monkeypatch.setattr(node.estimator, 'add_imu', spoilt)
    rig.samples(standing(T0 + 300 * PERIOD, 0.005))
    monkeypatch.setattr(node.estimator, 'add_imu', add)
    rig.samples(standing(T0 + 301 * PERIOD, 1.5))       # it begins anew, and all is well again
    assert node.diagnostics.drops['output: not_finite'] == 1
    messages = rig.heard()
    assert len(messages) > before and all(np.isfinite(message.values).all() for message in messages)
    assert T0 + 300 * PERIOD not in [message.stamp_ns for message in messages]


def test_in_mode_orientation_the_first_good_quaternion_of_the_imu_is_where_it_begins(rig):
    node = rig.start(init__mode='orientation', init__window=0.5)
    yawed = {'at_4': 0.0, 'at_2': np.sin(0.4), 'at_3': np.cos(0.4)}
    zero, long = {'at_4': 0.0, 'at_3': 0.0}, {**yawed, 'at_3': 1.1 * np.cos(0.4)}
    for k, orientation in enumerate((zero, long)):
        rig.send('imu', (s.serialized(**orientation) for s in standing(T0 + k * 100 * PERIOD, 0.5)))
        assert node.estimator.status.name == 'AWAITING_ORIENTATION' and not rig.heard()
    rig.told(lambda s: 'orientation' in s['message'], 'what is awaited')
    rig.send('imu', (s.serialized(**yawed) for s in standing(T0 + 200 * PERIOD, 0.5)))
    np.testing.assert_allclose(rig.heard()[-1].values[3:7], [0, 0, np.sin(0.4), np.cos(0.4)], atol=1e-3)
