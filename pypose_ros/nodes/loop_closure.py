"""loop_closure: finds loops in laser scans and point clouds and tells pose_graph of them.

Around `pypose_core.online.loop_detector.LoopDetector`, which runs in a worker: laying scans over each other takes
longer than the time between two of them.
"""
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import LaserScan, PointCloud2
from std_srvs.srv import Trigger

from pypose_core.online.back_end.odometry import OdometryBuffer
from pypose_core.online.correction import check_pose, rotation_matrix
from pypose_core.online.edge_models import load_loop_model
from pypose_core.online.loop_detector import Candidate, LoopDetector
from pypose_ros import cdr, convert, diagnostics, qos, scans, tf
from pypose_ros.configured import Configured
from pypose_ros.frames import Frames
from pypose_ros.lifecycle import LifecycleNode
from pypose_ros.msg import LoopClosureEvent, PoseGraphEdge
from pypose_ros.nodes.loop_closure_params import NODE_NAME, LoopClosureParams, detector_config
from pypose_ros.odometry_input import OdometryInput
from pypose_ros.patience import PATIENCE_PERIOD, Patience
from pypose_ros.run import run
from pypose_ros.worker import Worker

TOLERANCE_NS = 100_000_000      # between a scan and the odometry nearest to it
BACKWARD_JUMP_NS = 10 ** 9      # of odometry's clock, beyond which everything begins anew


@dataclass
class Job:
    """A call in the worker and its result, for the callbacks to take up."""
    call: Callable[[], object]
    ended: deque = field(repr=False)

    def run(self) -> None:
        found: object = None
        try:
            found = self.call()
        finally:
            self.ended.append(found)


class LoopClosureNode(LifecycleNode[LoopClosureParams]):
    """See docs/nodes/loop_closure.md."""

    detector = Configured[LoopDetector]()
    _worker = Configured[Worker]()

    def __init__(self, **kwargs):
        super().__init__(NODE_NAME, LoopClosureParams, **kwargs)

    def check(self, params: LoopClosureParams) -> None:
        if params.odom_frame == params.base_frame:
            raise ValueError(f'odom_frame and base_frame are both {params.odom_frame!r}')

    def configure(self) -> None:
        ends, params = self.endpoints, self.params
        verifier = load_loop_model(params.verifier, params.verifier_class) if params.verifier else None
        self.detector = LoopDetector(detector_config(params), verifier)
        self._worker = Worker(self.get_logger(), name='matcher')
        self._transforms = tf.TransformListener(
            ends, warn=lambda sentence: self.diagnostics.warn('tf', sentence)).buffer
        self._frames = Frames(self._transforms, params.odom_frame, params.base_frame)
        self._patience = Patience(params.tf_timeout)
        ends.timer(PATIENCE_PERIOD, self._patience.retry)
        self._buffer = OdometryBuffer()
        self._waiting: deque[tuple[int, np.ndarray, bool]] = deque()
        self._results: deque[list[Candidate]] = deque()
        self._queued = 0
        self._edges = ends.publisher(PoseGraphEdge, 'loop_closure', qos.EVENTS)
        self._refused = ends.publisher(LoopClosureEvent, '~/refused', qos.EVENTS)
        ends.timer(0.05, self._publish)
        ends.service(Trigger, '~/reset', self._reset)
        ends.subscription(Path, 'path', self._on_path, qos.LATCHED, raw=True)
        self._odometry = OdometryInput(self, self._frames, self._patience, self._use_odometry, polled=True)
        ends.subscription(LaserScan, 'scan', lambda message: self._on_cloud(
            'scan', message, lambda: scans.points_of_scan(message), planar=True), qos.SENSOR(10))
        ends.subscription(PointCloud2, 'points', self._on_points, qos.SENSOR(5), raw=True)

    def cleanup(self) -> None:
        if LoopClosureNode._worker.present(self):
            self._worker.stop()
        self._worker = self.detector = None

    # --- inputs ----------------------------------------------------------------------------------

    def _use_odometry(self, message: cdr.Received, pose: np.ndarray, _covariance: np.ndarray) -> None:
        if not check_pose(pose).accepted:
            self.diagnostics.drop('odometry: not_finite', 'odometry dropped: it is no finite pose')
            return
        newest = self._buffer.newest_ns
        if message.stamp_ns <= newest - BACKWARD_JUMP_NS:
            self._begin_anew()
        elif message.stamp_ns <= newest:
            self.diagnostics.drop('odometry: out_of_order', 'odometry dropped: its stamp is not later than the last')
            return
        self._buffer.append(message.stamp_ns, np.array(pose))
        while self._waiting and self._waiting[0][0] <= message.stamp_ns:
            self._look(*self._waiting.popleft())

    def _on_points(self, data: bytes) -> None:
        # Deserialized only where it will be used: clouds are large.
        if self._queued >= self.params.queue:
            self._overrun('points')
            return
        message = deserialize_message(data, PointCloud2)
        self._on_cloud('points', message, lambda: scans.points_of_cloud(message), planar=False)

    def _on_cloud(self, topic: str, message, read: Callable[[], np.ndarray], *, planar: bool) -> None:
        self.diagnostics.rate(topic).tick()
        stamp_ns = convert.stamp_from_msg(message.header.stamp)
        if stamp_ns <= 0:
            self.diagnostics.drop(f'{topic}: zero_stamp', f'{topic} dropped: the stamp is zero')
            return
        if self._queued + len(self._waiting) >= self.params.queue:
            self._overrun(topic)
            return
        try:
            T_base_sensor = self._transforms.lookup(self.params.base_frame, message.header.frame_id)
            points = read()
        except LookupError as error:
            self.diagnostics.drop(f'{topic}: frame', f'{topic} dropped: {error}; publish it on /tf_static')
            return
        except ValueError as error:
            self.diagnostics.drop(f'{topic}: garbled', f'{topic} dropped: {error}')
            return
        points = points @ rotation_matrix(T_base_sensor[3:]).T + T_base_sensor[:3]
        if stamp_ns > self._buffer.newest_ns:
            self._waiting.append((stamp_ns, points, planar))
        else:
            self._look(stamp_ns, points, planar)

    def _overrun(self, topic: str) -> None:
        self.diagnostics.drop(f'{topic}: overrun', f'{topic} skipped: {self.params.queue} scans are waiting. Raise '
                              'distance, voxel or queue')

    def _look(self, stamp_ns: int, points: np.ndarray, planar: bool) -> None:
        pose = self._buffer.at(stamp_ns, TOLERANCE_NS)
        if pose is None:
            self.diagnostics.drop('scan: no_odometry', 'scan dropped: no odometry near its stamp')
            return
        detector = self.detector
        self._queued += 1
        self._worker.submit(Job(lambda: detector.add(stamp_ns, pose, points, planar=planar), self._results))

    def _on_path(self, data: bytes) -> None:
        try:
            stamps, poses = cdr.read_path(data)
        except cdr.CdrError as error:
            self.diagnostics.drop('path: garbled', f'path dropped: {error}')
            return
        if len(stamps) and np.isfinite(poses).all():
            detector = self.detector
            self._worker.submit(Job(lambda: detector.follow(stamps, poses), deque()))

    # --- outputs ---------------------------------------------------------------------------------

    def _publish(self) -> None:
        """What the worker has found since; and odometry, of which scans wait for the one after them."""
        self._odometry.poll()
        while self._results:
            found = self._results.popleft()
            self._queued -= 1
            for candidate in found if self.active else ():
                self.diagnostics.rate('loops' if candidate.accepted else 'refused').tick()
                if candidate.accepted:
                    self._edges.publish(self._edge(candidate))
                else:
                    self._refused.publish(LoopClosureEvent(
                        header=convert.header(candidate.later.stamp_ns, self.params.base_frame),
                        from_id=candidate.earlier.id, to_id=candidate.later.id, accepted=False,
                        reason=candidate.reason, chi2=float('nan')))

    def _edge(self, candidate: Candidate) -> PoseGraphEdge:
        return PoseGraphEdge(
            header=convert.header(candidate.later.stamp_ns, self.params.base_frame), kind=PoseGraphEdge.KIND_LOOP,
            by_stamp=True, from_stamp=convert.stamp_to_msg(candidate.earlier.stamp_ns),
            to_stamp=convert.stamp_to_msg(candidate.later.stamp_ns),
            transform=convert.pose_to_msg(candidate.T_earlier_later), information=candidate.information.ravel(),
            source=NODE_NAME)

    def _begin_anew(self) -> None:
        self.get_logger().warning('the clock jumped backwards: all scans are forgotten')
        self._buffer = OdometryBuffer()
        self._waiting.clear()
        self._worker.submit(Job(self.detector.reset, deque()))

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._worker.submit(Job(self.detector.reset, deque()))
        response.success, response.message = True, 'all scans are forgotten'
        return response

    def status(self) -> diagnostics.Status:
        status = diagnostics.Status()
        if not len(self._buffer):
            status.worsen(diagnostics.WARN, 'waiting for odometry')
        status.values |= {'scans kept': len(self.detector.scans), 'scans waiting': self._queued + len(self._waiting)}
        return status


def main(args: list[str] | None = None) -> None:
    sys.exit(run(LoopClosureNode, args))
