"""Notices a second broadcaster of a transform that is ours: two of them make a robot jump to and fro."""
from collections.abc import Callable

from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage

from pypose_ros import qos
from pypose_ros.endpoints import UNKNOWN_NODE, Endpoints
from pypose_ros.tf import REMEMBERED, TransformBroadcaster

_PATIENCE = 20          # transforms of another broadcaster while discovery does not yet tell whose they are


class TransformGuard:
    """Looks on /tf, five times a second, for a broadcaster's transform with stamps that it did not send.

    Args:
        node: asked who publishes on /tf.
        endpoints: makes the subscription.
        report: called once, with a sentence.
        ours: the broadcaster.
    """

    def __init__(self, node, endpoints: Endpoints, report: Callable[[str], None], ours: TransformBroadcaster):
        self._node, self._frames, self._report, self._ours = node, ours.frames, report, ours
        self._child = ours.frames[1].encode() + b'\x00'
        self._unnamed = 0
        self.problem = ''
        endpoints.polled(TFMessage, '/tf', self._receive, qos.SENSOR(REMEMBERED // 2))

    def _receive(self, data: bytes) -> None:
        # One look decides about nearly all: messages without our child frame behind the first parent's name, which
        # begins at byte 20, and our own (the stamp of a message's first transform stands at byte 8).
        if not self._ours.recent or data.find(self._child, 21) < 0 or self._is_ours(
                int.from_bytes(data[8:12], 'little', signed=True), int.from_bytes(data[12:16], 'little')):
            return
        for transform in deserialize_message(data, TFMessage).transforms:
            frames = transform.header.frame_id.lstrip('/'), transform.child_frame_id.lstrip('/')
            stamp = transform.header.stamp
            if frames == self._frames and not self._is_ours(stamp.sec, stamp.nanosec) and not self.problem:
                self._tell()

    def _is_ours(self, sec: int, nanosec: int) -> bool:
        return sec * 10 ** 9 + nanosec in self._ours.recent

    def _tell(self) -> None:
        topic = self._node.resolve_topic_name('/tf')
        me = (self._node.get_namespace().rstrip('/'), self._node.get_name())
        others = {(peer.node_namespace.rstrip('/'), peer.node_name)
                  for peer in self._node.get_publishers_info_by_topic(topic)} - {me}
        known = sorted(f'{namespace}/{name}' for namespace, name in others if name != UNKNOWN_NODE)
        self._unnamed += 1
        if len(known) < len(others) and self._unnamed < _PATIENCE:
            return                      # the next transform asks again
        self.problem = (f'somebody else broadcasts {self._frames[0]} -> {self._frames[1]} too, one of: '
                        f'{", ".join(known) or "unknown"}. Set publish_tf: false there or here')
        self._report(self.problem)
