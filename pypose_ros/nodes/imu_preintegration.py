"""imu_preintegration: odometry at the rate of the IMU, corrected by odometry and poses from elsewhere.

Around `pypose_core.online.ImuSmoother`: messages, TF, services, diagnostics. Samples are taken and
answered in the callback; solves run in a thread of their own.
"""
import sys
import time

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu
from std_srvs.srv import Trigger

from pypose_core.online import ImuSmoother, Status, Verdict
from pypose_core.online.fixed_lag import SolveJob
from pypose_ros import cdr, convert, diagnostics, qos, tf
from pypose_ros.configured import Configured
from pypose_ros.frames import Frames
from pypose_ros.intake import Intake, correction_fault, imu_fault, orientation
from pypose_ros.lifecycle import LifecycleNode
from pypose_ros.msg import Weights
from pypose_ros.nodes.imu_preintegration_model import ModelSlot
from pypose_ros.nodes.imu_preintegration_outputs import Outputs
from pypose_ros.nodes.imu_preintegration_params import NODE_NAME, ImuPreintegrationParams, check, smoother_config
from pypose_ros.patience import PATIENCE_PERIOD, Patience
from pypose_ros.run import run
from pypose_ros.srv import Calibrate, SetPose
from pypose_ros.tf_guard import TransformGuard
from pypose_ros.worker import Worker

SILENCE = 1.0           # s of the steady clock without an IMU sample until it is said


class ImuPreintegration(LifecycleNode[ImuPreintegrationParams]):
    """See docs/nodes/imu_preintegration.md."""

    _worker = Configured[Worker]()

    def __init__(self, **kwargs):
        self.estimator: ImuSmoother | None = None   # None until the extrinsic is known
        super().__init__(NODE_NAME, ImuPreintegrationParams, **kwargs)

    def check(self, params: ImuPreintegrationParams) -> None:
        check(params)

    def configure(self) -> None:
        ends = self.endpoints
        self._worker = Worker(self.get_logger(), name='solver')
        self._model = ModelSlot(self.params.model, self.params.model_class, self.params.allow_reload, self._worker,
                                self.diagnostics, self.get_logger().info)
        self._read_imu = Intake('imu', Imu, imu_fault, self.diagnostics)
        self._read_pose = Intake('pose', PoseWithCovarianceStamped, correction_fault, self.diagnostics)
        self._read_odometry = Intake('odometry', Odometry, correction_fault, self.diagnostics)
        self._latency = self.diagnostics.latency('callback')
        self._sample = np.zeros(6)
        self._heard, self._silent, self._waiting = time.monotonic(), False, ''
        self._reported_job: SolveJob | None = None
        self._outputs = Outputs(
            ends, self.params, self.diagnostics, self.channel('odometry/imu'), self.channel('~/preintegrated'))
        self._guard = TransformGuard(self, ends, self.get_logger().error, self._outputs.tf)
        self._transforms = tf.TransformListener(
            ends, warn=lambda sentence: self.diagnostics.warn('tf', sentence)).buffer
        self._frames = Frames(self._transforms, self.params.odom_frame, self.params.base_frame)
        self._patience = Patience(self.params.tf_timeout)
        ends.timer(PATIENCE_PERIOD, self._patience.retry)
        ends.service(SetPose, '~/set_pose', self._set_pose)
        ends.service(Calibrate, '~/calibrate', self._calibrate)
        ends.service(Trigger, '~/reset', self._reset)
        ends.timer(1.0, self._publish_path)
        ends.subscription(Weights, '~/weights', self._on_weights, qos.LATCHED)
        ends.subscription(Odometry, 'odometry', self._on_odometry, qos.SENSOR(50), raw=True)
        ends.subscription(PoseWithCovarianceStamped, 'pose', self._on_pose, qos.SENSOR(50), raw=True)
        ends.subscription(Imu, 'imu/data_raw', self._on_imu, qos.SENSOR(1000), raw=True)

    def changed(self, params: ImuPreintegrationParams) -> None:
        self._outputs.params = params

    def cleanup(self) -> None:
        if ImuPreintegration._worker.present(self):
            self._worker.stop()
        self._worker = self.estimator = None

    # --- inputs ----------------------------------------------------------------------------------

    def _on_imu(self, data: bytes) -> None:
        begin = time.perf_counter()
        message = self._read_imu(data)
        if message is None:
            return
        self._heard = time.monotonic()
        known = self.estimator is not None and message.frame_id == self._outputs.imu_frame
        if not known and not self._begin(message.frame_id):
            return
        estimator, sample = self.estimator, self._sample
        assert estimator is not None        # _begin has seen to it
        sample[:3], sample[3:] = message.values[cdr.IMU_GYROSCOPE], message.values[cdr.IMU_ACCELEROMETER]
        verdict = estimator.add_imu(message.stamp_ns, sample, orientation(message))
        if verdict is not Verdict.ACCEPTED and not self._judge('imu', verdict):
            return
        self._outputs.hand_over(estimator)
        self._solve(estimator)
        output = estimator.output
        if output is None or not self.active:
            return
        if not self._outputs.publish(output, message, transform=estimator.status is Status.RUNNING):
            self.diagnostics.drop('output: not_finite', 'the estimate is not finite and was not published')
            estimator.reset('the estimate is not finite')
        self._latency.add(time.perf_counter() - begin)

    def _begin(self, imu_frame: str) -> bool:
        """Make the estimator, once it is known where in the robot the IMU sits."""
        if self.estimator is not None:
            self.diagnostics.drop('imu: frame', f'imu dropped: frame {imu_frame!r} instead of '
                                  f'{self._outputs.imu_frame!r}; one topic, one IMU')
            return False
        extrinsic = np.array(self.params.extrinsic_imu_to_base)
        if not len(extrinsic):
            try:
                extrinsic = self._transforms.lookup(self.params.base_frame, imu_frame)
            except LookupError as error:
                self._waiting = (
                    f'waiting for the static transform {self.params.base_frame} -> {imu_frame} ({error}): '
                    'publish it on /tf_static, or set the parameter extrinsic_imu_to_base')
                self.diagnostics.drop('imu: no_extrinsic', self._waiting)
                return False
        self._waiting = ''
        self.estimator = ImuSmoother(smoother_config(self.params), T_base_imu=extrinsic)
        self._model.equip(self.estimator)
        self._outputs.use_imu_frame(imu_frame)
        self.get_logger().info(
            f'{imu_frame} sits in {self.params.base_frame} at {[round(float(x), 6) for x in extrinsic]}')
        return True

    def _on_pose(self, data: bytes) -> None:
        self._correct('pose', self._read_pose(data), self._frames.absolute)

    def _on_odometry(self, data: bytes) -> None:
        self._correct('odometry', self._read_odometry(data), self._frames.relative)

    def _correct(self, topic: str, message: cdr.Received | None, place) -> None:
        """Give a correction to the estimator; `place` brings it to our frames."""
        if message is None:
            return
        if (estimator := self.estimator) is None:
            self.diagnostics.drop(f'{topic}: no_imu', f'{topic} dropped: no IMU sample could be used yet')
            return

        def use() -> None:
            pose, covariance = place(message)
            add = estimator.add_pose if topic == 'pose' else estimator.add_odometry
            verdict = add(message.stamp_ns, pose, covariance)
            if verdict is Verdict.ACCEPTED or self._judge(topic, verdict):
                self._solve(estimator)

        self._patience.attempt(
            use, lambda error: self.diagnostics.drop(f'{topic}: frame', f'{topic} dropped: {error}'))

    def _on_weights(self, message: Weights) -> None:
        self._model.announce(message, allowed=self.params.allow_reload)

    def _judge(self, topic: str, verdict: Verdict) -> bool:
        """Report an answer other than ACCEPTED; whether the measurement was taken all the same."""
        if verdict is Verdict.RESET:
            self._outputs.restart()
        if not verdict.accepted:
            self.diagnostics.drop(f'{topic}: {verdict.name.lower()}', f'{topic} {verdict}')
        return verdict.accepted

    def _solve(self, estimator: ImuSmoother) -> None:
        """Give the worker the next solve; tell about the one that ended, and of other events."""
        job = estimator.begin_solve()
        if job is not None:
            self._worker.submit(job)
        if (last := estimator.last_job) is not None and last is not self._reported_job:
            self._reported_job = last
            self.diagnostics.latency('solve').add(last.duration)
            links = estimator.take_preintegrated()
            if estimator.output is not None and self.active:
                self._outputs.publish_keyframes(estimator.output, links)
        for severity, sentence in estimator.take_events():
            diagnostics.log(self.get_logger(), severity, sentence)

    def _publish_path(self) -> None:
        if self.active:
            self._outputs.publish_path()

    # --- services and supervision ----------------------------------------------------------------

    def _set_pose(self, request: SetPose.Request, response: SetPose.Response) -> SetPose.Response:
        _, pose, covariance = convert.pose_with_covariance_from_msg(request.pose)
        frame = request.pose.header.frame_id
        if self.estimator is None:
            response.message = self._waiting or 'no IMU sample yet'
        elif frame.lstrip('/') != self.params.odom_frame:
            response.message = f'the pose is in frame {frame!r}, want {self.params.odom_frame!r}'
        else:
            verdict = self.estimator.set_pose(pose, covariance)
            response.success, response.message = verdict.accepted, str(verdict)
        return response

    def _calibrate(self, request: Calibrate.Request, response: Calibrate.Response) -> Calibrate.Response:
        if self.estimator is None:
            response.message = self._waiting or 'no IMU sample yet'
            return response
        response.success, response.message = self.estimator.calibrate(request.duration)
        output = self.estimator.output
        if response.success and output is not None:
            response.bias = convert.bias_to_msg(
                output.stamp_ns, self._outputs.imu_frame, output.bias, output.bias_covariance)
        return response

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.estimator is not None:
            self.estimator.reset('on request')
            self._outputs.restart()
        response.success, response.message = True, 'initializing again'
        return response

    def watch(self) -> None:
        self._model.take_up()
        silent = time.monotonic() - self._heard > SILENCE
        if silent and not self._silent:
            topic = self.resolve_topic_name('imu/data_raw')
            self.get_logger().warning(f'no IMU sample on {topic} for {SILENCE} s')
        self._silent = silent

    def status(self) -> diagnostics.Status:
        status, estimator = diagnostics.Status(), self.estimator
        if self._waiting:
            status.worsen(diagnostics.WARN, self._waiting)
        if self._silent:
            status.worsen(diagnostics.WARN, f'no IMU sample for {time.monotonic() - self._heard:.1f} s')
        if estimator is not None:
            level = diagnostics.OK if estimator.status is Status.RUNNING else diagnostics.WARN
            status.worsen(level, str(estimator.status))
            status.values['estimator'] = estimator.status.name
            status.values |= {f'estimator {name}': count for name, count in estimator.counters.items()}
            if estimator.last_job is not None:
                solution = estimator.last_job.solution
                status.values['solver status'] = 'failed' if solution is None else str(solution.status)
                status.values['solver iterations'] = 0 if solution is None else solution.iterations
        if self._guard.problem:
            status.worsen(diagnostics.ERROR, self._guard.problem)
        status.values |= {'suppressed transforms': self._outputs.tf.suppressed, 'model': self._model.name}
        return status


def main(args: list[str] | None = None) -> None:
    sys.exit(run(ImuPreintegration, args))
