"""pose_graph: one consistent map from odometry, loop closures and absolute measurements.

Around `pypose_core.online.back_end.PoseGraphBackEnd`: messages, TF, services, diagnostics. Measurements are taken in
the callbacks; solves run in a thread of their own, and so does the making of large messages.
"""
import sys
import time
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import NavSatFix, NavSatStatus

from pypose_core.online.back_end import PoseGraphBackEnd
from pypose_core.online.back_end.geodetic import LocalFrame
from pypose_core.online.back_end.solve_job import SolveJob
from pypose_core.online.verdict import Verdict
from pypose_ros import cdr, convert, diagnostics, qos, tf
from pypose_ros.configured import Configured
from pypose_ros.frames import Frames
from pypose_ros.intake import Intake, correction_fault
from pypose_ros.lifecycle import LifecycleNode
from pypose_ros.msg import PoseGraph, PoseGraphEdge
from pypose_ros.nodes.pose_graph_messages import edge_from_msg
from pypose_ros.nodes.pose_graph_outputs import PoseGraphOutputs
from pypose_ros.nodes.pose_graph_params import NODE_NAME, PoseGraphParams, back_end_config, check
from pypose_ros.nodes.pose_graph_services import PoseGraphServices
from pypose_ros.odometry_input import OdometryInput
from pypose_ros.pace import Pace
from pypose_ros.patience import PATIENCE_PERIOD, Patience
from pypose_ros.run import run
from pypose_ros.tf_guard import TransformGuard
from pypose_ros.worker import Worker


class PoseGraphNode(LifecycleNode[PoseGraphParams]):
    """See docs/nodes/pose_graph.md."""

    back_end = Configured[PoseGraphBackEnd]()
    _worker = Configured[Worker]()
    _requests = Configured[PoseGraphServices]()

    def __init__(self, **kwargs):
        super().__init__(NODE_NAME, PoseGraphParams, **kwargs)

    def check(self, params: PoseGraphParams) -> None:
        check(params)

    def configure(self) -> None:
        ends, params = self.endpoints, self.params
        self.back_end = PoseGraphBackEnd(back_end_config(params))
        if params.datum:
            self.back_end.local_frame = LocalFrame(*params.datum)
        if params.load_on_start:
            self.back_end.load(Path(params.load_on_start).expanduser())
        self._worker = Worker(self.get_logger(), name='solver')
        self._read_pose = Intake('pose', PoseWithCovarianceStamped, correction_fault, self.diagnostics)
        self._latency = self.diagnostics.latency('callback')
        self._heard, self._silent = time.monotonic(), False
        self._reported: SolveJob | None = None
        self._pace = Pace(f'{params.map_frame} -> {params.odom_frame}', params.tf_rate)
        self.outputs = PoseGraphOutputs(ends, params, self.diagnostics)
        self._transforms = tf.TransformListener(
            ends, warn=lambda sentence: self.diagnostics.warn('tf', sentence)).buffer
        self._frames = Frames(self._transforms, params.map_frame, params.base_frame)
        self._guard = TransformGuard(self, ends, self.get_logger().error, self.outputs.tf)
        self._patience = Patience(params.tf_timeout)
        ends.timer(PATIENCE_PERIOD, self._patience.retry)
        ends.timer(1.0 / params.tf_rate, self.broadcast)
        ends.timer(0.1, self._work)
        self._requests = PoseGraphServices(self, self.back_end)
        ends.subscription(NavSatFix, 'fix', self._on_fix, qos.SENSOR(50))
        ends.subscription(PoseGraphEdge, 'loop_closure', self._on_edge, qos.EVENTS)
        ends.subscription(PoseGraph, 'pose_graph_in', self._on_graph, qos.LATCHED)
        ends.subscription(PoseWithCovarianceStamped, 'pose', self._on_pose, qos.SENSOR(50), raw=True)
        if params.use_imu_factors:
            samples = self.channel('imu_preintegration/preintegrated')
            if samples is None or not samples.offered:
                raise ValueError('use_imu_factors: there is no imu_preintegration before this node in the process; '
                                 'start both with bringup')
            ends.listen(samples, lambda item: self.back_end.add_imu(*item))
        self._odometry = OdometryInput(self, self._frames, self._patience, self._use_odometry)

    def changed(self, params: PoseGraphParams) -> None:
        self.outputs.params = params

    def deactivate(self) -> None:
        self._requests.autosave()

    def cleanup(self) -> None:
        if PoseGraphNode._worker.present(self):
            self._worker.stop()
        if PoseGraphNode._requests.present(self):
            self._requests.full_solves.close()
        self._worker = self._requests = None
        self.back_end = None

    # --- inputs ----------------------------------------------------------------------------------

    def _use_odometry(self, message: cdr.Received, pose: np.ndarray, covariance: np.ndarray) -> None:
        begin = time.perf_counter()
        verdict = self.back_end.add_odometry(message.stamp_ns, pose, covariance)
        self._heard = time.monotonic()
        if verdict is Verdict.RESET:
            self.outputs.restart()
        if not self._judge('odometry', verdict) or not self.active:
            return
        if not self.outputs.publish_odometry(self.back_end, message):
            self.diagnostics.drop('output: not_finite', 'the estimate is not finite and was not published')
        self._latency.add(time.perf_counter() - begin)

    def _on_pose(self, data: bytes) -> None:
        message = self._read_pose(data)
        if message is not None:
            self._attempt('pose', lambda: self._judge(
                'pose', self.back_end.add_pose(message.stamp_ns, *self._frames.absolute(message))))

    def _attempt(self, topic: str, use) -> None:
        """Use a message now or once its transform is there."""
        self._patience.attempt(
            use, lambda error: self.diagnostics.drop(f'{topic}: frame', f'{topic} dropped: {error}'))

    def _on_fix(self, message: NavSatFix) -> None:
        self.diagnostics.rate('fix').tick()
        if message.status.status == NavSatStatus.STATUS_NO_FIX:
            self.diagnostics.drop('fix: no_fix', 'fix dropped: the receiver has none')
            return
        known = message.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN
        covariance = np.array(message.position_covariance).reshape(3, 3) if known else None
        self._judge('fix', self.back_end.add_fix(
            convert.stamp_from_msg(message.header.stamp), message.latitude, message.longitude, message.altitude,
            covariance))

    def _on_edge(self, message: PoseGraphEdge) -> None:
        self.diagnostics.rate('loop_closure').tick()
        verdict, sentence = self.back_end.add_edge(edge_from_msg(message))
        if not verdict.accepted:
            self.diagnostics.drop(f'loop_closure: {verdict.name.lower()}', f'loop_closure {sentence}')

    def _on_graph(self, message: PoseGraph) -> None:
        """Another back-end's loops, by stamp: its ids are its own."""
        for edge in message.edges:
            if edge.kind == PoseGraphEdge.KIND_LOOP and not edge.rejected:
                edge.by_stamp = True
                self._on_edge(edge)

    def _judge(self, topic: str, verdict: Verdict) -> bool:
        """Report an answer other than ACCEPTED; whether the measurement was taken all the same."""
        if not verdict.accepted:
            self.diagnostics.drop(f'{topic}: {verdict.name.lower()}', f'{topic} {verdict}')
        return verdict.accepted

    # --- the worker's side -----------------------------------------------------------------------

    def submit(self, job) -> None:
        """Give the worker an object with `run()`."""
        self._worker.submit(job)

    def _work(self) -> None:
        """Ten times a second: take over results, begin the next solve, publish what is new."""
        back_end = self.back_end
        back_end.poll()
        self._requests.full_solves.poll()
        job = back_end.begin_solve()
        if job is not None:
            self.submit(job)
        if (last := back_end.last_job) is not None and last is not self._reported:
            self._reported = last
            self.diagnostics.latency('solve').add(last.duration)
            if self.active:
                self.outputs.publish_solution(back_end, last)
        for event in back_end.take_events():
            self.diagnostics.rate('loops accepted' if event.accepted else 'loops rejected').tick()
            if self.active:
                self.outputs.publish_event(back_end.stamp_ns, event)
        for severity, sentence in back_end.take_messages():
            diagnostics.log(self.get_logger(), severity, sentence)
        if self.active and (messages := self.outputs.graph_messages(back_end)) is not None:
            self.submit(messages)

    def broadcast(self) -> None:
        """map -> odom, while odometry is alive."""
        back_end = self.back_end
        self._pace.tick()
        if not self.active or self._silent or back_end.T_odom_base is None:
            return
        stamp_ns = self.get_clock().now().nanoseconds
        # A bag without /clock plays in another time than ours: then odometry's is the present.
        if abs(stamp_ns - back_end.stamp_ns) > 10 ** 9:
            stamp_ns = back_end.stamp_ns
        self.outputs.publish_tf(back_end, stamp_ns)

    def watch(self) -> None:
        silent = self.back_end.T_odom_base is not None and time.monotonic() - self._heard > self.params.odom_timeout
        if silent and not self._silent:
            self.get_logger().warning(f'no odometry on {self.resolve_topic_name("odometry")} for '
                                      f'{self.params.odom_timeout} s: {self.params.map_frame} -> '
                                      f'{self.params.odom_frame} is no longer broadcast')
        self._silent = silent

    def status(self) -> diagnostics.Status:
        status, back_end = diagnostics.Status(), self.back_end
        if back_end.T_odom_base is None:
            status.worsen(diagnostics.WARN, 'waiting for odometry')
        if self._silent:
            status.worsen(diagnostics.WARN, f'no odometry for {time.monotonic() - self._heard:.1f} s')
        if self._guard.problem:
            status.worsen(diagnostics.ERROR, self._guard.problem)
        if overrun := self._pace.check():
            status.worsen(diagnostics.WARN, overrun)
        if back_end.paused:
            status.worsen(diagnostics.WARN, 'paused: no solves')
        status.values |= {'keyframes': len(back_end.keyframes), 'edges': len(back_end.edges),
                          'priors': len(back_end.priors), 'revision': back_end.revision,
                          'rejected edges': int(back_end.edges['rejected'].sum()),
                          'suppressed transforms': self.outputs.tf.suppressed}
        if back_end.inertial is not None:
            status.values['inertial links'] = int(back_end.inertial.links['known'].sum())
        if (last := back_end.last_job) is not None:
            status.values['solver status'] = last.problem or str(last.solution and last.solution.status)
            if last.problem:
                status.worsen(diagnostics.WARN, f'the last solve failed: {last.problem}')
        return status


def main(args: list[str] | None = None) -> None:
    sys.exit(run(PoseGraphNode, args))
