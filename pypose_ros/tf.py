"""Transforms on tf2_msgs/TFMessage without tf2_ros: broadcasting, listening, looking up.

tf2_ros is not on PyPI, and at IMU rate its Python broadcaster would cost more than the estimator. Topics
are `/tf` and `/tf_static` as in tf2_ros; a launch file remaps them where the robot is namespaced.
"""
from collections.abc import Callable, Iterable

import numpy as np
from tf2_msgs.msg import TFMessage

from pypose_core.online.correction import compose, inverse
from pypose_ros import cdr, convert, qos
from pypose_ros.endpoints import Endpoints

REMEMBERED = 400        # stamps of a broadcaster; more than are on their way at once


class TransformBroadcaster:
    """Broadcasts one transform T_frame_child on /tf, each stamp once.

    A stamp that is not later than the last is suppressed: tf2 warns about repeated data
    (TF_REPEATED_DATA) and a correction that arrives between two IMU samples must not cause it.

    Args:
        advertise: makes a publisher from (type, topic, profile).
        inverted: broadcast the same transform as T_child_frame, for a robot whose tree already has a
            parent above `child_frame_id`.
    """

    def __init__(self, advertise: Callable, frame_id: str, child_frame_id: str, *, inverted: bool = False):
        self._inverted = inverted
        self.frames = (child_frame_id, frame_id) if inverted else (frame_id, child_frame_id)
        self._write = cdr.TransformWriter(*self.frames)
        self._publisher = advertise(TFMessage, '/tf', qos.TF)
        self._last = -1
        self.suppressed = 0
        self.recent: dict[int, None] = {}
        """The last REMEMBERED stamps that went out, in order."""

    def send(self, stamp_ns: int, T_frame_child: np.ndarray) -> bool:
        """Broadcast a pose (7,); False where its stamp is not new."""
        if stamp_ns <= self._last:
            self.suppressed += 1
            return False
        self._last = stamp_ns
        self.recent[stamp_ns] = None
        if len(self.recent) > REMEMBERED:
            del self.recent[next(iter(self.recent))]
        transform = inverse(T_frame_child) if self._inverted else T_frame_child
        self._publisher.publish(self._write(stamp_ns, transform))
        return True

    def reset(self) -> None:
        """After a backward jump of the clock earlier stamps are new again."""
        self._last = -1


class StaticTransformBroadcaster:
    """Broadcasts transforms that never change on /tf_static; later ones add to or replace earlier ones."""

    def __init__(self, advertise: Callable):
        self._publisher = advertise(TFMessage, '/tf_static', qos.LATCHED)
        self._transforms: dict[str, object] = {}

    def send(self, stamp_ns: int, frame_id: str, child_frame_id: str, T_frame_child: np.ndarray) -> None:
        self._transforms[child_frame_id] = convert.transform_to_msg(
            stamp_ns, frame_id, child_frame_id, T_frame_child)
        self._publisher.publish(TFMessage(transforms=list(self._transforms.values())))


class TransformBuffer:
    """The newest transform of each frame to its parent, and look-ups through chains of them.

    Args:
        refresh: called before each look-up, to insert what has come since.
    """

    def __init__(self, refresh: Callable[[], None] = lambda: None):
        self._refresh = refresh
        self._parents: dict[str, tuple[str, np.ndarray]] = {}

    def insert(self, transforms: Iterable[tuple[str, str, np.ndarray]]) -> list[str]:
        """Take in (frame_id, child_frame_id, T_frame_child (7,)); a sentence for each that was refused."""
        refused = []
        for parent, child, T_parent_child in transforms:
            parent, child = parent.lstrip('/'), child.lstrip('/')
            # A comparison with NaN is false.
            if not (np.isfinite(T_parent_child).all() and abs(T_parent_child[3:].dot(T_parent_child[3:]) - 1) < 2e-4):
                refused.append(f'transform {parent} -> {child} is not finite with a unit quaternion')
            elif not parent or not child or parent == child:
                refused.append(f'transform {parent!r} -> {child!r} lacks two different frames')
            else:
                self._parents[child] = parent, T_parent_child
        return refused

    def clear(self) -> None:
        self._parents.clear()

    def frames(self) -> set[str]:
        return set(self._parents) | {parent for parent, _ in self._parents.values()}

    def lookup(self, target: str, source: str) -> np.ndarray:
        """T_target_source (7,) through as many transforms as it takes; LookupError says what is missing."""
        self._refresh()
        target, source = target.lstrip('/'), source.lstrip('/')
        to_target, to_source = self._ancestors(target), self._ancestors(source)
        common = next((frame for frame in to_source if frame in to_target), None)
        if common is None:
            known = self.frames()
            absent = [repr(frame) for frame in (target, source) if frame not in known]
            raise LookupError(f'frame {" and ".join(absent)} unknown' if absent
                              else f'{target!r} and {source!r} are in two unconnected trees')
        return compose(inverse(to_target[common]), to_source[common])

    def _ancestors(self, frame: str) -> dict[str, np.ndarray]:
        """T_ancestor_frame by ancestor, the frame itself first; a loop in the tree ends the walk."""
        T = np.array((0.0, 0, 0, 0, 0, 0, 1))
        found = {frame: T}
        while frame in self._parents:
            frame, T_parent_frame = self._parents[frame]
            if frame in found:
                break
            T = compose(T_parent_frame, T)
            found[frame] = T
        return found


class TransformListener:
    """Fills a TransformBuffer from /tf_static, and from /tf where `dynamic`.

    All of /tf comes far more often than something is looked up: it is taken then, and five times a second.

    Args:
        endpoints: makes the subscriptions.
        warn: called with a sentence for each refused transform.
    """

    def __init__(self, endpoints: Endpoints, *, warn: Callable[[str], None], dynamic: bool = False):
        self._warn = warn
        endpoints.subscription(TFMessage, '/tf_static', self._receive, qos.TF_STATIC, raw=True)
        self.buffer = TransformBuffer(
            endpoints.polled(TFMessage, '/tf', self._receive, qos.SENSOR(1000))) if dynamic else TransformBuffer()

    def _receive(self, data: bytes) -> None:
        try:
            refused = self.buffer.insert(cdr.read_transforms(data))
        except cdr.CdrError as error:
            refused = [str(error)]
        for sentence in refused:
            self._warn(sentence)
