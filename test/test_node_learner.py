"""learner over DDS: windows in, status and weights out; services; what is refused; going on after a restart."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from learner_drive import drive
from nav_msgs.msg import Odometry, Path
from node_rig import IDENTITY, Host, Sample, reserved_domain
from rclpy.parameter import Parameter
from std_msgs.msg import Float64
from std_srvs.srv import SetBool, Trigger

from pypose_core.learning import ImuCorrector, Metadata
from pypose_core.online.learner import Judgement
from pypose_ros import cdr, cdr_arrays, qos
from pypose_ros.msg import LearningStatus, Weights


class Rig(Host):
    """learner in this process."""

    def __init__(self, domain: int):
        super().__init__(domain)
        self.statuses, self.weights, self.losses = [], [], []
        hear = self.node.create_subscription
        hear(LearningStatus, 'learner/status', self.statuses.append, qos.LATCHED)
        hear(Weights, 'imu_preintegration/weights', self.weights.append, qos.LATCHED)
        hear(Float64, 'learner/loss', self.losses.append, 10)
        self.path = self.node.create_publisher(Path, 'path', qos.LATCHED)

    def start(self, **params):
        from pypose_ros.nodes.learner import LearnerNode
        params = {'extrinsic_imu_to_base': IDENTITY, 'window': 6.0, 'steps': 1, 'batch_size': 1, 'min_windows': 2,
                  'round_period': 0.0, 'nice': 0, **params}
        return self.host(LearnerNode, params)

    def drive(self, recorded, *, begin: int = 0) -> None:
        self.publish(self.imu, 'imu', (Sample(stamp, tuple(sample[:3]), tuple(sample[3:])).serialized()
                                       for stamp, sample in zip(recorded.stamps_ns[begin:].tolist(),
                                                                recorded.imu[begin:])))
        self.path.publish(cdr_arrays.path(int(recorded.keyframes_ns[-1]), 'map', recorded.keyframes_ns, recorded.poses))


@pytest.fixture
def learner_rig():
    with reserved_domain() as domain:
        made = Rig(domain)
        yield made
        made.close()


def trigger(rig, name: str):
    return rig.call(Trigger, f'learner/{name}', Trigger.Request(), 60)


def test_it_learns_in_shadow_promotes_on_request_only_what_is_better_and_goes_on_after_a_restart(learner_rig, tmp_path):
    rig = learner_rig
    node = rig.start(checkpoint_dir=str(tmp_path))
    answer = trigger(rig, 'promote')
    assert not answer.success and 'no sample' in answer.message
    rig.drive(drive(60.0))
    rig.until(lambda: rig.losses, 'a round', 120)
    assert rig.call(SetBool, 'learner/enable', SetBool.Request(data=False)).success
    rig.until(lambda: node._job is None, 'the last round ends', 120)
    rig.until(lambda: rig.statuses and rig.statuses[-1].windows, 'the status')
    status = rig.statuses[-1]
    assert status.mode == 'shadow' and status.target == 'imu_preintegration' and status.step >= 1
    assert status.windows >= 8 and status.loss_validation > 0 and status.loss_validation_current > 0
    assert not rig.weights, 'shadow mode announced weights'

    learner = node.learner
    learner.report = replace(learner.report, judgement=Judgement(False, 'worse'))
    answer = trigger(rig, 'promote')
    assert not answer.success and 'worse' in answer.message and not rig.weights
    learner.report = replace(learner.report, judgement=Judgement(True, 'better'))
    assert trigger(rig, 'promote').success
    rig.until(lambda: rig.weights, 'the announcement')
    announced = rig.weights[-1]
    assert announced.version == 2 and announced.path == str(tmp_path / 'weights_v2.pt')
    rig.until(lambda: rig.statuses[-1].weights_hash == announced.sha256, 'the status names it')
    assert trigger(rig, 'checkpoint').success
    step = learner.trainer.step
    rig.stop()
    rig.weights.clear()

    node = rig.start(checkpoint_dir=str(tmp_path), mode='off')
    rig.until(lambda: rig.weights, 'what is in use is announced again')
    assert rig.weights[-1].sha256 == announced.sha256
    rig.drive(drive(4.0))
    rig.until(lambda: node.learner is not None, 'the first sample')
    assert node.learner.trainer.step == step
    assert trigger(rig, 'rollback').success
    rig.until(lambda: rig.weights[-1].version == 1, 'the version before')
    answer = trigger(rig, 'rollback')
    assert not answer.success and 'no version before' in answer.message


def test_a_promotion_that_later_windows_regret_is_taken_back_and_announced(learner_rig, tmp_path):
    rig, recorded = learner_rig, drive(108.0)
    node = rig.start(checkpoint_dir=str(tmp_path))
    half = len(recorded.stamps_ns) // 2
    rig.drive(replace(recorded, stamps_ns=recorded.stamps_ns[:half], imu=recorded.imu[:half]))
    rig.until(lambda: rig.losses, 'a round', 120)
    assert rig.call(SetBool, 'learner/enable', SetBool.Request(data=False)).success
    rig.until(lambda: node._job is None, 'the last round ends', 120)

    learner = node.learner
    bad = ImuCorrector(**learner.current.architecture)
    bad.load_state_dict(learner.current.state_dict())
    with torch.no_grad():
        bad.mixing += 0.2
    offered = learner.store.offer(bad, Metadata())
    learner.report = replace(learner.report, sha256=offered.sha256, judgement=Judgement(True, 'it looked better'))
    assert trigger(rig, 'promote').success
    rig.until(lambda: rig.weights and rig.weights[-1].version == 2, 'the bad version is announced')

    node.set_parameters([Parameter('mode', value='auto_promote')])
    rig.drive(recorded, begin=half)
    assert rig.call(SetBool, 'learner/enable', SetBool.Request(data=True)).success
    rig.until(lambda: rig.weights[-1].version != 2, 'it is taken back', 240)
    assert rig.weights[-1].version == 1 and 'rolled back' in rig.weights[-1].note
    assert rig.weights[-1].path == str(tmp_path / 'weights_v1.pt')


def test_ground_truth_is_compared_with_and_not_learned_from(learner_rig, tmp_path):
    rig, recorded = learner_rig, drive(60.0)
    node = rig.start(checkpoint_dir=str(tmp_path))
    truth = rig.node.create_publisher(Odometry, 'ground_truth', 100)
    rig.met()
    rig.drive(replace(recorded, keyframes_ns=recorded.keyframes_ns[:1], poses=recorded.poses[:1]))
    write = cdr.OdometryWriter('map', 'base_link')
    rig.publish(truth, 'ground_truth', (write(stamp, pose, np.zeros((6, 6)), np.zeros(3), np.zeros(3), np.zeros((6, 6)))
                                        for stamp, pose in zip(recorded.keyframes_ns.tolist(), recorded.poses)))
    assert len(node.learner.true_poses) == len(recorded.poses) and not rig.losses
    rig.path.publish(cdr_arrays.path(int(recorded.keyframes_ns[-1]), 'map', recorded.keyframes_ns, recorded.poses))
    rig.until(lambda: rig.losses and 'by ground truth' in rig.statuses[-1].status, 'a round', 120)
    (first, _), (now, _) = node.learner.report.true_errors
    assert 0 < first < 0.2 and 0 < now < 0.2


def test_damaged_weights_are_refused_at_configure(learner_rig, tmp_path, capfd):
    (tmp_path / 'versions.json').write_text('{"versions": [1], "last": 1}')
    (tmp_path / 'weights_v1.pt').write_bytes(b'nonsense')
    node = learner_rig.start(checkpoint_dir=str(tmp_path))
    assert node.state == 'unconfigured' and 'not a file of weights' in capfd.readouterr().err
