"""pose_graph over DDS: its outputs against the truth, its services, and what happens when things go wrong."""
import threading

import numpy as np
import pytest
from graph_rig import NODE, edge_message, odometry_bytes
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_rig import pose_message
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import NavSatFix
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from pypose_core.online.back_end import EdgeKind, PoseGraphBackEnd
from pypose_core.online.back_end.batch_job import BatchJob
from pypose_core.online.back_end.incremental_job import IncrementalJob
from pypose_core.online.correction import compose, inverse
from pypose_ros import convert, diagnostics, qos
from pypose_ros.msg import PoseGraph
from pypose_ros.sim.patrol import PatrolConfig, patrol
from pypose_ros.srv import AddEdge, LoadGraph, OptimizeGraph, SaveGraph

WORLD = patrol(PatrolConfig(laps=2, steps_per_lap=120, loop_every=15, odometry_sigma=(0.03, 0.006)))
FAST = {'odometry_drift': [0.02, 0.005], 'odometry_sigma': [0.03, 0.006], 'publish_period': 0.0}


def send_loops(rig, world=WORLD) -> None:
    for (i, j), transform in zip(world.loop_steps, world.loops):
        rig.edge.publish(edge_message(transform, stamps=world.stamps_ns[[i, j]], information=world.loop_information))


def drive(rig, begin: int = 0, end: int | None = None) -> None:
    rig.drive(WORLD.stamps_ns[begin:end], WORLD.odometry[begin:end])


def test_loops_correct_the_map_and_everybody_hears_of_it(graph_rig):
    rig = graph_rig
    node = rig.start(**FAST)
    drive(rig)
    send_loops(rig)
    rig.until(lambda: len(rig.events) >= len(WORLD.loops), 'an event for each loop')
    assert all(event.accepted for event in rig.events)
    rig.until(lambda: rig.stats and rig.stats[-1].success and not node.back_end.solving and not node.back_end._dirty,
              'the last solve')
    drift = np.linalg.norm(WORLD.odometry[-1, :3] - WORLD.truth[-1, :3])
    # One more odometry message comes back in the map.
    rig.drive([int(WORLD.stamps_ns[-1]) + 10 ** 8], [WORLD.odometry[-1]])
    rig.until(lambda: rig.corrected and rig.corrected[-1].header.stamp == convert.stamp_to_msg(
        int(WORLD.stamps_ns[-1]) + 10 ** 8), 'the corrected odometry')
    message = rig.corrected[-1]
    assert (message.header.frame_id, message.child_frame_id) == ('map', 'base_link')
    found = convert.pose_from_msg(message.pose.pose)
    assert np.linalg.norm(found[:3] - WORLD.truth[-1, :3]) < 0.5 * drift
    # TF: map -> odom after the same estimate.
    def in_map() -> np.ndarray:
        return compose(convert.transform_from_msg(rig.transforms[-1].transform), WORLD.odometry[-1])

    rig.until(lambda: rig.transforms and np.allclose(in_map()[:3], found[:3], atol=1e-6), 'TF of the same estimate')
    assert rig.transforms[-1].header.frame_id == 'map'
    assert rig.transforms[-1].child_frame_id == 'odom'
    # The covariance of the newest pose, the path, the graph and the markers.
    rig.until(lambda: rig.poses, 'the pose with its covariance')
    assert 0 < rig.poses[-1].pose.covariance[0] < 0.1

    def loops() -> list:
        return [edge for edge in rig.graphs[-1].edges if edge.kind == 1] if rig.graphs else []

    rig.until(lambda: len(loops()) == len(WORLD.loops) and len(rig.graphs[-1].nodes) == len(node.back_end.keyframes),
              'the graph with its loops')
    assert all(edge.chi2 > 0 and edge.source == 'test' for edge in loops())
    rig.until(lambda: rig.paths and len(rig.paths[-1].poses) == len(rig.graphs[-1].nodes), 'the path')
    rig.until(lambda: rig.markers, 'the markers')
    assert [marker.ns for marker in rig.markers[-1].markers] == ['nodes', 'odometry', 'loops', 'rejected']


def test_a_graph_is_saved_and_loaded_over_services(graph_rig, tmp_path):
    rig = graph_rig
    rig.start(**FAST, results_dir=str(tmp_path))
    drive(rig, 0, 150)
    saved = rig.call(SaveGraph, f'{NODE}/save_graph', SaveGraph.Request())
    assert saved.success and saved.path == str(tmp_path / 'pose_graph.g2o')
    trajectory = rig.call(SaveGraph, f'{NODE}/save_graph', SaveGraph.Request(path=str(tmp_path / 'way.tum')))
    assert trajectory.success
    count = len((tmp_path / 'way.tum').read_text().splitlines())
    rig.call(Trigger, f'{NODE}/reset', Trigger.Request())
    assert len(rig.under_test.back_end.keyframes) == 0
    broken = tmp_path / 'broken.g2o'
    broken.write_text('VERTEX_SE3:QUAT 0 1 2\n')
    answer = rig.call(LoadGraph, f'{NODE}/load_graph', LoadGraph.Request(path=str(broken)))
    assert not answer.success and 'broken.g2o:1' in answer.message
    answer = rig.call(LoadGraph, f'{NODE}/load_graph', LoadGraph.Request(path=saved.path))
    assert answer.success and answer.nodes == count


def test_edges_by_hand_pause_and_a_full_solve(graph_rig):
    rig = graph_rig
    node = rig.start(**FAST)
    drive(rig)
    assert rig.call(SetBool, f'{NODE}/pause', SetBool.Request(data=True)).success
    send_loops(rig)
    rig.until(lambda: (node.back_end.edges['kind'] == 1).sum() == len(WORLD.loops), 'the loops are in')
    rig.spin(0.3)
    rig.told(lambda s: 'paused' in s['message'], 'the pause')
    assert node.back_end.revision == 0
    answer = rig.call(OptimizeGraph, f'{NODE}/optimize', OptimizeGraph.Request(max_iterations=30))
    assert answer.success and answer.stats.cost_final < 0.5 * answer.stats.cost_initial
    assert answer.stats.variables == len(node.back_end.keyframes)
    rig.call(SetBool, f'{NODE}/pause', SetBool.Request(data=False))
    none = edge_message([0, 0, 0, 0, 0, 0, 1], ids=(0, 10 ** 6))
    answer = rig.call(AddEdge, f'{NODE}/add_edge', AddEdge.Request(edge=none))
    assert not answer.success and 'keyframe 1000000' in answer.message
    good = edge_message(compose(inverse(WORLD.truth[0]), WORLD.truth[0]), ids=(0, 1))
    assert rig.call(AddEdge, f'{NODE}/add_edge', AddEdge.Request(edge=good)).success


@pytest.fixture
def held(monkeypatch):
    """(begun, release): full solves wait at their beginning for `release`."""
    begun, release = threading.Event(), threading.Event()
    solve = BatchJob.solve

    def wait_and_solve(self, start):
        begun.set()
        assert release.wait(60)
        return solve(self, start)

    monkeypatch.setattr(BatchJob, 'solve', wait_and_solve)
    yield begun, release
    release.set()


@pytest.mark.parametrize('executor', ['events', 'single'])
def test_measurements_are_taken_during_a_full_solve_and_enter_after_it(graph_rig, held, executor):
    rig, (begun, release) = graph_rig, held
    node = rig.start(executor=executor, **FAST)
    middle = 150
    drive(rig, 0, middle)
    send_loops(rig)
    rig.until(lambda: node.back_end.revision, 'the first solve')
    client = rig.node.create_client(OptimizeGraph, f'{NODE}/optimize')
    rig.until(client.service_is_ready, 'the service')
    answers = [client.call_async(OptimizeGraph.Request(max_iterations=30)) for _ in range(2)]
    rig.until(begun.is_set, 'the solve')
    known, edges, poses = len(node.back_end.keyframes), len(node.back_end.edges), len(rig.corrected)
    drive(rig, middle)              # returns when all of it is taken
    rig.until(lambda: len(node.back_end.edges) - edges > len(node.back_end.keyframes) - known > 10,
              'keyframes, and the loops that waited for them')
    rig.until(lambda: len(rig.corrected) > poses, 'odometry in the map goes on')
    assert not any(answer.done() for answer in answers) and node.back_end.solving
    release.set()
    rig.until(lambda: all(answer.done() for answer in answers), 'the answers')
    assert all(answer.result().success for answer in answers)
    assert answers[0].result().stats.variables == known < answers[1].result().stats.variables
    rig.until(lambda: (node.back_end.edges['chi2'][node.back_end.edges['kind'] == EdgeKind.LOOP] > 0).all(),
              'every loop is judged')
    end = node.back_end.T_map_base
    assert np.linalg.norm(end[:3] - WORLD.truth[-1, :3]) < 0.5 * np.linalg.norm(
        WORLD.odometry[-1, :3] - WORLD.truth[-1, :3])


def test_who_waits_for_a_full_solve_is_answered_when_the_map_goes_and_when_the_node_goes(graph_rig, held):
    rig, (begun, release) = graph_rig, held
    rig.start(**FAST)
    drive(rig, 0, 60)
    client = rig.node.create_client(OptimizeGraph, f'{NODE}/optimize')
    rig.until(client.service_is_ready, 'the service')
    answer = client.call_async(OptimizeGraph.Request())
    rig.until(begun.is_set, 'the solve')
    assert rig.call(Trigger, f'{NODE}/reset', Trigger.Request()).success
    release.set()
    rig.until(answer.done, 'the answer')
    assert not answer.result().success and 'anew' in answer.result().message
    assert rig.call(OptimizeGraph, f'{NODE}/optimize', OptimizeGraph.Request()).message.startswith('there are fewer')
    drive(rig, 60, 120)
    begun.clear(), release.clear()
    answer = client.call_async(OptimizeGraph.Request())
    rig.until(begun.is_set, 'the next solve')
    threading.Timer(0.2, release.set).start()       # the node lets a solve end before it goes
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        asked = ChangeState.Request(transition=Transition(id=transition))
        assert rig.call(ChangeState, f'{NODE}/change_state', asked).success
    rig.until(answer.done, 'the answer')
    assert not answer.result().success and 'cleaned up' in answer.result().message


def test_a_graph_of_another_back_end_gives_its_loops(graph_rig):
    rig = graph_rig
    node = rig.start(**FAST)
    drive(rig)
    graph = PoseGraph(header=convert.header(1, 'map'), edges=[
        edge_message(transform, stamps=WORLD.stamps_ns[[i, j]], information=WORLD.loop_information)
        for (i, j), transform in zip(WORLD.loop_steps, WORLD.loops)])
    graph.edges[0].rejected = True
    rig.graph_in.publish(graph)
    rig.until(lambda: (node.back_end.edges['kind'] == 1).sum() == len(WORLD.loops) - 1, 'the loops')


def test_values_that_cannot_be_are_refused_with_the_reason(graph_rig, capfd):
    rig = graph_rig
    node = rig.start()
    stamp, good = int(WORLD.stamps_ns[0]), WORLD.odometry[0]
    nan = np.full(7, np.nan)
    for data in (odometry_bytes(stamp, good), odometry_bytes(stamp + 1, nan), odometry_bytes(stamp + 2, 1.01 * good),
                 odometry_bytes(stamp + 3, good, frame=''), odometry_bytes(stamp + 4, good, frame='other'),
                 odometry_bytes(stamp + 5, good, covariance=np.full((6, 6), 2e9)), odometry_bytes(0, good),
                 odometry_bytes(stamp, good), odometry_bytes(stamp - 10, good), b'\x00\x01\x00\x00garbage'):
        rig.odom.publish(data)
    rig.until(lambda: rig.taken('odometry') == 10, 'all are taken')
    rig.edge.publish(edge_message(nan, ids=(0, 1)))
    rig.edge.publish(edge_message(good, ids=(0, 1), information=np.diag([1.0, 1, 1, 1, 1, -1])))
    rig.fix.publish(NavSatFix(header=convert.header(stamp, 'gps'), latitude=float('nan')))
    rig.fix.publish(NavSatFix(header=convert.header(0, 'gps'), latitude=1.0))
    lost = NavSatFix(header=convert.header(stamp, 'gps'), latitude=1.0)
    lost.status.status = -1
    rig.fix.publish(lost)
    rig.pose.publish(pose_message(stamp, nan, frame='map'))
    rig.until(lambda: sum(node.diagnostics.drops.values()) >= 15, 'all are judged')
    assert dict(node.diagnostics.drops) == {
        'odometry: not_finite': 1, 'odometry: bad_quaternion': 1, 'odometry: empty_frame': 1, 'odometry: frame': 1,
        'odometry: bad_covariance': 1, 'odometry: zero_stamp': 1, 'odometry: duplicate': 1,
        'odometry: out_of_order': 1, 'odometry: garbled': 1, 'loop_closure: not_finite': 1,
        'loop_closure: bad_covariance': 1, 'fix: not_finite': 1, 'fix: zero_stamp': 1, 'fix: no_fix': 1,
        'pose: not_finite': 1}
    assert len(node.back_end.keyframes) == 1


def test_a_bag_that_loops_begins_a_new_map_and_the_node_runs_on(graph_rig):
    rig = graph_rig
    node = rig.start(**FAST)
    drive(rig, 0, 100)
    first = len(node.back_end.keyframes)
    drive(rig, 0, 100)
    assert len(node.back_end.keyframes) == first
    rig.until(lambda: len(rig.corrected) == 200, 'outputs go on')
    assert rig.corrected[-1].header.stamp == convert.stamp_to_msg(int(WORLD.stamps_ns[99]))


def test_silence_of_odometry_stops_tf_and_is_told_once(graph_rig, capfd):
    rig = graph_rig
    rig.start(**FAST, odom_timeout=0.5)
    ahead = iter(range(30, 10 ** 6))

    def until_tf(what: str) -> None:
        """Odometry goes on: a busy machine may take longer than odom_timeout for the way to TF."""
        rig.until(lambda: rig.transforms or rig.drive(
            [int(WORLD.stamps_ns[0]) + next(ahead) * 10 ** 8], [WORLD.odometry[29]]), what)

    drive(rig, 0, 30)
    until_tf('TF')
    rig.told(lambda s: 'no odometry for' in s['message'], 'the silence')
    assert 'no longer broadcast' in capfd.readouterr().err
    rig.transforms.clear()
    rig.spin(0.3)
    for _ in range(2):          # it lasts, and is not said again
        assert 'no odometry for' in rig.status()['message']
    assert not rig.transforms and 'no longer broadcast' not in capfd.readouterr().err
    until_tf('TF again')


def test_a_second_broadcaster_of_map_to_odom_is_an_error_that_names_it(graph_rig, capfd):
    rig = graph_rig
    rig.start(**FAST)
    drive(rig, 0, 30)
    other = rig.node.create_publisher(TFMessage, '/tf', qos.TF)
    message = TFMessage(transforms=[
        convert.transform_to_msg(int(WORLD.stamps_ns[30]) + 1, 'map', 'odom', WORLD.truth[0])])
    rig.until(lambda: other.publish(message) or rig.status()['level'] == diagnostics.ERROR, 'the diagnostics')
    message = rig.status()['message']
    assert '/peer' in message and 'UNKNOWN' not in message and 'publish_tf' in message
    assert capfd.readouterr().err.count('broadcasts map -> odom too') == 1


def test_a_failed_solve_keeps_the_estimate_and_the_node_alive(graph_rig, monkeypatch):
    rig = graph_rig
    node = rig.start(**FAST)
    drive(rig)

    def fail(self, start):
        raise RuntimeError('out of luck')

    monkeypatch.setattr(IncrementalJob, 'solve', fail)
    before = node.back_end.keyframes['pose'].copy()
    send_loops(rig)
    rig.until(lambda: rig.stats and not rig.stats[-1].success, 'the failure is told')
    assert 'out of luck' in rig.stats[-1].status
    np.testing.assert_array_equal(node.back_end.keyframes['pose'], before)
    monkeypatch.undo()
    assert rig.call(OptimizeGraph, f'{NODE}/optimize', OptimizeGraph.Request()).success


def test_the_session_is_saved_when_the_node_goes_and_loaded_when_it_comes(graph_rig, tmp_path):
    rig = graph_rig
    node = rig.start(**FAST, autosave_on_shutdown=str(tmp_path / 'auto.g2o'), results_dir=str(tmp_path / 'run'))
    drive(rig, 0, 120)
    count = len(node.back_end.keyframes)
    page = tmp_path / 'now.html'
    assert rig.call(SaveGraph, f'{NODE}/save_graph', SaveGraph.Request(path=str(page))).success
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    other = PoseGraphBackEnd()
    other.load(tmp_path / 'auto.g2o')
    assert len(other.keyframes) == count
    assert (tmp_path / 'run' / 'pose_graph.html').read_text() == page.read_text()


def test_parameters_that_contradict_each_other_are_refused(graph_rig, capfd):
    node = graph_rig.start(map_frame='odom')
    assert node.state == 'unconfigured' and 'three different names' in capfd.readouterr().err


@pytest.mark.parametrize('name, value', [('robust.method', 'magic'), ('keyframe.distance', -1.0)])
def test_a_parameter_out_of_range_is_named(graph_rig, capfd, name, value):
    node = graph_rig.start(**{name.replace('.', '__'): value})
    assert node.state == 'unconfigured' and name in capfd.readouterr().err
