"""Transforms without tf2_ros: chains, stamps, static ones."""
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from pypose_ros import cdr, convert, tf

rng = np.random.default_rng(5)


def random_pose() -> np.ndarray:
    return np.concatenate((rng.normal(size=3), Rotation.random(random_state=rng.integers(1 << 30)).as_quat()))


def matrix(T: np.ndarray) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = Rotation.from_quat(T[3:]).as_matrix(), T[:3]
    return result


def message(*transforms: tuple[str, str, np.ndarray]) -> list[tuple[str, str, np.ndarray]]:
    """What a reader makes of the serialized message."""
    return cdr.read_transforms(serialize_message(
        TFMessage(transforms=[convert.transform_to_msg(10 ** 9 + 5, *t) for t in transforms])))


class Recorder:
    """Stands for the function that makes a publisher; keeps what is published."""

    def __init__(self):
        self.sent: list[TFMessage] = []
        self.topic = ''

    def __call__(self, kind: type, topic: str, profile):
        self.topic = topic
        return self

    def publish(self, data) -> None:
        self.sent.append(deserialize_message(data, TFMessage) if isinstance(data, bytes) else data)


def test_poses_compose_and_invert_as_matrices_do():
    a, b = random_pose(), random_pose()
    np.testing.assert_allclose(matrix(tf.compose(a, b)), matrix(a) @ matrix(b), atol=1e-12)
    np.testing.assert_allclose(matrix(tf.inverse(a)), np.linalg.inv(matrix(a)), atol=1e-12)


def test_poses_of_messages_are_read_only_and_compose_without_a_warning():
    T = random_pose()
    T.flags.writeable = False
    np.testing.assert_allclose(tf.compose(tf.inverse(T), T), [0, 0, 0, 0, 0, 0, 1], atol=1e-12)


def test_a_look_up_goes_up_and_down_the_tree():
    base_plate, plate_imu, base_mast, mast_camera = (random_pose() for _ in range(4))
    buffer = tf.TransformBuffer()
    assert buffer.insert(message(('base', 'plate', base_plate), ('plate', '/imu', plate_imu))) == []
    assert buffer.insert(message(('base', 'mast', base_mast), ('mast', 'camera', mast_camera))) == []
    np.testing.assert_allclose(matrix(buffer.lookup('base', 'imu')), matrix(base_plate) @ matrix(plate_imu),
                               atol=1e-12)
    want = np.linalg.inv(matrix(base_plate) @ matrix(plate_imu)) @ matrix(base_mast) @ matrix(mast_camera)
    np.testing.assert_allclose(matrix(buffer.lookup('imu', '/camera')), want, atol=1e-12)
    np.testing.assert_array_equal(buffer.lookup('imu', 'imu'), [0, 0, 0, 0, 0, 0, 1])


def test_a_look_up_that_fails_says_what_is_missing():
    buffer = tf.TransformBuffer()
    buffer.insert(message(('base', 'imu', random_pose()), ('map', 'odom', random_pose())))
    with pytest.raises(LookupError, match="'lidar' unknown"):
        buffer.lookup('base', 'lidar')
    with pytest.raises(LookupError, match='unconnected'):
        buffer.lookup('base', 'odom')
    buffer.clear()
    with pytest.raises(LookupError, match="'base' and 'imu' unknown"):
        buffer.lookup('base', 'imu')


def test_a_loop_in_the_tree_does_not_hang_a_look_up():
    buffer = tf.TransformBuffer()
    buffer.insert(message(('a', 'b', random_pose()), ('b', 'a', random_pose())))
    with pytest.raises(LookupError):
        buffer.lookup('c', 'a')


@pytest.mark.parametrize('parent, child, T, words', [
    ('a', 'b', np.full(7, np.nan), 'unit quaternion'), ('a', 'b', np.zeros(7), 'unit quaternion'),
    ('a', 'a', None, 'two different'), ('', 'b', None, 'two different')])
def test_a_transform_that_is_none_is_refused_with_a_sentence(parent, child, T, words):
    buffer = tf.TransformBuffer()
    (sentence,) = buffer.insert(message((parent, child, random_pose() if T is None else T)))
    assert words in sentence and not buffer.frames()


def test_a_broadcaster_sends_each_stamp_once_and_only_forward_until_it_is_reset():
    recorder = Recorder()
    broadcaster = tf.TransformBroadcaster(recorder, 'odom', 'base_link')
    T = random_pose()
    assert [broadcaster.send(stamp, T) for stamp in (10, 10, 9, 11)] == [True, False, False, True]
    broadcaster.reset()
    assert broadcaster.send(5, T) and broadcaster.suppressed == 2
    assert recorder.topic == '/tf' and len(recorder.sent) == 3
    np.testing.assert_array_equal(convert.transform_from_msg(recorder.sent[0].transforms[0].transform), T)


def test_an_inverted_broadcaster_swaps_the_frames_and_inverts():
    recorder, T = Recorder(), random_pose()
    tf.TransformBroadcaster(recorder, 'odom', 'base_link', inverted=True).send(1, T)
    (transform,) = recorder.sent[0].transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ('base_link', 'odom')
    np.testing.assert_allclose(matrix(convert.transform_from_msg(transform.transform)), np.linalg.inv(matrix(T)),
                               atol=1e-12)


def test_a_static_broadcaster_repeats_all_that_it_was_given():
    recorder = Recorder()
    broadcaster = tf.StaticTransformBroadcaster(recorder)
    first, second, third = (random_pose() for _ in range(3))
    broadcaster.send(0, 'base', 'imu', first)
    broadcaster.send(0, 'base', 'lidar', second)
    broadcaster.send(0, 'base', 'imu', third)
    assert recorder.topic == '/tf_static'
    children = {t.child_frame_id: convert.transform_from_msg(t.transform) for t in recorder.sent[-1].transforms}
    assert set(children) == {'imu', 'lidar'}
    np.testing.assert_array_equal(children['imu'], third)
