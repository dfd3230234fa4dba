"""Validation: a sound bag gives no complaint; each constructed fault gives its own finding with advice."""
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pypose_ros.bag import BagError, BagWriter, messages
from pypose_ros.bag.synthetic import FlightConfig, fly, write_flight
from pypose_ros.bag.validate import validate_bag

FLIGHT = fly(FlightConfig(duration=12.0))
T0 = int(FLIGHT.stamps_ns[0])


def write_imu(path, stamps=None, samples=None, *, logs=None, edit=lambda k, m: m, corrections=True):
    """The flight's IMU as a bag, with whatever is wrong with it."""
    stamps = FLIGHT.stamps_ns if stamps is None else stamps
    samples = FLIGHT.imu if samples is None else samples
    logs = stamps if logs is None else logs
    with BagWriter(path) as bag:
        if corrections:
            for k in range(0, 1200, 10):
                bag.write('/odom', T0 + k * 10_000_000, messages.odometry(
                    T0 + k * 10_000_000, 'odom', 'base_link', [0, 0, 0, 0, 0, 0, 1], np.zeros(6),
                    np.eye(6) * 0.01, np.eye(6)))
            bag.write('/tf_static', T0, messages.static_transform(T0, 'base_link', 'imu', np.eye(7)[6]))
        for k, (stamp, log) in enumerate(zip(stamps.tolist(), np.asarray(logs).tolist())):
            bag.write('/imu', log, edit(k, messages.imu(stamp, 'imu', samples[k], (1e-4, 1e-2))))
    return path


def codes(report, level=None):
    return {finding.code for finding in report.findings if level in (None, finding.level)}


def finding(report, code):
    found = next(f for f in report.findings if f.code == code)
    assert '\n' not in found.message
    return found


def test_a_sound_flight_gives_no_complaint(tmp_path):
    write_flight(tmp_path / 'a.mcap', FlightConfig(duration=12.0))
    report = validate_bag(tmp_path / 'a.mcap')
    assert report.ok and not codes(report, 'error') and not codes(report, 'warning')
    topic = {t.topic: t for t in report.topics}['/imu/data_raw']
    assert topic.rate == pytest.approx(200) and topic.count == 2401
    assert topic.largest_gap == pytest.approx(0.005) and topic.jitter == pytest.approx(0, abs=1e-9)
    data = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert data['ok'] and len(data['topics']) == 5
    assert '200.00' in report.text() and '0 errors, 0 warnings' in report.text()


def test_an_accelerometer_in_g_is_an_error(tmp_path):
    samples = FLIGHT.imu / [1, 1, 1, 9.80665, 9.80665, 9.80665]
    report = validate_bag(write_imu(tmp_path / 'a.mcap', samples=samples))
    assert not report.ok and '9.80665' in finding(report, 'accelerometer_in_g').advice


def test_an_accelerometer_without_gravity_is_an_error(tmp_path):
    rotations = Rotation.from_quat(FLIGHT.truth.poses[:, 3:])
    samples = FLIGHT.imu.copy()
    samples[:, 3:] -= rotations.inv().apply([0, 0, 9.80665])
    assert not validate_bag(write_imu(tmp_path / 'a.mcap', samples=samples)).ok
    assert 'gravity_removed' in codes(validate_bag(tmp_path / 'a.mcap'))


def test_a_wrong_gravity_is_a_warning(tmp_path):
    samples = FLIGHT.imu * [1, 1, 1, 1.15, 1.15, 1.15]
    report = validate_bag(write_imu(tmp_path / 'a.mcap', samples=samples))
    assert finding(report, 'gravity_magnitude').level == 'warning'


@pytest.mark.parametrize('orientation', [False, True])
def test_a_gyroscope_in_degrees_is_an_error(tmp_path, orientation):
    def edit(k, m):
        if orientation:
            x, y, z, w = FLIGHT.truth.poses[k, 3:].tolist()
            m.orientation.x, m.orientation.y, m.orientation.z, m.orientation.w = x, y, z, w
            m.orientation_covariance[:] = np.diag([0.01] * 3).ravel()
        return m

    samples = FLIGHT.imu * [*[57.29578] * 3, 1, 1, 1]
    report = validate_bag(write_imu(tmp_path / 'degrees.mcap', samples=samples, edit=edit))
    assert 'degrees/s' in finding(report, 'gyroscope_in_degrees').message and not report.ok
    assert 'gyroscope_in_degrees' not in codes(validate_bag(write_imu(tmp_path / 'radians.mcap', edit=edit)))


def test_a_few_impossible_rates_are_spikes_not_degrees(tmp_path):
    samples = FLIGHT.imu.copy()
    samples[[300, 900], 0] = 60
    report = validate_bag(write_imu(tmp_path / 'a.mcap', samples=samples))
    assert report.ok and '2 samples' in finding(report, 'gyroscope_spikes').message


def test_a_silent_gyroscope_is_an_error(tmp_path):
    assert 'gyroscope_silent' in codes(validate_bag(write_imu(
        tmp_path / 'a.mcap', samples=FLIGHT.imu * [0, 0, 0, 1, 1, 1])), 'error')


def test_zero_repeated_and_backward_stamps_are_found(tmp_path):
    stamps = FLIGHT.stamps_ns.copy()
    stamps[10] = 0
    stamps[20] = stamps[19]
    stamps[30], stamps[31] = stamps[31], stamps[30]
    report = validate_bag(write_imu(tmp_path / 'a.mcap', stamps, logs=FLIGHT.stamps_ns))
    assert '1 of 2401' in finding(report, 'stamp_zero').message
    assert finding(report, 'stamp_repeated').message.startswith('1 stamps repeat')
    assert 'stamp_backward' in codes(report)


def test_a_looping_bag_is_an_error(tmp_path):
    logs = np.concatenate([FLIGHT.stamps_ns, FLIGHT.stamps_ns + 20_000_000_000])
    twice = np.tile(FLIGHT.stamps_ns, 2), np.tile(FLIGHT.imu, (2, 1))
    report = validate_bag(write_imu(tmp_path / 'a.mcap', *twice, logs=logs))
    assert finding(report, 'stamp_backward').level == 'error' and not report.ok
    assert 'looped' in finding(report, 'stamp_backward').advice


def test_gaps_losses_and_jitter_are_found(tmp_path):
    rng = np.random.default_rng(0)
    keep = np.ones(len(FLIGHT.stamps_ns), bool)
    keep[1000:1050] = False
    report = validate_bag(write_imu(tmp_path / 'gap.mcap', FLIGHT.stamps_ns[keep], FLIGHT.imu[keep]))
    assert '0.255 s' in finding(report, 'gap').message
    assert 'about 50 samples' in finding(report, 'lost').message
    jittered = FLIGHT.stamps_ns + rng.integers(-1_900_000, 1_900_000, len(FLIGHT.stamps_ns))
    assert 'jitter' in codes(validate_bag(write_imu(tmp_path / 'jitter.mcap', jittered)), 'warning')
    slow = slice(None, None, 10)
    report = validate_bag(write_imu(tmp_path / 'slow.mcap', FLIGHT.stamps_ns[slow], FLIGHT.imu[slow]))
    assert 'rate_low' in codes(report, 'warning')


def test_clocks_that_disagree_are_found(tmp_path):
    stamps = FLIGHT.stamps_ns
    assert 'clock_offset' in codes(validate_bag(write_imu(tmp_path / 'a.mcap', logs=stamps + 5_000_000_000)))
    assert 'stamp_future' in codes(validate_bag(write_imu(tmp_path / 'b.mcap', logs=stamps - 50_000_000)))
    drifting = stamps + (0.001 * (stamps - T0)).astype(np.int64)
    assert '1.00 ms/s' in finding(validate_bag(write_imu(tmp_path / 'c.mcap', logs=drifting)),
                                  'clock_drift').message


def test_faulty_frames_are_found(tmp_path):
    def edit(k, m):
        m.header.frame_id = ('', '/imu', 'imu')[k % 3]
        return m

    report = validate_bag(write_imu(tmp_path / 'a.mcap', edit=edit))
    assert {'frame_empty', 'frame_changes'} <= codes(report, 'error')
    assert 'frame_slash' in codes(report, 'info')


def test_nan_is_an_error_that_names_the_message(tmp_path):
    samples = FLIGHT.imu.copy()
    samples[123, 4] = np.nan
    report = validate_bag(write_imu(tmp_path / 'a.mcap', samples=samples))
    assert 'message 123' in finding(report, 'not_finite').message and not report.ok


def test_covariances_that_cannot_be_are_found(tmp_path):
    def negative(k, m):
        m.angular_velocity_covariance[4] = -1e-4
        return m

    def huge(k, m):
        m.linear_acceleration_covariance[0] = 1e12
        return m

    def unknown(k, m):
        m.angular_velocity_covariance[:] = 0
        return m

    def skew(k, m):
        m.angular_velocity_covariance[1] = 5e-5
        return m

    assert 'covariance_angular' in codes(validate_bag(write_imu(tmp_path / 'a.mcap', edit=negative)), 'error')
    assert 'covariance_linear' in codes(validate_bag(write_imu(tmp_path / 'b.mcap', edit=huge)), 'warning')
    assert 'covariance_unknown' in codes(validate_bag(write_imu(tmp_path / 'c.mcap', edit=unknown)), 'info')
    assert 'covariance_angular' in codes(validate_bag(write_imu(tmp_path / 'd.mcap', edit=skew)), 'warning')


def test_quaternions_off_unit_are_found(tmp_path):
    def off(k, m):
        m.orientation.w = 1.01
        m.orientation_covariance[:] = 0
        return m

    def zero(k, m):
        m.orientation.w = 0.0
        m.orientation_covariance[:] = 0
        return m

    assert 'quaternion_norm' in codes(validate_bag(write_imu(tmp_path / 'a.mcap', edit=off)), 'warning')
    assert 'quaternion_zero' in codes(validate_bag(write_imu(tmp_path / 'b.mcap', edit=zero)), 'warning')


def test_odometry_that_jumps_or_names_one_frame_twice_is_found(tmp_path):
    with BagWriter(tmp_path / 'a.mcap') as bag:
        for k in range(50):
            bag.write('/odom', k * 10 ** 8, messages.odometry(
                k * 10 ** 8, 'odom', 'odom', [100.0 * (k > 20), 0, 0, 0, 0, 0, 1], np.zeros(6)))
    report = validate_bag(tmp_path / 'a.mcap')
    assert '100.00 m' in finding(report, 'jump').message and 'frame_self' in codes(report, 'error')
    assert {'no_imu', 'covariance_unknown'} <= codes(report)


def test_an_empty_bag_is_an_error_and_missing_corrections_are_told(tmp_path):
    with BagWriter(tmp_path / 'a.mcap'):
        pass
    assert codes(validate_bag(tmp_path / 'a.mcap'), 'error') == {'empty'}
    report = validate_bag(write_imu(tmp_path / 'b.mcap', corrections=False))
    assert {'no_corrections', 'no_tf'} <= codes(report, 'info')
    with pytest.raises(BagError):
        validate_bag(tmp_path / 'absent')


@pytest.mark.parametrize('name, errors, expected', [
    ('evo_nav2_turtlebot.mcap', 0, {'no_imu', 'clock_offset', 'gap'}),
    ('imu_tools_sparkfun_razor.bag', 0, {'gyroscope_spikes', 'frame_slash'}),
    ('macfirst_floor_take_2', 0, {'no_imu'}),
    ('robot_localization_test1_husky.bag', 0, {'rate_low'}),
    ('robot_localization_test2_jackal.bag', 0, {'gravity_magnitude'}),
])
def test_real_recordings_are_judged(data, name, errors, expected):
    report = validate_bag(data / 'bags' / name)
    assert len(codes(report, 'error')) == errors and expected <= codes(report)
    assert report.text() and json.dumps(report.as_dict(), allow_nan=False)
