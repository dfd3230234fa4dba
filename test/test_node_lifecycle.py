"""The lifecycle: outputs only while active, parameters refused by name, illegal transitions survived."""
import sys
import types

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Path
from node_rig import PERIOD, T0, circle_pose, odometry_message, pose_message, standing
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import Imu
from std_srvs.srv import Trigger

from pypose_ros import convert, diagnostics
from pypose_ros.msg import ImuBias, PreintegratedImu
from pypose_ros.params import load_yaml
from pypose_ros.srv import Calibrate, SetPose

NODE = 'imu_preintegration'


def change(rig, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return rig.call(ChangeState, f'{NODE}/change_state', request).success


def state(rig) -> str:
    return rig.call(GetState, f'{NODE}/get_state', GetState.Request()).current_state.label


@pytest.mark.parametrize('executor', ['events', 'single'])
def test_a_manager_leads_the_node_through_its_states_and_outputs_flow_only_while_active(rig, executor):
    node = rig.start(activate=False, autostart=False, bond_heartbeat_period=0.0, executor=executor)
    assert state(rig) == 'inactive'
    rig.samples(standing(T0, 1.5))
    assert node.estimator.output is not None and not rig.odometry       # it estimates, and is silent
    assert change(rig, Transition.TRANSITION_ACTIVATE) and state(rig) == 'active'
    rig.samples(standing(T0 + 300 * PERIOD, 0.1))
    assert len(rig.heard()) == 20
    assert change(rig, Transition.TRANSITION_DEACTIVATE) and state(rig) == 'inactive'
    rig.samples(standing(T0 + 320 * PERIOD, 0.1))
    assert len(rig.heard()) == 20
    assert change(rig, Transition.TRANSITION_CLEANUP) and state(rig) == 'unconfigured'
    assert node.estimator is None
    assert change(rig, Transition.TRANSITION_CONFIGURE) and change(rig, Transition.TRANSITION_ACTIVATE)
    rig.met()
    rig.samples(standing(T0 + 340 * PERIOD, 1.5))
    rig.until(lambda: rig.stamps()[-1] == T0 + 639 * PERIOD, 'output after the second configuration')
    assert change(rig, Transition.TRANSITION_ACTIVE_SHUTDOWN) and state(rig) == 'finalized'


@pytest.mark.parametrize('executor', ['events', 'single'])
def test_an_illegal_transition_is_refused_and_the_node_lives_on(rig, capfd, executor):
    rig.start(executor=executor)
    assert not change(rig, Transition.TRANSITION_ACTIVATE)      # it is active already
    assert not change(rig, 99)
    assert state(rig) == 'active'
    rig.samples(standing(T0, 1.2))
    assert rig.heard()
    assert 'not possible from state active' in capfd.readouterr().err


def test_an_exception_in_a_callback_is_logged_and_the_node_lives_on(rig, capfd, monkeypatch):
    node = rig.start()
    rig.samples(standing(T0, 1.2))
    monkeypatch.setattr(node.estimator, 'add_pose', lambda *_: 1 / 0)
    rig.send('pose', [pose_message(T0 + 230 * PERIOD)])
    rig.samples(standing(T0 + 240 * PERIOD, 0.1))
    assert rig.heard()[-1].stamp_ns == T0 + 259 * PERIOD
    assert 'ZeroDivisionError' in capfd.readouterr().err


@pytest.mark.parametrize('params, words', [
    ({'gravty': 9.8}, 'did you mean gravity'), ({'gravity': 'heavy'}, 'gravity: wants double'),
    ({'window_size': 1}, 'window_size: 1 is out of range'), ({'init.mode': 'fast'}, 'init.mode'),
    ({'model': 'net.pt'}, 'model'), ({'reinit_gap': 0.05}, 'reinit_gap')])
def test_an_unfit_parameter_is_refused_at_configure_by_name_and_can_be_mended(rig, capfd, params, words):
    node = rig.start(**params)
    assert node.state == 'unconfigured' and words in capfd.readouterr().err
    status = rig.status()
    assert status['level'] == diagnostics.ERROR and words in status['message']
    (name, _), = params.items()
    if node.has_parameter(name):
        good = node._declared.specs[name].default
        assert node.set_parameters([Parameter(name, value=good)])[0].successful
        assert change(rig, Transition.TRANSITION_CONFIGURE)


def test_parameters_change_at_run_time_all_or_none(rig):
    node = rig.start()
    rig.samples(standing(T0, 1.2))
    service, kind = f'{NODE}/set_parameters_atomically', SetParametersAtomically
    asked = [Parameter('publish_rate', value=50.0), Parameter('window_size', value=5)]
    result = rig.call(kind, service, kind.Request(parameters=[p.to_parameter_msg() for p in asked])).result
    assert not result.successful and 'window_size' in result.reason
    assert node.params.publish_rate == 0.0
    result = rig.call(kind, service, kind.Request(parameters=[asked[0].to_parameter_msg()])).result
    assert result.successful
    before = len(rig.heard())
    rig.samples(standing(T0 + 240 * PERIOD, 1.0))
    assert 49 <= len(rig.heard()) - before <= 51


def test_services_place_reset_and_calibrate_the_estimate(rig):
    rig.start()
    answer = rig.call(SetPose, f'{NODE}/set_pose', SetPose.Request())
    assert not answer.success and 'no IMU' in answer.message
    rig.samples(standing(T0, 1.5, gyro=(0.01, 0.0, 0.0)))
    at = np.array([1.0, 2.0, 3.0, 0, 0, 0, 1])
    pose = convert.pose_with_covariance_to_msg(0, 'odom', at, np.eye(6) * 1e-4)
    assert rig.call(SetPose, f'{NODE}/set_pose', SetPose.Request(pose=pose)).success
    rig.samples(standing(T0 + 300 * PERIOD, 0.5, gyro=(0.01, 0.0, 0.0)))
    np.testing.assert_allclose(rig.heard()[-1].values[:3], at[:3], atol=0.05)
    pose.header.frame_id = 'moon'
    answer = rig.call(SetPose, f'{NODE}/set_pose', SetPose.Request(pose=pose))
    assert not answer.success and 'moon' in answer.message
    answer = rig.call(Calibrate, f'{NODE}/calibrate', Calibrate.Request(duration=0.5))
    assert answer.success, answer.message
    np.testing.assert_allclose(convert.bias_from_msg(answer.bias)[1][:3], [0.01, 0, 0], atol=1e-3)
    assert rig.call(Trigger, f'{NODE}/reset', Trigger.Request()).success
    rig.samples(standing(T0 + 400 * PERIOD, 1.5))
    np.testing.assert_allclose(rig.heard()[-1].values[:3], 0, atol=0.01)


def test_biases_and_preintegrated_links_are_published_per_keyframe(rig):
    rig.start(init__mode='pose', window_size=3)
    biases, links = [], []
    rig.node.create_subscription(ImuBias, f'{NODE}/bias', biases.append, 100)
    rig.node.create_subscription(PreintegratedImu, f'{NODE}/preintegrated', links.append, 100)
    rig.met()
    rig.drive(T0, 2.0)
    rig.until(lambda: len(links) >= 10 and len(biases) >= 10, 'links and biases')
    assert biases[-1].header.frame_id == links[-1].header.frame_id == 'imu_link'
    for earlier, later in zip(links, links[1:]):
        assert earlier.to_id == later.from_id and earlier.to_stamp == later.from_stamp
    link = links[-1]
    row = convert.preintegrated_from_msg(link)
    assert link.samples == 20 and link.dt == pytest.approx(0.1)
    # What the samples say: the turn about z, and specific force times time.
    np.testing.assert_allclose(row[1:5], [0, 0, np.sin(0.025), np.cos(0.025)], atol=1e-6)
    np.testing.assert_allclose(row[7], 0.980665, rtol=1e-3)


def test_the_corrected_imu_and_the_path_are_published_for_those_who_listen(rig):
    rig.start(init__mode='pose')
    corrected, paths = [], []
    rig.node.create_subscription(Imu, 'imu/corrected', corrected.append, 1000)
    rig.node.create_subscription(Path, f'{NODE}/path', paths.append, 10)
    rig.met()
    rig.drive(T0, 2.0)
    rig.until(lambda: corrected and paths and len(paths[-1].poses) >= 10, 'both')
    stamp, frame, sample, orientation = convert.imu_from_msg(corrected[-1])
    assert frame == 'imu_link'
    np.testing.assert_allclose(sample, [0, 0, 0.5, 0, 0.5, 9.80665], atol=0.05)
    np.testing.assert_allclose(orientation, circle_pose(T0, stamp)[3:], atol=0.01)
    stamps, poses = convert.path_from_msg(paths[-1])
    assert (np.diff(stamps) == 100_000_000).all()
    np.testing.assert_allclose(poses[-1, :3], circle_pose(T0, int(stamps[-1]))[:3], atol=0.02)


def test_relative_corrections_hold_the_trajectory(rig):
    rig.start(init__mode='zero', init__window=0.5)
    rig.samples(standing(T0, 1.0))
    begin = T0 + 200 * PERIOD
    rig.corrected(standing(begin, 2.0), 'odometry', odometry_message)
    message = rig.heard()[-1]
    np.testing.assert_allclose(message.values[:3], 0, atol=0.02)
    assert rig.under_test.estimator.status.name == 'RUNNING'


def test_under_a_manager_a_bond_is_made_where_bondpy_is_installed(rig, monkeypatch):
    made = []

    class Bond:
        def __init__(self, topic, identity, node):
            self.named, self.started, self.heartbeat_period = (topic, identity), False, None
            made.append(self)

        def start(self):
            self.started = True

        def shutdown(self):
            self.started = False

    package, module = types.ModuleType('bondpy'), types.ModuleType('bondpy.bondpy')
    package.__spec__ = module.__spec__ = types.SimpleNamespace(name='bondpy')
    module.Bond = Bond
    monkeypatch.setitem(sys.modules, 'bondpy', package)
    monkeypatch.setitem(sys.modules, 'bondpy.bondpy', module)
    rig.start(autostart=False)
    (bond,) = made
    assert bond.named == ('bond', NODE) and bond.started and bond.heartbeat_period == 0.25
    assert change(rig, Transition.TRANSITION_DEACTIVATE) and not bond.started


def test_without_bondpy_the_node_says_how_to_do_without_a_bond(rig, capfd):
    rig.start(autostart=False)
    assert rig.under_test.state == 'active' and 'bond_timeout' in capfd.readouterr().err


def test_a_device_that_is_not_there_is_one_fallback_to_the_cpu_and_told(rig, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    node = rig.start(device='cuda:0')
    assert node.state == 'active' and node.device.type == 'cpu'
    status = rig.told(lambda s: 'cuda:0' in s['message'], 'the fallback')
    assert status['level'] == diagnostics.WARN and status['device'] == 'cpu'


def test_the_effective_parameters_are_written_to_results_dir(rig, tmp_path):
    rig.start(results_dir=str(tmp_path / 'run'), max_iterations=7)
    values = load_yaml(tmp_path / 'run' / 'imu_preintegration.yaml', 'imu_preintegration')
    assert values['max_iterations'] == 7 and values['init.mode'] == 'static'
