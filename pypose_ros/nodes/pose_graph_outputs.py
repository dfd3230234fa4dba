"""What pose_graph publishes, and when."""
import time

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from visualization_msgs.msg import MarkerArray

from pypose_core.online.back_end import EdgeKind, LoopEvent, PoseGraphBackEnd, SolveJob
from pypose_core.online.back_end.graph_factors import edge_chi2
from pypose_ros import cdr, cdr_arrays, convert, qos
from pypose_ros.diagnostics import Diagnostics
from pypose_ros.endpoints import Endpoints
from pypose_ros.msg import LoopClosureEvent, PoseGraph, SolveStats
from pypose_ros.nodes.pose_graph_params import PoseGraphParams
from pypose_ros.tf import TransformBroadcaster

PUBLISHING_SHARE = 0.05     # of the time, at most, goes into large messages
GREY, BLUE, GREEN, RED = (0.6, 0.6, 0.6, 1.0), (0.2, 0.5, 1.0, 1.0), (0.1, 0.8, 0.2, 1.0), (0.9, 0.1, 0.1, 0.8)


class GraphMessages:
    """The large messages, made and sent in the worker: a snapshot that `run` serializes."""

    def __init__(self, outputs: 'PoseGraphOutputs', back_end: PoseGraphBackEnd, stamp_ns: int):
        k, e = back_end.keyframes, back_end.edges
        self._outputs, self._stamp_ns, self._revision = outputs, stamp_ns, back_end.revision
        self._ids, self._stamps, self._poses = k['id'].copy(), k['stamp_ns'].copy(), k['pose'].copy()
        names = ('kind', 'ends', 'measured', 'information', 'rejected', 'chi2', 'source')
        self._edges = {name: e[name].copy() for name in names}
        self._sources = list(back_end.sources)

    def run(self) -> None:
        begin = time.perf_counter()
        out, frame = self._outputs, self._outputs.params.map_frame
        if out.markers.get_subscription_count():
            out.markers.publish(cdr_arrays.markers(self._stamp_ns, frame, self._layers()))
        # Latched: also for who subscribes later.
        out.path.publish(cdr_arrays.path(self._stamp_ns, frame, self._stamps, self._poses))
        out.graph.publish(cdr_arrays.pose_graph(
            self._stamp_ns, frame, self._revision, (self._ids, self._stamps, self._poses), self._rows()))
        out.took = time.perf_counter() - begin

    def _rows(self) -> list[tuple]:
        e = self._edges
        e['chi2'] = edge_chi2(self._poses, e)
        ids, stamps = self._ids[e['ends']].tolist(), self._stamps[e['ends']].tolist()
        columns = zip(e['kind'].tolist(), ids, stamps, e['measured'].tolist(),
                      e['information'].reshape(-1, 36).tolist(), e['rejected'].tolist(), e['chi2'].tolist(),
                      e['source'].tolist())
        return [(kind, *ends, *at, measured, information, rejected, chi2, self._sources[source])
                for kind, ends, at, measured, information, rejected, chi2, source in columns]

    def _layers(self) -> list[tuple]:
        positions, e = self._poses[:, :3], self._edges
        odometry = e['kind'] == EdgeKind.ODOMETRY
        layers = [('nodes', cdr_arrays.POINT_LIST, 0.15, BLUE, positions)]
        for name, rows, colour in (('odometry', odometry, GREY), ('loops', ~odometry & ~e['rejected'], GREEN),
                                   ('rejected', ~odometry & e['rejected'], RED)):
            layers.append((name, cdr_arrays.LINE_LIST, 0.05, colour, positions[e['ends'][rows].ravel()]))
        return layers


class PoseGraphOutputs:
    """Publishers of the node.

    Args:
        endpoints: makes the publishers.
        params: frames and rates; may be replaced while running.
        diagnostics: counts what goes out.
    """

    def __init__(self, endpoints: Endpoints, params: PoseGraphParams, diagnostics: Diagnostics):
        self.params = params
        self._rate = diagnostics.rate('output')
        advertise = endpoints.publisher
        self.graph = advertise(PoseGraph, 'pose_graph', qos.LATCHED)
        self.path = advertise(Path, 'path', qos.LATCHED)
        self.markers = advertise(MarkerArray, '~/markers', qos.LATCHED)
        self._corrected = advertise(Odometry, 'odometry/corrected', qos.STANDARD)
        self._pose = advertise(PoseWithCovarianceStamped, 'pose_corrected', qos.STANDARD)
        self._events = advertise(LoopClosureEvent, '~/loop_closure_event', qos.EVENTS)
        self._stats = advertise(SolveStats, '~/solve_stats', qos.STANDARD)
        self.tf = TransformBroadcaster(advertise, params.map_frame, params.odom_frame)
        self._write_odometry = cdr.OdometryWriter(params.map_frame, params.base_frame)
        self._published, self._published_revision, self._published_nodes = -1e9, -1, 0
        self.took = 0.0
        """s that the last large messages took."""
        self.restart()

    def restart(self) -> None:
        """Stamps begin anew: the clock jumped back."""
        self.tf.reset()
        self._published_revision, self._published_nodes = -1, 0

    def publish_odometry(self, back_end: PoseGraphBackEnd, odometry: cdr.Received) -> bool:
        """The newest odometry in the map; False where the estimate is not finite and nothing was sent."""
        pose = back_end.T_map_base
        if pose is None or not np.isfinite(pose).all():
            return False
        twist = odometry.values[cdr.ODOMETRY_TWIST]
        covariance = np.nan_to_num(back_end.covariance)
        data = self._write_odometry(odometry.stamp_ns, pose, covariance, twist[:3], twist[3:],
                                    odometry.values[cdr.ODOMETRY_TWIST_COVARIANCE].reshape(6, 6))
        if not self._write_odometry.finite():
            return False
        self._corrected.publish(data)
        self._rate.tick()
        return True

    def publish_tf(self, back_end: PoseGraphBackEnd, stamp_ns: int) -> None:
        """map -> odom, dated into the future."""
        if self.params.publish_tf and np.isfinite(back_end.T_map_odom).all():
            self.tf.send(stamp_ns + round(self.params.transform_tolerance * 1e9), back_end.T_map_odom)

    def publish_solution(self, back_end: PoseGraphBackEnd, job: SolveJob) -> None:
        """After a solve: the pose with its marginal covariance, and the solve's numbers."""
        stamp_ns, pose = back_end.stamp_ns, back_end.T_map_base
        if job.solution is not None and pose is not None and np.isfinite([*back_end.covariance.flat, *pose]).all():
            self._pose.publish(convert.pose_with_covariance_to_msg(
                stamp_ns, self.params.map_frame, pose, back_end.covariance))
        self._stats.publish(self.solve_stats(stamp_ns, job))

    def solve_stats(self, stamp_ns: int, job: SolveJob) -> SolveStats:
        solution = job.solution
        stats = SolveStats(header=convert.header(stamp_ns, self.params.map_frame), success=solution is not None,
                           status=job.problem or str(solution and solution.status), solve_time=job.duration,
                           variables=job.size[0], factors=job.size[1])
        if solution is not None:
            stats.iterations, stats.cost_initial = solution.iterations, solution.cost_initial
            stats.cost_final = solution.cost_final
        return stats

    def publish_event(self, stamp_ns: int, event: LoopEvent) -> None:
        self._events.publish(LoopClosureEvent(
            header=convert.header(stamp_ns, self.params.map_frame), from_id=event.from_id, to_id=event.to_id,
            accepted=event.accepted, reason=event.reason, chi2=event.chi2))

    def graph_messages(self, back_end: PoseGraphBackEnd) -> GraphMessages | None:
        """A job for the worker, where there is something new, somebody who listens, and the last one is
        `publish_period` ago, or longer where the messages are so large that making them would take up much time."""
        new = back_end.revision != self._published_revision or len(back_end.keyframes) != self._published_nodes
        now, period = time.monotonic(), max(self.params.publish_period, self.took / PUBLISHING_SHARE)
        if not new or not len(back_end.keyframes) or now - self._published < period:
            return None
        if not any(publisher.get_subscription_count() for publisher in (self.graph, self.path, self.markers)):
            return None
        self._published, self._published_revision = now, back_end.revision
        self._published_nodes = len(back_end.keyframes)
        return GraphMessages(self, back_end, back_end.stamp_ns)
