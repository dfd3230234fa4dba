"""learner: trains the IMU's front-end on the robot's own drives, with the pose graph as the teacher.

Around `pypose_core.online.learner.CorrectorLearner`. Rounds of training run in a thread of low priority; what comes
out of them is only announced, never commanded.
"""
import pathlib
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Imu
from std_msgs.msg import Float64
from std_srvs.srv import SetBool, Trigger

from pypose_core.learning import CheckpointError
from pypose_core.online.learner import CorrectorLearner, WeightStore
from pypose_ros import cdr, convert, diagnostics, qos, tf
from pypose_ros.configured import Configured
from pypose_ros.intake import Intake, correction_fault, imu_fault
from pypose_ros.lifecycle import LifecycleNode
from pypose_ros.msg import LearningStatus, Weights
from pypose_ros.nodes.learner_params import NODE_NAME, LearnerParams, check, learner_config
from pypose_ros.nodes.learner_training import TrainingJob
from pypose_ros.run import run
from pypose_ros.threads import yield_to_others
from pypose_ros.worker import Worker

BACKWARD_JUMP_NS = 10 ** 9      # of the IMU's clock, beyond which everything begins anew


class LearnerNode(LifecycleNode[LearnerParams]):
    """See docs/nodes/learner.md."""

    _worker = Configured[Worker]()

    def __init__(self, **kwargs):
        self.learner: CorrectorLearner | None = None    # None until the extrinsic is known
        super().__init__(NODE_NAME, LearnerParams, **kwargs)

    def check(self, params: LearnerParams) -> None:
        check(params)

    def configure(self) -> None:
        ends, params = self.endpoints, self.params
        self._store = WeightStore(params.checkpoint_dir)
        if self._store.in_use is not None:
            self._store.load(self._store.in_use)        # what cannot be gone on from is said now
        self._worker, self._ending = Worker(self.get_logger(), name='training'), threading.Event()
        self._job: TrainingJob | None = None
        self._rest_until = 0.0
        self._enabled, self._sentence, self._waiting = True, 'collecting', ''
        self._path: bytes | None = None
        self._sample = np.zeros(6)
        self._read_imu = Intake('imu', Imu, imu_fault, self.diagnostics)
        self._read_truth = Intake('ground_truth', Odometry, correction_fault, self.diagnostics)
        self._transforms = tf.TransformListener(
            ends, warn=lambda sentence: self.diagnostics.warn('tf', sentence)).buffer
        self._statuses = ends.publisher(LearningStatus, '~/status', qos.LATCHED)
        self._loss = ends.publisher(Float64, '~/loss', qos.STANDARD)
        self._weights = ends.publisher(Weights, f'{params.target}/weights', qos.LATCHED)
        ends.service(SetBool, '~/enable', self._enable)
        ends.service(Trigger, '~/checkpoint', self._checkpoint)
        ends.service(Trigger, '~/promote', self._promote)
        ends.service(Trigger, '~/rollback', self._rollback)
        ends.subscription(Path, 'path', self._on_path, qos.LATCHED, raw=True)
        ends.subscription(Odometry, 'ground_truth', self._on_truth, qos.SENSOR(50), raw=True)
        ends.subscription(Imu, 'imu/data_raw', self._on_imu, qos.SENSOR(1000), raw=True)

    def activate(self) -> None:
        if len(self._store.versions) > 1:
            self._announce(str(self._store.in_use), 'in use before the restart')
        self._publish_status()

    def cleanup(self) -> None:
        if LearnerNode._worker.present(self):
            self._ending.set()
            self._worker.stop()
        self._worker = self.learner = None

    # --- inputs ----------------------------------------------------------------------------------

    def _on_imu(self, data: bytes) -> None:
        message = self._read_imu(data)
        if message is None or (self.learner is None and not self._begin(message.frame_id)):
            return
        learner = self.learner
        assert learner is not None          # _begin has seen to it
        sample, stamp_ns = self._sample, message.stamp_ns
        sample[:3], sample[3:] = message.values[cdr.IMU_GYROSCOPE], message.values[cdr.IMU_ACCELEROMETER]
        if stamp_ns < learner.history.newest_ns - BACKWARD_JUMP_NS:
            self.get_logger().warning('the clock jumped backwards: all windows are forgotten')
            learner.forget()
            self._path = None
        if not learner.add_imu(stamp_ns, sample):
            self.diagnostics.drop('imu: out_of_order', 'imu dropped: it is not later than the last one')

    def _begin(self, imu_frame: str) -> bool:
        """Make the learner, once it is known where in the robot the IMU sits."""
        extrinsic = np.array(self.params.extrinsic_imu_to_base)
        if not len(extrinsic):
            try:
                extrinsic = self._transforms.lookup(self.params.base_frame, imu_frame)
            except LookupError as error:
                self._waiting = (f'waiting for the static transform {self.params.base_frame} -> {imu_frame} ({error}): '
                                 'publish it on /tf_static, or set the parameter extrinsic_imu_to_base')
                return False
        self._waiting = ''
        self.learner = CorrectorLearner(learner_config(self.params), self._store, T_base_imu=extrinsic)
        if self.learner.trainer is not None:
            self.get_logger().info(f'training goes on at step {self.learner.trainer.step}, version '
                                   f'{self._store.versions[-1]} is in use')
        return True

    def _on_path(self, data: bytes) -> None:
        self._path = data       # read when it is needed: it is long, and comes with every solve

    def _on_truth(self, data: bytes) -> None:
        """True poses of the base, where something knows them: they are only compared with."""
        message = self._read_truth(data)
        if message is not None and self.learner is not None and not self.learner.add_truth(
                message.stamp_ns, message.values[:7]):
            self.diagnostics.drop('ground_truth: out_of_order', 'ground_truth dropped: not later than the last')

    # --- training --------------------------------------------------------------------------------

    def watch(self) -> None:
        """Five times a second: take up a round that ended, begin the next."""
        if self._job is not None and self._job.training.done:
            self._take_up(self._job)
        if (self._job is None and self.active and self._enabled and self.params.mode != 'off' and self.learner
                and self._path is not None and time.monotonic() >= self._rest_until):
            try:
                self.learner.set_keyframes(*cdr.read_path(self._path))
            except cdr.CdrError as error:
                self._path = None
                self.diagnostics.drop('path: garbled', f'path dropped: {error}')
                return
            training = self.learner.begin_round()
            if training is not None:
                self._job = TrainingJob(
                    training, self.params.nice, self._ending, alone=self.core is None)
                self._worker.submit(self._job)

    def _take_up(self, job: TrainingJob) -> None:
        self._job, self._rest_until = None, time.monotonic() + self.params.round_period
        learner = self.learner
        assert learner is not None          # a job is of one
        report = learner.finish(job.training)
        if report is None:
            self._sentence = f'collecting: {job.training.problem}'
            self._publish_status()
            return
        self.diagnostics.latency('round').add(job.duration)
        self._sentence = report.judgement.sentence
        self._loss.publish(Float64(data=report.loss_validation))
        if self.params.mode == 'auto_promote' and report.relapse:
            self._exchange(CorrectorLearner.roll_back, f'rolled back, the version before is {report.relapse.sentence}')
        elif self.params.mode == 'auto_promote' and report.judgement:
            self._exchange(CorrectorLearner.promote, f'promoted: {report.judgement.sentence}')
        self._publish_status()

    def _exchange(self, change: Callable[[CorrectorLearner], str], note: str) -> tuple[bool, str]:
        """Promote or roll back, and tell the target; whether it was done, and a sentence."""
        if self.learner is None or self._job is not None:
            return False, 'a round is being trained: ask again when it has ended' if self._job else 'no sample yet'
        try:
            path = change(self.learner)
        except CheckpointError as error:
            return False, str(error)
        self._sentence = note
        self._announce(path, note)
        self.get_logger().info(f'version {self._store.versions[-1]}: {note}')
        return True, f'{path}: {note}'

    def _announce(self, path: str, note: str) -> None:
        checkpoint = self._store.load(pathlib.Path(path))
        self._weights.publish(Weights(
            header=convert.header(self.get_clock().now().nanoseconds, ''), model=checkpoint.front_end.kind, path=path,
            sha256=checkpoint.sha256, version=checkpoint.metadata.version, note=note))

    def _publish_status(self) -> None:
        report = None if self.learner is None else self.learner.report
        hash_in_use = '' if self._store.in_use is None else self._store.load(self._store.in_use).sha256
        message = LearningStatus(
            header=convert.header(self.get_clock().now().nanoseconds, ''), mode=self.params.mode,
            target=self.params.target, weights_hash=hash_in_use, status=self._waiting or self._sentence)
        if report is not None and report.truth:
            message.status += f'; {report.truth}'
        if report is not None:
            message.step, message.windows = report.step, report.windows
            message.loss_train, message.loss_validation = report.loss_train, report.loss_validation
            message.loss_validation_current = report.loss_current
        self._statuses.publish(message)

    # --- services --------------------------------------------------------------------------------

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        self._sentence = 'collecting' if request.data else 'training is disabled; samples are still collected'
        response.success, response.message = True, self._sentence
        self._publish_status()
        return response

    def _checkpoint(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.learner is None or self.learner.trainer is None:
            response.message = 'nothing was trained yet'
        elif self._job is not None:
            response.message = 'a round is being trained: it saves its state when it ends'
        else:
            self.learner.save()
            response.success, response.message = True, str(self._store.training)
        return response

    def _promote(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._exchange(
            CorrectorLearner.promote, 'promoted on request')
        self._publish_status()
        return response

    def _rollback(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._exchange(
            CorrectorLearner.roll_back, 'rolled back on request')
        self._publish_status()
        return response

    def status(self) -> diagnostics.Status:
        status = diagnostics.Status(message=self._sentence)
        if self._waiting:
            status.worsen(diagnostics.WARN, self._waiting)
        elif self._path is None:
            status.worsen(diagnostics.WARN, "waiting for path, the pose graph's keyframes")
        status.values |= {'mode': self.params.mode, 'training': self._job is not None,
                          'version in use': self._store.versions[-1] if self._store.versions else 0}
        if self.learner is not None:
            status.values |= {'samples': len(self.learner.history), 'rounds': self.learner.rounds}
            if self.learner.report is not None and self.learner.report.truth:
                status.values['errors'] = self.learner.report.truth
        return status


def main(args: list[str] | None = None) -> None:
    yield_to_others()       # all of the process: its queues are long
    sys.exit(run(LearnerNode, args))
