"""The imu_preintegration node and a peer that feeds and hears it, in a DDS network of their own.

Node and peer are two DDS participants in two contexts. The peer sends recordings as fast as the node takes
them: stamps are the recording's, so nothing here waits for time to pass.
"""
import itertools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage

from pypose_ros import cdr, children, convert, qos

T0 = 1_700_000_000_000_000_000
PERIOD = 5_000_000                      # ns: an IMU of 200 Hz
G = 9.80665
IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
RADIUS, SPEED = 2.0, 1.0                # of the circle that the robot drives
_domains = itertools.cycle([1 + (os.getpid() + k) % 100 for k in range(100)])


def reserved_domain():
    """A ROS_DOMAIN_ID that no other test process uses, nor this one lately."""
    return children.reserved_domain(itertools.islice(_domains, 100))


@dataclass(frozen=True)
class Sample:
    """One IMU measurement as it goes on the wire."""
    stamp_ns: int
    gyro: tuple[float, ...] = (0.0, 0.0, 0.0)
    accel: tuple[float, ...] = (0.0, 0.0, G)
    frame: str = 'imu_link'

    def serialized(self, **changes) -> bytes:
        """`changes`: slices or indices of the 37 numbers (as keys `at_<start>`) to other values."""
        values = np.zeros(37)
        values[4] = -1.0                                        # no orientation
        values[3] = 1.0
        values[cdr.IMU_GYROSCOPE], values[cdr.IMU_ACCELEROMETER] = self.gyro, self.accel
        for key, value in changes.items():
            values[int(key.removeprefix('at_'))] = value
        return cdr.ImuWriter(self.frame)(self.stamp_ns, values)


def standing(begin_ns: int, seconds: float, **kwargs) -> list[Sample]:
    """An IMU at rest and level."""
    return [Sample(begin_ns + k * PERIOD, **kwargs) for k in range(round(seconds * 1e9 / PERIOD))]


def circling(begin_ns: int, seconds: float) -> list[Sample]:
    """A robot that drives in a circle to the left at constant speed, its x axis ahead."""
    gyro, accel = (0.0, 0.0, SPEED / RADIUS), (0.0, SPEED ** 2 / RADIUS, G)
    return [Sample(begin_ns + k * PERIOD, gyro, accel) for k in range(round(seconds * 1e9 / PERIOD))]


def circle_pose(begin_ns: int, stamp_ns: int) -> np.ndarray:
    """T_odom_base (7,) of `circling`, which begins at the origin, heading along x."""
    angle = SPEED / RADIUS * (stamp_ns - begin_ns) * 1e-9
    return np.array([RADIUS * np.sin(angle), RADIUS * (1 - np.cos(angle)), 0.0,
                     0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])


COVARIANCE = np.diag([1e-4] * 3 + [1e-5] * 3)


def pose_message(stamp_ns: int, pose=IDENTITY, covariance: np.ndarray = COVARIANCE,
                 frame: str = 'odom') -> bytes:
    return serialize_message(convert.pose_with_covariance_to_msg(stamp_ns, frame, pose, covariance))


def odometry_message(stamp_ns: int, pose=IDENTITY,
                     covariance: np.ndarray = COVARIANCE, child: str = 'base_link') -> bytes:
    return serialize_message(convert.odometry_to_msg(
        stamp_ns, 'lidar_odom', child, pose, covariance, np.zeros(6), np.zeros((6, 6))))


class Peer:
    """The rest of the robot: sends sensors' messages, keeps what it hears of the node.

    Args:
        domain: ROS_DOMAIN_ID.
    """

    def __init__(self, domain: int):
        self.context = rclpy.Context()
        self.context.init(domain_id=domain)
        self.node = rclpy.create_node('peer', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.odometry: list[cdr.Received] = []
        self.transforms: list = []
        self.diagnostics: list = []
        read = cdr.Reader(Odometry)
        hear, send = self.node.create_subscription, self.node.create_publisher
        hear(Odometry, 'odometry/imu', lambda data: self.odometry.append(read(data)), qos.SENSOR(5000),
             raw=True)
        hear(TFMessage, '/tf', lambda message: self.transforms.extend(message.transforms), qos.SENSOR(5000))
        hear(DiagnosticArray, '/diagnostics', lambda message: self.diagnostics.extend(message.status), 10)
        self.imu = send(Imu, 'imu/data_raw', 1000)
        self.pose = send(PoseWithCovarianceStamped, 'pose', 1000)
        self.odom = send(Odometry, 'odometry', 1000)
        self.static = send(TFMessage, '/tf_static', qos.LATCHED)

    def spin(self, seconds: float = 0.0) -> None:
        """Take what has arrived, and what arrives within `seconds`."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            # Always the same time: with another rclpy begins again at the first subscription, and later ones starve.
            self._executor.spin_once(timeout_sec=0.002)
            if left <= 0:
                return

    def until(self, condition: Callable[[], object], what: str, cap: float = 60.0) -> None:
        """Spin until `condition()`; the test fails where it does not come true."""
        end = time.monotonic() + cap
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f'not within {cap} s: {what}')
            self.spin(0.005)

    def play(self, samples: Iterable[Sample], until: Callable[[], object], what: str,
             correct: Callable[[int], bytes] | None = None) -> int:
        """Send samples to a node of another process until a condition holds; the stamp of the last one.

        By twenties, each with the pose that `correct(stamp_ns)` gives; after each the output has a moment to come,
        which keeps queues short. Of the first the node may hear nothing, since discovery is under way.
        """
        for k, sample in enumerate(samples):
            if k % 20 == 0 and correct is not None:
                self.pose.publish(correct(sample.stamp_ns))
            self.imu.publish(sample.serialized())
            if k % 20 == 19:
                end = time.monotonic() + 0.2
                while not self._reached(sample.stamp_ns) and time.monotonic() < end:
                    self.spin(0.002)
                if until():
                    return sample.stamp_ns
        pytest.fail(f'not within all samples: {what}')

    def _reached(self, stamp_ns: int) -> bool:
        return bool(self.odometry) and self.odometry[-1].stamp_ns >= stamp_ns

    def call(self, kind: type, name: str, request, cap: float = 60.0):
        """The response of one of the node's services."""
        client = self.node.create_client(kind, name)
        self.until(lambda: client.service_is_ready() and self._is_known(client), f'service {name}')
        future = client.call_async(request)
        self.until(future.done, f'answer of {name}', cap)
        self.node.destroy_client(client)
        return future.result()

    def _is_known(self, client) -> bool:
        """Whether the server knows the client; where that cannot be asked, it has 0.1 s from the request on."""
        return True

    def status(self) -> dict[str, str]:
        """The next diagnostics: level, message and values."""
        self.diagnostics.clear()
        self.until(lambda: self.diagnostics, 'diagnostics')
        status = self.diagnostics[-1]
        return {'level': status.level, 'message': status.message,
                **{pair.key: pair.value for pair in status.values}}

    def told(self, condition: Callable[[dict[str, str]], object], what: str) -> dict[str, str]:
        """The first diagnostics that fulfil a condition; those on their way may be older than what they are to tell."""
        found: dict[str, str] = {}

        def asked() -> object:
            nonlocal found
            found = self.status()
            return condition(found)

        self.until(asked, f'diagnostics tell: {what}')
        return found

    def stamps(self) -> list[int]:
        """Of the odometry heard so far."""
        return [message.stamp_ns for message in self.odometry]

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def acquainted(*nodes) -> bool:
    """Whether nodes know the same endpoints of each topic that connects them, and all of these are matched.

    Discovery tells of each endpoint and each direction by itself, and what is best effort is lost to a reader that the
    writer does not know yet, and by a reader that does not know the writer.
    """
    for node, peer in itertools.permutations(nodes, 2):
        heard = {subscription.topic_name: subscription for subscription in peer.subscriptions}
        for publisher in node.publishers:
            topic = publisher.topic_name
            if topic not in heard:
                continue
            if not publisher.get_subscription_count() or not heard[topic].get_publisher_count():
                return False
            ours, theirs = ({bytes(end.endpoint_gid) for end in (*each.get_publishers_info_by_topic(topic),
                                                                 *each.get_subscriptions_info_by_topic(topic))}
                            for each in (node, peer))
            if ours != theirs:      # what was destroyed is remembered for a while
                return False
    return True


class Host(Peer):
    """A Peer with the node under test in this process, in a participant and a thread of its own."""

    def __init__(self, domain: int):
        super().__init__(domain)
        self._domain = domain
        self.under_test = None

    def host(self, kind: type, params: dict, *, activate: bool = True, cli: Iterable[str] = ()):
        """Start the node with parameters (`init.mode` is written init__mode), once it and the peer know each other."""
        from pypose_ros.run import Spinner
        self.node_context = rclpy.Context()
        self.node_context.init(domain_id=self._domain)
        self.under_test = kind(
            context=self.node_context, cli_args=list(cli),
            parameter_overrides=[Parameter(k.replace('__', '.'), value=v) for k, v in params.items() if v is not None])
        self._spinner = Spinner(self.under_test, self.under_test.get_parameter('executor').value)
        configured = self.under_test.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if configured and activate:
            self.under_test.trigger_activate()
        self._spinner.start()
        self._state = self.node.create_client(GetState, f'{self.under_test.get_name()}/get_state')
        self.met()
        return self.under_test

    def met(self) -> None:
        """Wait until node and peer know all of each other's endpoints."""
        self.until(lambda: acquainted(self.node, self.under_test), 'node and peer find each other')
        self.until(lambda: self._state.service_is_ready() and self._is_known(self._state), 'the service get_state')

    def _is_known(self, client) -> bool:
        return self.under_test.count_clients(self.node.resolve_service_name(client.srv_name)) > 0

    def taken(self, topic: str) -> int:
        """Messages of a topic that the node has received."""
        return self.under_test.diagnostics.rate(topic).count

    def answered(self) -> None:
        """Wait until the callbacks of all that was `taken` have ended: they are counted where they begin."""
        future = self._state.call_async(GetState.Request())
        self.until(future.done, 'the node answers')

    def publish(self, publisher, topic: str, messages: Iterable) -> None:
        """Publish messages and return when the node is through with them; `topic` is their name in its diagnostics."""
        before = count = self.taken(topic)
        for message in messages:
            publisher.publish(message)
            count += 1
            if (count - before) % 20 == 0:
                self._settled(topic, count)
        self._settled(topic, count)
        self.answered()

    def _settled(self, topic: str, count: int) -> None:
        self.until(lambda: self.taken(topic) >= count, f'the node takes message {count} on {topic}')

    def stop(self) -> None:
        """End the node."""
        self._spinner.stop()
        self.under_test.destroy_node()
        self.node_context.try_shutdown()
        self.under_test = None

    def close(self) -> None:
        if self.under_test is not None:
            self.stop()
        super().close()


class Rig(Host):
    """imu_preintegration in this process."""

    def start(self, *, activate: bool = True, cli: Iterable[str] = (), **params):
        from pypose_ros.nodes.imu_preintegration import ImuPreintegration
        return self.host(ImuPreintegration, {'extrinsic_imu_to_base': IDENTITY, **params}, activate=activate, cli=cli)

    def send(self, topic: str, messages: Iterable[bytes]) -> None:
        """Send serialized messages on imu, pose or odometry; returns when the node has taken them all."""
        self.publish({'imu': self.imu, 'pose': self.pose, 'odometry': self.odom}[topic], topic, messages)

    def samples(self, samples: Iterable[Sample]) -> None:
        self.send('imu', (sample.serialized() for sample in samples))

    def solved(self) -> None:
        """Wait until no solve is under way."""
        estimator = self.under_test.estimator
        self.until(lambda: estimator._job is None or estimator._job.done, 'the solve ends')

    def drive(self, begin_ns: int, seconds: float, *, since_ns: int | None = None,
              topic: str = 'pose') -> None:
        """Drive the circle with a correction each 0.1 s. `since_ns`: where the circle began."""
        since_ns = begin_ns if since_ns is None else since_ns
        make = {'pose': pose_message, 'odometry': odometry_message}[topic]
        self.corrected(circling(begin_ns, seconds), topic,
                       lambda stamp_ns: make(stamp_ns, circle_pose(since_ns, stamp_ns)))

    def corrected(self, samples: list[Sample], topic: str, make: Callable[[int], bytes]) -> None:
        """Send samples, and at every twentieth the correction that `make(stamp_ns)` gives."""
        for k in range(0, len(samples), 20):
            self.samples(samples[k:k + 1])
            self.send(topic, [make(samples[k].stamp_ns)])
            self.solved()
            self.samples(samples[k + 1:k + 20])

    def heard(self) -> list[cdr.Received]:
        """The odometry, once all that the node published has arrived."""
        self.until(lambda: len(self.odometry) >= self.taken('output'), 'the output arrives')
        return self.odometry
