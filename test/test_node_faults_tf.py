"""The extrinsic: from TF once, from the parameter, never assumed."""
import time

import numpy as np
from node_rig import IDENTITY, PERIOD, T0, pose_message, standing
from rclpy.lifecycle import TransitionCallbackReturn
from tf2_msgs.msg import TFMessage

from pypose_ros import convert, diagnostics
from pypose_ros.qos import TF

UPRIGHT = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
ON_ITS_SIDE = np.array([0.0, 0.0, 0.2, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])     # 90 degrees about x


def static(parent: str, child: str, T: np.ndarray) -> TFMessage:
    return TFMessage(transforms=[convert.transform_to_msg(0, parent, child, T)])


def test_without_extrinsic_the_node_waits_says_so_and_begins_when_tf_has_it(rig):
    node = rig.start(extrinsic_imu_to_base=None)
    rig.samples(standing(T0, 1.5))
    status = rig.told(lambda s: 'base_link -> imu_link' in s['message'], 'what it waits for')
    assert status['level'] == diagnostics.WARN and 'extrinsic_imu_to_base' in status['message']
    assert node.estimator is None and not rig.heard()
    rig.static.publish(static('base_link', 'plate', UPRIGHT))
    rig.until(lambda: 'plate' in node._transforms.frames(), 'the first transform arrives')
    rig.samples(standing(T0 + 300 * PERIOD, 0.1))
    assert node.estimator is None                       # half of the chain is not enough
    rig.static.publish(static('plate', 'imu_link', ON_ITS_SIDE))
    rig.until(lambda: 'imu_link' in node._transforms.frames(), 'the second transform arrives')
    # The IMU lies on its side: gravity is along its y axis, and the base is level all the same.
    rig.samples(standing(T0 + 400 * PERIOD, 1.5, accel=(0.0, 9.80665, 0.0)))
    np.testing.assert_allclose(node.estimator.T_base_imu, [0.1, 0, 0.2, np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    np.testing.assert_allclose(rig.heard()[-1].values[3:7], [0, 0, 0, 1], atol=1e-6)
    rig.told(lambda s: 'waiting' not in s['message'], 'it waits no longer')


def test_the_extrinsic_is_looked_up_once(rig):
    node = rig.start(extrinsic_imu_to_base=None)
    rig.static.publish(static('base_link', 'imu_link', UPRIGHT))
    rig.until(lambda: 'imu_link' in node._transforms.frames(), 'the transform arrives')
    rig.samples(standing(T0, 1.2))
    rig.static.publish(static('base_link', 'imu_link', ON_ITS_SIDE))
    rig.until(lambda: node._transforms.lookup('base_link', 'imu_link')[2] == 0.2, 'the other arrives')
    rig.samples(standing(T0 + 240 * PERIOD, 0.1))
    np.testing.assert_array_equal(node.estimator.T_base_imu, UPRIGHT)


def test_an_extrinsic_that_is_no_pose_is_refused_at_configure_and_named(rig, capfd):
    node = rig.start(extrinsic_imu_to_base=[0.0] * 7)
    assert node.state == 'unconfigured'
    assert 'extrinsic_imu_to_base' in capfd.readouterr().err


def test_a_static_transform_that_is_no_pose_is_refused(rig):
    node = rig.start(extrinsic_imu_to_base=None)
    rig.static.publish(static('base_link', 'imu_link', np.full(7, np.nan)))
    rig.until(lambda: 'tf' in node.diagnostics._warned, 'the warning')
    rig.samples(standing(T0, 0.1))
    assert node.estimator is None


def test_poses_in_a_frame_that_a_static_transform_connects_are_used(rig):
    rig.start(init__mode='pose', odom_frame='odom')
    shifted = np.array([5.0, 0, 0, 0, 0, 0, 1])
    rig.static.publish(static('odom', 'mocap', shifted))
    node = rig.under_test
    rig.until(lambda: 'mocap' in node._transforms.frames(), 'the transform arrives')
    rig.corrected(standing(T0, 1.5), 'pose', lambda stamp: pose_message(stamp, frame='mocap'))
    np.testing.assert_allclose(rig.heard()[-1].values[:3], [5.0, 0, 0], atol=0.01)


def test_the_frames_of_the_outputs_are_the_parameters_and_tf_can_be_inverted(rig):
    rig.start(init__mode='pose', odom_frame='world', base_frame='robot', invert_tf=True,
              extrinsic_imu_to_base=list(IDENTITY))
    at = np.array([1.0, 2.0, 0, 0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    rig.corrected(standing(T0, 2.0), 'pose', lambda stamp: pose_message(stamp, at, frame='world'))
    message = rig.heard()[-1]
    assert (message.frame_id, message.child_frame_id) == ('world', 'robot')
    rig.until(lambda: rig.transforms, 'TF')
    transform = rig.transforms[-1]
    assert (transform.header.frame_id, transform.child_frame_id) == ('robot', 'world')
    np.testing.assert_allclose(convert.transform_from_msg(transform.transform),
                               [-2, 1, 0, 0, 0, -np.sqrt(0.5), np.sqrt(0.5)], atol=0.01)


def test_without_publish_tf_no_transform_is_sent_and_it_can_be_switched_while_running(rig):
    from rclpy.parameter import Parameter
    node = rig.start(publish_tf=False)
    rig.samples(standing(T0, 1.2))
    rig.heard()
    rig.spin(0.1)
    assert rig.odometry and not rig.transforms
    assert node.set_parameters([Parameter('publish_tf', value=True)])[0].successful
    rig.samples(standing(T0 + 240 * PERIOD, 0.1))
    rig.until(lambda: len(rig.transforms) == 20, 'twenty transforms')
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS


def test_a_correction_waits_for_its_transform_and_no_longer_than_tf_timeout(rig):
    node = rig.start(tf_timeout=10.0)
    rig.samples(standing(T0, 1.2))
    rig.send('pose', [pose_message(T0 + 200 * PERIOD, frame='mocap')])
    assert node.diagnostics.drops['pose: frame'] == 0 and not node.estimator.counters.get('pose: accepted')
    rig.static.publish(static('odom', 'mocap', UPRIGHT))
    rig.until(lambda: not len(node._patience), 'the correction is used')
    rig.answered()
    assert node.diagnostics.drops['pose: frame'] == 0
    rig.solved()
    rig.samples(standing(T0 + 240 * PERIOD, 0.1))
    assert rig.heard()[-1].values[0] > 0.01         # drawn to where the transform puts the pose: x = 0.1


def test_a_correction_whose_transform_never_comes_is_dropped_after_tf_timeout(rig):
    node = rig.start(tf_timeout=0.3)
    rig.samples(standing(T0, 1.2))
    sent = time.monotonic()
    rig.send('pose', [pose_message(T0 + 200 * PERIOD, frame='nowhere')])
    rig.until(lambda: node.diagnostics.drops['pose: frame'] == 1, 'it is dropped')
    assert not len(node._patience) and time.monotonic() - sent >= 0.3


def test_a_second_broadcaster_of_odom_to_base_is_an_error_that_names_it(rig, capfd):
    rig.start(init__mode='zero', correction_timeout=1000.0)
    rig.samples(standing(T0, 1.0))
    other = rig.node.create_publisher(TFMessage, '/tf', TF)
    foreign = TFMessage(transforms=[convert.transform_to_msg(T0 + 1, 'odom', 'base_link', UPRIGHT)])
    rig.until(lambda: other.publish(foreign) or rig.status()['level'] == diagnostics.ERROR, 'the diagnostics')
    message = rig.status()['message']
    assert '/peer' in message and 'UNKNOWN' not in message and 'publish_tf' in message
    assert capfd.readouterr().err.count('broadcasts odom -> base_link too') == 1


def test_transforms_of_others_and_our_own_are_no_fault(rig):
    node = rig.start(init__mode='zero', correction_timeout=1000.0)
    other = rig.node.create_publisher(TFMessage, '/tf', TF)
    rig.met()
    other.publish(TFMessage(transforms=[convert.transform_to_msg(T0 + 1, 'odom', 'trailer', UPRIGHT),
                                        convert.transform_to_msg(T0 + 1, 'base_link', 'wheel', UPRIGHT)]))
    rig.samples(standing(T0, 2.0))
    rig.until(lambda: {'trailer', 'wheel', 'base_link'} <= {t.child_frame_id for t in rig.transforms}, 'all transforms')
    rig.answered()
    assert not node._guard.problem
