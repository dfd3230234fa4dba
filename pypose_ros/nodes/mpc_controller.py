"""mpc_controller: drives a robot along a path, around what its costmap shows.

Around `pypose_core.online.path_tracking.PathTracker`: messages, TF, services, the FollowPath action, diagnostics. Every
cycle runs on the steady clock, so that the robot is stopped when a simulated one is.
"""
import importlib.util
import sys
import time

import numpy as np
from nav_msgs.msg import Path
from std_srvs.srv import SetBool, Trigger

from pypose_core.control import OcpStats
from pypose_core.online.path_tracking import Command, PathTracker, TrackingStatus
from pypose_ros import cdr, diagnostics, qos, tf
from pypose_ros.configured import Configured
from pypose_ros.frames import Frames, planar
from pypose_ros.lifecycle import LifecycleNode
from pypose_ros.nodes.mpc_controller_outputs import Outputs
from pypose_ros.nodes.mpc_controller_params import NODE_NAME, MpcControllerParams, check, tracker_config
from pypose_ros.nodes.mpc_controller_surroundings import Surroundings
from pypose_ros.odometry_input import OdometryInput
from pypose_ros.pace import Pace
from pypose_ros.patience import PATIENCE_PERIOD, Patience
from pypose_ros.run import run

UNKNOWN, TF_ERROR, INVALID_PATH, PATIENCE_EXCEEDED, NO_PROGRESS, NO_VALID_CONTROL, TIMED_OUT = (
    100, 102, 103, 104, 105, 106, 107)      # of nav2_msgs/FollowPath
QUATERNION_TOLERANCE = 1e-4


class MpcController(LifecycleNode[MpcControllerParams]):
    """See docs/nodes/mpc_controller.md."""

    moves_robot = True

    tracker = Configured[PathTracker]()

    def __init__(self, **kwargs):
        self._action = None
        super().__init__(NODE_NAME, MpcControllerParams, **kwargs)

    def check(self, params: MpcControllerParams) -> None:
        check(params)

    def configure(self) -> None:
        ends, params = self.endpoints, self.params
        self.tracker = PathTracker(tracker_config(params))
        self.tracker.warm_up()
        self.outputs = Outputs(ends, params)
        self.enabled, self._path_frame, self._hold = True, params.odom_frame, ''
        self._last: Command | None = None
        self._driving = False           # whether the last command that was published may have been other than zero
        self._clock_ns, self._clock_moved = 0, time.monotonic()
        self._pace = Pace('commands', params.controller_frequency)
        self._latency = self.diagnostics.latency('cycle')
        self._transforms = tf.TransformListener(
            ends, warn=lambda sentence: self.diagnostics.warn('tf', sentence), dynamic=True).buffer
        self._patience = Patience(params.tf_timeout)
        ends.timer(PATIENCE_PERIOD, self._patience.retry)
        ends.service(SetBool, '~/enable', self._enable)
        ends.service(Trigger, '~/reset', self._reset)
        frames = Frames(self._transforms, params.odom_frame, params.base_frame)
        self._odometry = OdometryInput(
            self, frames, self._patience, self._use_odometry, topic='odom', depth=10, polled=True)
        self._surroundings = Surroundings(self, self.tracker, self._transforms)
        ends.subscription(Path, 'path', self._on_path, qos.SENSOR(1), raw=True)
        if importlib.util.find_spec('nav2_msgs') is not None:
            from pypose_ros.nodes.mpc_controller_action import FollowPathServer
            self._action = FollowPathServer(self, self._follow, lambda: self._end(0, 'canceled'))
        ends.timer(1 / params.controller_frequency, self._cycle)

    def deactivate(self) -> None:
        self._end(UNKNOWN, 'the controller was deactivated')
        self.outputs.command(self.get_clock().now().nanoseconds, np.zeros(3))

    def cleanup(self) -> None:
        if self._action is not None:
            self._action.destroy()
        self._action = self.tracker = None

    # --- inputs ----------------------------------------------------------------------------------

    def _use_odometry(self, message: cdr.Received, pose: np.ndarray, _covariance: np.ndarray) -> None:
        twist = message.values[cdr.ODOMETRY_TWIST]
        if abs(np.linalg.norm(pose[3:]) - 1) > QUATERNION_TOLERANCE or not self.tracker.add_odometry(
                message.stamp_ns, planar(pose), twist[[0, 1, 5]]):
            self.diagnostics.drop('odom: not_finite', 'odom dropped: it is no finite pose and twist')

    def _on_path(self, data: bytes) -> None:
        self.diagnostics.rate('path').tick()
        if not self.active or (self._action is not None and self._action.running):
            self.diagnostics.drop('path: not_now', 'path dropped: ' + (
                'a FollowPath goal is under way' if self.active else 'the controller is not active'))
            return
        try:
            frame, (_, poses) = cdr.path_frame(data), cdr.read_path(data)
        except cdr.CdrError as error:
            self.diagnostics.drop('path: garbled', f'path dropped: {error}')
            return

        def use() -> None:
            code, sentence = self._follow(frame, poses)
            if code == TF_ERROR:
                raise LookupError(sentence)
            if code:
                self.diagnostics.drop('path: invalid', f'path {sentence}')

        def give_up(error: LookupError) -> None:
            self.diagnostics.drop('path: frame', f'path dropped: {error}')
            self._end(TF_ERROR, str(error))

        self._patience.attempt(use, give_up)

    def _follow(self, frame: str, poses: np.ndarray) -> tuple[int, str]:
        """Follow poses (N, 7) from now on; an error code and a sentence where that cannot be."""
        frame = frame.lstrip('/')
        if not frame:
            return INVALID_PATH, 'refused: header.frame_id is empty'
        if np.isfinite(poses).all() and len(poses):
            # Planners leave the orientation of all but the last pose at zero.
            if abs(np.linalg.norm(poses[-1, 3:]) - 1) > QUATERNION_TOLERANCE:
                return INVALID_PATH, 'refused: the quaternion of its last pose is not of unit length'
            try:
                self._place(frame)
            except LookupError as error:
                return TF_ERROR, f'is in frame {frame!r}, odom_frame is {self.params.odom_frame!r}: {error}'
        verdict = self.tracker.set_path(planar(poses.T).T if len(poses) else poses)
        if not verdict.accepted:
            return INVALID_PATH, str(verdict)
        self._path_frame = frame
        return 0, ''

    def _place(self, frame: str) -> None:
        """Tell the tracker where the path's frame lies at present. LookupError where that is not known."""
        odom = self.params.odom_frame
        self.tracker.place_path(*((0.0, 0.0, 0.0) if frame == odom else planar(self._transforms.lookup(odom, frame))))

    # --- a cycle ---------------------------------------------------------------------------------

    def _cycle(self) -> None:
        self._pace.tick()
        self._odometry.poll()
        if not self.active:
            return
        begin, now_ns = time.perf_counter(), self.get_clock().now().nanoseconds
        try:
            self._step(now_ns)
        except Exception:       # whatever it is: the robot stops first
            self._halt(now_ns)
            raise
        self._latency.add(time.perf_counter() - begin)

    def _step(self, now_ns: int) -> None:
        self._hold = self._reason_to_hold(now_ns)
        if self._hold or self.tracker.path is None:
            if self._driving:
                self._halt(now_ns)
            return
        if self._path_frame != self.params.odom_frame:
            self._place(self._path_frame)
        command = self._last = self.tracker.command(now_ns)
        status = command.status
        if status is TrackingStatus.REACHED:
            self._end(0, 'the goal is reached')
        elif status.failed:
            self._end(self._code(command), str(command.reason or status))
        else:
            self.outputs.command(now_ns, command.twist)
            self._driving = True
            if status is not TrackingStatus.TRACKING:
                self.diagnostics.drop(f'cycle: {status.name.lower()}', f'zero velocity: {command.reason or status}')
        self.outputs.details(now_ns, command)
        if self._action is not None:
            self._action.tick(now_ns, float(np.nan_to_num(command.distance)), float(np.hypot(*command.twist[:2])))

    def _reason_to_hold(self, now_ns: int) -> str:
        """Why the robot must stand though nothing is wrong with the path; '' where it may drive."""
        steady = time.monotonic()
        if now_ns != self._clock_ns:
            self._clock_ns, self._clock_moved = now_ns, steady
        if not self.enabled:
            return 'disabled by ~/enable'
        if self.params.use_sim_time and steady - self._clock_moved > self.params.clock_timeout:
            return 'the simulated clock stands still'
        return self._surroundings.silence(self.params.costmap_timeout)

    def _code(self, command: Command) -> int:
        if command.status is TrackingStatus.NO_PROGRESS:
            return NO_PROGRESS
        if command.cause is TrackingStatus.NO_ODOMETRY:
            return TIMED_OUT
        return PATIENCE_EXCEEDED if self.params.failure_tolerance > 0 else NO_VALID_CONTROL

    def _halt(self, now_ns: int) -> None:
        self.outputs.command(now_ns, np.zeros(3))
        self._driving = False

    def _end(self, code: int = 0, sentence: str = '') -> None:
        """The path ends, well (code 0) or not: zero velocity, and whoever asked for it is told."""
        was_followed = self._driving or self.tracker.path is not None
        self.tracker.cancel()
        if was_followed:
            if self._driving and (code or self.params.publish_zero_velocity):
                self._halt(self.get_clock().now().nanoseconds)
            self._driving = False
            (self.get_logger().warning if code else self.get_logger().info)(f'path ended: {sentence} ({code})')
        if self._action is not None:
            self._action.finish(code, sentence)

    # --- services and supervision ----------------------------------------------------------------

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.enabled = request.data
        if not self.enabled:
            self._halt(self.get_clock().now().nanoseconds)
        response.success, response.message = True, 'driving is allowed' if self.enabled else 'the robot stands'
        return response

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._end(UNKNOWN, 'reset on request')
        self.tracker.reset()
        self._surroundings.mapped = None
        response.success, response.message = True, 'path, costmap and odometry are forgotten'
        return response

    def status(self) -> diagnostics.Status:
        status, last = diagnostics.Status(), self._last
        if self._hold:
            status.worsen(diagnostics.WARN, self._hold)
        if overrun := self._pace.check():
            status.worsen(diagnostics.WARN, overrun)
        if last is not None:
            if last.status not in (TrackingStatus.TRACKING, TrackingStatus.REACHED, TrackingStatus.IDLE):
                status.worsen(diagnostics.WARN, last.reason or str(last.status))
            status.values |= {'tracking': str(last.status), 'distance to goal [m]': f'{last.distance:.2f}',
                              'cross track [m]': f'{last.cross_track:.3f}'}
            if last.result is not None:
                stats = last.result.stats
                assert isinstance(stats, OcpStats)      # one problem, no batch
                status.values |= {'solver status': str(last.result.status), 'solver iterations': stats.iterations,
                                  'solver time [ms]': f'{1e3 * stats.seconds:.3f}'}
        return status


def main(args: list[str] | None = None) -> None:
    sys.exit(run(MpcController, args))
