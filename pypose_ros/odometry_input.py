"""Odometry on its way into a node: from a neighbour in the process or through the middleware, checked and placed."""
from collections import deque
from collections.abc import Callable

import numpy as np
from nav_msgs.msg import Odometry

from pypose_ros import cdr, qos
from pypose_ros.frames import Frames
from pypose_ros.intake import Intake, correction_fault
from pypose_ros.missing import Missing
from pypose_ros.patience import Patience


class OdometryInput:
    """An odometry input of a lifecycle node.

    Args:
        node: its parameter `odom_frame` is what messages must be in.
        frames: brings the pose to the node's base frame.
        patience: waits for a transform.
        use: called with (message, T_odom_base (7,), covariance (6, 6)).
        topic: its name; also in diagnostics.
        depth: messages that survive a pause of the process.
        polled: what a neighbour in the process sends waits until `poll`; for nodes that need it less often than it
            comes.
    """

    def __init__(self, node, frames: Frames, patience: Patience,
                 use: Callable[[cdr.Received, np.ndarray, np.ndarray], None], *, topic: str = 'odometry',
                 depth: int = 100, polled: bool = False):
        self._node, self._frames, self._patience, self._use, self._topic = node, frames, patience, use, topic
        self._read = Intake(topic, Odometry, correction_fault, node.diagnostics)
        self._missing = Missing()
        self._rate = node.diagnostics.rate(topic)
        self._box: deque[cdr.Received] = deque()
        channel = node.channel(topic)
        if channel is not None and channel.offered and polled:
            self._box = node.endpoints.collect(channel, 10 * depth)
        elif channel is not None and channel.offered:
            node.endpoints.listen(channel, self._hear)
        else:
            node.endpoints.subscription(Odometry, topic, self._receive, qos.SENSOR(depth), raw=True)

    def poll(self) -> None:
        """Take up what has been laid down since."""
        while self._box:
            self._hear(self._box.popleft())

    def _hear(self, message: cdr.Received) -> None:
        self._rate.tick()
        self._take(message)

    def _receive(self, data: bytes) -> None:
        message = self._read(data)
        if message is None:
            return
        if missing := self._missing.before(message.stamp_ns):
            self._node.diagnostics.drop(
                f'{self._topic}: missing', f'{self._topic}: {missing} messages seem to be missing before stamp '
                f'{message.stamp_ns}: the queue of the subscription ran over, or the source paused', missing)
        self._take(message)

    def _take(self, message: cdr.Received) -> None:
        drop, wanted, topic = self._node.diagnostics.drop, self._node.params.odom_frame, self._topic
        if message.frame_id.lstrip('/') != wanted:
            drop(f'{topic}: frame', f'{topic} dropped: it is in frame {message.frame_id!r}, odom_frame is {wanted!r}')
            return
        self._patience.attempt(lambda: self._use(message, *self._frames.relative(message)),
                               lambda error: drop(f'{topic}: frame', f'{topic} dropped: {error}'))
