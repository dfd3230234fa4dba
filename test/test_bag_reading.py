"""Bags: every format reads alike; what is damaged is refused in one line; writing is whole or not at all."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pypose_ros.bag import BagError, BagReader, BagWriter, messages
from pypose_ros.bag.recording import read_series
from pypose_ros.bag.synthetic import FlightConfig, write_flight
from pypose_ros.bag.types import OURS, typestore

TOPICS = ['/imu/data_raw', '/pose', '/ground_truth/odometry', '/ground_truth/bias']


@pytest.fixture(scope='module')
def flight(tmp_path_factory):
    path = tmp_path_factory.mktemp('flight') / 'flight.mcap'
    return path, write_flight(path, FlightConfig(duration=2.5))


def read_all(path):
    with BagReader(path) as bag:
        series = read_series(bag, [topic.name for topic in bag.topics if 'tf' not in topic.name])
        for message in bag.messages():
            stamp = bag.stamp_ns(message)
            assert stamp is None or stamp == bag.decode(message).header.stamp.sec * 10 ** 9 + bag.decode(
                message).header.stamp.nanosec
        return series


def test_what_was_written_is_read(flight):
    path, made = flight
    series = read_all(path)
    assert sorted(series) == sorted(TOPICS)
    imu, truth = series['/imu/data_raw'], series['/ground_truth/odometry']
    assert (imu.stamps_ns == made.stamps_ns).all() and imu.frames == ['imu_link']
    np.testing.assert_array_equal(imu.samples, made.imu)
    np.testing.assert_array_equal(truth.poses, made.truth.poses)
    np.testing.assert_array_equal(truth.twists[:, 3:], made.truth.angular_velocity)
    np.testing.assert_array_equal(series['/pose'].covariances[0], made.correction_covariance)
    np.testing.assert_array_equal(series['/pose'].log_ns, made.correction_log_ns)
    np.testing.assert_array_equal(series['/ground_truth/bias'].biases, made.bias[::10])
    assert not imu.has_orientation


@pytest.mark.parametrize('plugin', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_folders_files_and_both_storages_read_alike(flight, tmp_path, plugin):
    path, made = flight
    with BagReader(path) as bag, Writer(tmp_path / 'copy', version=9, storage_plugin=plugin) as out:
        connections = {topic.name: out.add_connection(topic.name, topic.msgtype, typestore=typestore())
                       for topic in bag.topics}
        for message in bag.messages():
            out.write(connections[message.topic], message.log_ns, message.raw)
    file = next(p for p in (tmp_path / 'copy').iterdir() if p.suffix in ('.mcap', '.db3'))
    for copy in (tmp_path / 'copy', file):
        np.testing.assert_array_equal(read_all(copy)['/imu/data_raw'].samples, made.imu)


def test_ros1_reads_like_ros2(flight, tmp_path):
    path, made = flight
    store = get_typestore(Stores.ROS1_NOETIC)
    imu, header, time = (store.types[name] for name in (
        'sensor_msgs/msg/Imu', 'std_msgs/msg/Header', 'builtin_interfaces/msg/Time'))
    with BagReader(path) as bag, Writer1(tmp_path / 'ros1.bag') as out:
        connection = out.add_connection('/imu/data_raw', 'sensor_msgs/msg/Imu', typestore=store)
        for k, message in enumerate(bag.messages(['/imu/data_raw'])):
            m = bag.decode(message)
            stamp = time(m.header.stamp.sec, m.header.stamp.nanosec)
            fields = {name: getattr(m, name) for name in m.__dataclass_fields__ if not name.startswith('__')}
            fields['header'] = header(k, stamp, m.header.frame_id)
            raw = store.serialize_ros1(imu(**fields), 'sensor_msgs/msg/Imu')
            out.write(connection, message.log_ns, raw)
    series = read_all(tmp_path / 'ros1.bag')['/imu/data_raw']
    np.testing.assert_array_equal(series.samples, made.imu)
    assert (series.stamps_ns == made.stamps_ns).all()


def test_our_own_types_are_those_of_the_generated_messages():
    import rclpy.serialization

    from pypose_ros import msg
    for name in OURS:
        full = f'pypose_ros/msg/{name}'
        kind = getattr(msg, name)
        matrix = next(name for name in ('covariance', 'information') if hasattr(kind(), name))
        sent = kind(**{matrix: np.arange(len(getattr(kind(), matrix)), dtype=float)})
        sent.header.frame_id, sent.header.stamp.nanosec = 'imu', 7
        decoded = typestore().deserialize_cdr(rclpy.serialization.serialize_message(sent), full)
        again = rclpy.serialization.deserialize_message(bytes(typestore().serialize_cdr(decoded, full)), kind)
        assert again == sent and decoded.header.stamp.nanosec == 7
        assert typestore().hash_rihs01(full) == type_hash(kind)


def type_hash(kind) -> str:
    """The hash that the generator gave the type, from the description it installed."""
    description = Path(sys.prefix, 'share/pypose_ros/msg', f'{kind.__name__}.json')
    return json.loads(description.read_text())['type_hashes'][0]['hash_string']


def test_a_bag_plays_twice_alike(flight):
    with BagReader(flight[0]) as bag:
        first, second = ([(m.topic, m.log_ns, bytes(m.raw)) for m in bag.messages()] for _ in range(2))
    assert first == second and len(first) > 1000


@pytest.fixture(scope='module')
def damaged(flight, tmp_path_factory):
    """The same recording in the three formats, as bytes: what the next tests cut and spoil."""
    folder = tmp_path_factory.mktemp('whole')
    store = get_typestore(Stores.ROS1_NOETIC)
    text = store.types['std_msgs/msg/String']
    with Writer1(folder / 'a.bag') as out:
        connection = out.add_connection('/text', 'std_msgs/msg/String', typestore=store)
        for k in range(200):
            raw = store.serialize_ros1(text(f'{k}' * 40), 'std_msgs/msg/String')
            out.write(connection, k * 10 ** 9, raw)
    for suffix, plugin in (('db3', StoragePlugin.SQLITE3), ('mcap', StoragePlugin.MCAP)):
        with Writer(folder / suffix, version=9, storage_plugin=plugin) as out:
            connection = out.add_connection('/imu', 'sensor_msgs/msg/Imu', typestore=typestore())
            for k in range(200):
                m = messages.imu(k * 10 ** 7, 'imu', np.arange(6.0), (0, 0))
                out.write(connection, k * 10 ** 7, typestore().serialize_cdr(m, 'sensor_msgs/msg/Imu'))
    return {'.bag': (folder / 'a.bag').read_bytes(),
            '.db3': next((folder / 'db3').glob('*.db3')).read_bytes(),
            '.mcap': next((folder / 'mcap').glob('*.mcap')).read_bytes()}


def refused(path) -> str:
    with pytest.raises(BagError) as caught, BagReader(path) as bag:
        for message in bag.messages():
            bag.decode(message)
    text = str(caught.value)
    assert str(path) in text and '\n' not in text
    return text


@pytest.mark.parametrize('suffix', ['.bag', '.mcap', '.db3'])
@pytest.mark.parametrize('share', [0.0005, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_bag_is_refused_in_one_line(damaged, tmp_path, suffix, share):
    whole = damaged[suffix]
    (tmp_path / f'cut{suffix}').write_bytes(whole[:max(int(share * len(whole)), 1)])
    refused(tmp_path / f'cut{suffix}')


@pytest.mark.parametrize('suffix', ['.bag', '.mcap', '.db3'])
def test_an_undamaged_bag_is_not_refused(damaged, tmp_path, suffix):
    (tmp_path / f'whole{suffix}').write_bytes(damaged[suffix])
    with BagReader(tmp_path / f'whole{suffix}') as bag:
        assert len([bag.decode(message) for message in bag.messages()]) == 200


@pytest.mark.filterwarnings('ignore:Generating overly large repr')     # it would stand in for what went wrong
@example(position=0.0002, data=b'\x01', suffix='.mcap')      # the length of a record: 2^48 bytes
@given(position=st.floats(0, 1), data=st.binary(min_size=1, max_size=64), suffix=st.sampled_from(
    ['.bag', '.mcap', '.db3']))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_spoiled_bag_is_read_or_refused_never_a_crash(damaged, tmp_path, position, data, suffix):
    whole = bytearray(damaged[suffix])
    start = int(position * (len(whole) - len(data)))
    whole[start:start + len(data)] = data
    path = tmp_path / f'spoiled{suffix}'
    path.write_bytes(whole)
    try:
        with BagReader(path) as bag:
            assert bag.topics is not None
            for message in bag.messages():
                bag.stamp_ns(message)
                bag.decode(message)
    except BagError as error:
        assert str(path) in str(error) and '\n' not in str(error)


@pytest.mark.parametrize('name, content, reason', [
    ('picture.mcap', b'\x89PNG\r\n\x1a\n' + bytes(100), 'not a bag'),
    ('text.bag', b'hello world, this is no bag', 'not a bag'),
    ('empty.mcap', b'', 'empty'),
    ('empty.bag', b'', 'empty'),
    ('named.bag', b'\x89MCAP0\r\n' + bytes(50), 'rename it to end in .mcap'),
    ('named.mcap', b'SQLite format 3\x00' + bytes(50), 'rename it to end in .db3'),
])
def test_a_foreign_file_is_refused_with_the_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert reason in refused(tmp_path / name)


def test_a_missing_bag_and_a_folder_without_metadata_are_refused(flight, tmp_path):
    assert 'no such' in refused(tmp_path / 'absent.mcap')
    shutil.copy(flight[0], tmp_path / 'a.mcap')
    assert 'metadata.yaml' in refused(tmp_path)
    (tmp_path / 'metadata.yaml').write_text('rosbag2_bagfile_information: {version: 9}\n')
    refused(tmp_path)
    (tmp_path / 'metadata.yaml').write_text('- nonsense: [')
    refused(tmp_path)


def test_reading_an_absent_topic_or_type_names_what_there_is(flight):
    with BagReader(flight[0]) as bag:
        with pytest.raises(BagError, match=r'no topic /imu; it has .*/imu/data_raw'):
            read_series(bag, ['/imu'])
        with pytest.raises(BagError, match='tf2_msgs'):
            read_series(bag, ['/tf_static'])


@pytest.mark.parametrize('name', ['out.mcap', 'out'])
def test_nothing_is_left_of_writing_that_failed(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(RuntimeError), BagWriter(path) as bag:
        bag.write('/a', 0, messages.imu_bias(0, 'imu', np.zeros(6)))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with BagWriter(path) as bag:
        bag.write('/a', 0, messages.imu_bias(0, 'imu', np.zeros(6)))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    before = sorted((p, p.read_bytes()) for p in tmp_path.rglob('*') if p.is_file())
    with pytest.raises(BagError, match='exists'), BagWriter(path):
        pass
    with pytest.raises(RuntimeError), BagWriter(path, overwrite=True) as bag:
        bag.write('/b', 0, messages.imu_bias(0, 'imu', np.zeros(6)))
        raise RuntimeError
    assert sorted((p, p.read_bytes()) for p in tmp_path.rglob('*') if p.is_file()) == before
    with BagWriter(path, overwrite=True) as bag:
        bag.write('/b', 0, messages.imu_bias(0, 'imu', np.zeros(6)))
    with BagReader(path) as bag:
        assert [topic.name for topic in bag.topics] == ['/b']


@pytest.mark.parametrize('name, topics', [
    ('evo_nav2_turtlebot.mcap', {'/odom': 2639, '/amcl_pose': 135}),
    ('imu_tools_sparkfun_razor.bag', {'/imu/data_raw': 2144}),
    ('macfirst_floor_take_2', {'/odom': 920}),
    ('robot_localization_test1_husky.bag', {'/imu/data': 11865}),
    ('robot_localization_test2_jackal.bag', {'/imu/data': 3061, '/jackal_velocity_controller/odom': 3060}),
])
def test_real_recordings_are_read(data, name, topics):
    with BagReader(data / 'bags' / name) as bag:
        for topic, series in read_series(bag, topics).items():
            assert len(series.stamps_ns) == topics[topic] and (np.diff(series.log_ns) >= 0).all()
