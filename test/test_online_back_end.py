"""The pose-graph back-end: against the batch optimum, against wrong loops, out of order, and over a file."""
import numpy as np
import pytest
import torch

from pypose_core.graph import SE3, Between, FactorGraph
from pypose_core.lie import se3
from pypose_core.metric import Trajectory, ate
from pypose_core.online.back_end import BackEndConfig, EdgeInput, PoseGraphBackEnd, SessionError
from pypose_core.online.correction import compose, inverse
from pypose_core.online.verdict import Verdict
from pypose_ros.sim.patrol import PatrolConfig, patrol

SMALL = PatrolConfig(laps=2, steps_per_lap=200, loop_every=20)
CONFIG = BackEndConfig(keyframe_distance=1.0, odometry_drift=(0.005, 0.002), odometry_sigma=(0.01, 0.003))


def drive(back_end: PoseGraphBackEnd, world, *, solve: bool = True, begin: int = 0, end: int | None = None) -> None:
    """Feed steps and the loops that close at them."""
    closes = {int(later): k for k, (_, later) in enumerate(world.loop_steps)}
    for step in range(begin, len(world.stamps_ns) if end is None else end):
        back_end.add_odometry(int(world.stamps_ns[step]), world.odometry[step])
        if step in closes:
            back_end.add_edge(loop(world, closes[step]))
        if solve and (job := back_end.begin_solve()) is not None:
            job.run()
            back_end.poll()


def loop(world, k: int, **changes) -> EdgeInput:
    i, j = world.loop_steps[k]
    return EdgeInput(**{'transform': world.loops[k], 'information': world.loop_information, 'source': 'scan',
                        'from_stamp_ns': int(world.stamps_ns[i]), 'to_stamp_ns': int(world.stamps_ns[j]), **changes})


def error(back_end: PoseGraphBackEnd, world) -> float:
    stamps = back_end.keyframes['stamp_ns']
    rows = np.searchsorted(world.stamps_ns, stamps)
    return ate(Trajectory(stamps, back_end.keyframes['pose'].copy()), Trajectory(stamps, world.truth[rows]),
               alignment='none').translation.rmse


@pytest.mark.parametrize('seed', [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
def test_online_error_is_within_ten_percent_of_the_batch_optimum(seed):
    world = patrol(PatrolConfig(seed=seed))
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world)
    online = error(back_end, world)
    graph = FactorGraph()
    graph.add_variables('pose', SE3, torch.from_numpy(back_end.keyframes['odom'].copy()))
    e = back_end.edges
    for kind in (0, 1):
        rows = e['kind'] == kind
        graph.add(Between('pose', torch.from_numpy(e['ends'][rows]), torch.from_numpy(e['measured'][rows]),
                          information=torch.from_numpy(e['information'][rows])))
    graph.fix('pose', [0])
    assert graph.optimize().status.ok
    back_end.keyframes['pose'][:] = graph.values['pose'].numpy()
    batch = error(back_end, world)
    dead_reckoning = ate(Trajectory(world.stamps_ns, world.odometry), Trajectory(world.stamps_ns, world.truth),
                         alignment='none').translation.rmse
    assert online < 1.1 * batch and online < 0.3 * dead_reckoning


def test_a_keyframe_comes_by_distance_angle_or_time():
    back_end = PoseGraphBackEnd(BackEndConfig(keyframe_distance=1.0, keyframe_angle=0.3, keyframe_time=5.0))
    pose = np.array([0.0, 0, 0, 0, 0, 0, 1])
    stamps = iter(range(10 ** 9, 10 ** 12, 10 ** 9))

    def keyframes_after(**change) -> int:
        for name, value in change.items():
            if name == 'yaw':
                pose[5:] = np.sin(value / 2), np.cos(value / 2)
            else:
                pose[0] = value
        back_end.add_odometry(next(stamps), pose)
        return len(back_end.keyframes)

    assert keyframes_after() == 1
    assert keyframes_after(x=0.9) == 1
    assert keyframes_after(x=1.05) == 2
    assert keyframes_after(yaw=0.25) == 2
    assert keyframes_after(yaw=0.35) == 3
    assert [keyframes_after() for _ in range(6)] == [3, 3, 3, 3, 4, 4]


def test_stamped_ends_between_keyframes_are_brought_to_them_by_odometry():
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(BackEndConfig(keyframe_distance=3.0, keyframe_time=0.0))
    drive(back_end, world, solve=False)
    e = back_end.edges
    loops = np.flatnonzero(e['kind'] == 1)
    rows = np.searchsorted(world.stamps_ns, back_end.keyframes['stamp_ns'])
    off = world.loop_steps[:, 1] != rows[e['ends'][loops, 1]]
    assert off.any()            # otherwise this test shows nothing
    for k in loops:
        i, j = rows[e['ends'][k]]
        true = se3.mul(se3.inv(torch.from_numpy(world.truth[i])), torch.from_numpy(world.truth[j]))
        gap = se3.log(se3.mul(se3.inv(true), torch.from_numpy(e['measured'][k])))
        assert gap[:3].norm() < 0.4 and gap[3:].norm() < 0.06       # noise of the loop, and odometry over 3 m


@pytest.mark.parametrize('robust', ['gnc', 'pcm'])
def test_wrong_loops_are_found_and_the_map_stays(robust):
    world = patrol(PatrolConfig(outliers=0.3, seed=3))
    clean = PoseGraphBackEnd(CONFIG)
    right = np.flatnonzero(~world.wrong)
    drive(clean, world, solve=False)
    back_end = PoseGraphBackEnd(BackEndConfig(robust=robust, odometry_drift=(0.005, 0.002),
                                              odometry_sigma=(0.01, 0.003)))
    drive(back_end, world, solve=False)
    job = back_end.solve(max_iterations=50)
    assert job.problem == '' and 0 < len(right) < len(world.wrong)
    loops = back_end.edges['kind'] == 1
    np.testing.assert_array_equal(back_end.edges['rejected'][loops], world.wrong)
    assert error(back_end, world) < 0.5
    events = back_end.take_events()
    assert sum(not event.accepted for event in events) == world.wrong.sum()
    assert all(robust in event.reason for event in events if not event.accepted)


def test_huber_tells_which_loop_it_lets_down():
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, solve=False)
    n = len(back_end.keyframes)
    back_end.add_edge(EdgeInput(np.array([9.0, 0, 0, 0, 0, 0, 1]), world.loop_information, from_id=2, to_id=n - 3,
                                source='wrong'))
    back_end.solve()
    told = [event for event in back_end.take_events() if 'down-weighted' in event.reason]
    assert [(2, n - 3)] == [(event.from_id, event.to_id) for event in told if event.chi2 > 1000]


def test_edges_ahead_of_odometry_wait_for_it_and_stamps_never_covered_are_told():
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, solve=False, end=int(world.loop_steps[0, 1]) - 5)
    before = (back_end.edges['kind'] == 1).sum()
    verdict, _ = back_end.add_edge(loop(world, 0))
    assert verdict is Verdict.QUEUED and (back_end.edges['kind'] == 1).sum() == before
    for step in range(int(world.loop_steps[0, 1]) - 5, int(world.loop_steps[0, 1]) + 1):
        back_end.add_odometry(int(world.stamps_ns[step]), world.odometry[step])
    assert (back_end.edges['kind'] == 1).sum() == before + 1
    back_end.add_edge(loop(world, 0, to_stamp_ns=back_end.stamp_ns + 10 ** 9))
    back_end.add_odometry(back_end.stamp_ns + 60 * 10 ** 9, world.odometry[int(world.loop_steps[0, 1])])
    assert any('passed its stamp' in sentence for _, sentence in back_end.take_messages())


def test_edges_that_cannot_be_are_refused_and_nothing_changes():
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, solve=False, end=150)
    count = len(back_end.edges)
    good = np.array([1.0, 0, 0, 0, 0, 0, 1])
    indefinite = np.diag([1.0, 1, 1, 1, 1, -1])
    for edge, wanted in (
            (EdgeInput(np.full(7, np.nan), np.eye(6), 0, 1), Verdict.NOT_FINITE),
            (EdgeInput(2 * good, np.eye(6), 0, 1), Verdict.BAD_QUATERNION),
            (EdgeInput(good, np.full((6, 6), np.inf), 0, 1), Verdict.NOT_FINITE),
            (EdgeInput(good, indefinite, 0, 1), Verdict.BAD_COVARIANCE),
            (EdgeInput(good, np.eye(6), 0, 10 ** 6), Verdict.TOO_OLD),
            (EdgeInput(good, np.eye(6), 1, 1), Verdict.TOO_OLD)):
        assert back_end.add_edge(edge)[0] is wanted
    assert len(back_end.edges) == count
    assert [event.accepted for event in back_end.take_events()] == [False, False]


def test_a_failed_solve_keeps_the_last_good_estimate_and_says_why(monkeypatch):
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, end=300)
    before, revision = back_end.keyframes['pose'].copy(), back_end.revision
    job = back_end.begin_solve(force=True)
    job.edges['information'] = job.edges['information'].copy()
    job.edges['measured'][3] = np.nan
    with pytest.raises(ValueError, match='not finite'):
        job.run()
    back_end.poll()
    np.testing.assert_array_equal(back_end.keyframes['pose'], before)
    assert back_end.revision == revision and 'not finite' in back_end.take_messages()[-1][1]
    assert back_end.solve().solution is not None            # and it can go on


def test_an_answer_that_comes_late_moves_what_came_meanwhile_with_it():
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, solve=False, end=250)
    job = back_end.begin_solve()
    known = len(back_end.keyframes)
    drive(back_end, world, solve=False, begin=250, end=330)
    assert len(back_end.keyframes) > known
    job.run()
    back_end.poll()
    k = back_end.keyframes
    np.testing.assert_array_equal(k['pose'][:known], job.solution.poses)
    for row in range(known, len(k)):
        np.testing.assert_allclose(compose(inverse(k['pose'][row - 1]), k['pose'][row]),
                                   compose(inverse(k['odom'][row - 1]), k['odom'][row]), atol=1e-9)
    np.testing.assert_allclose(compose(back_end.T_map_odom, k['odom'][-1]), k['pose'][-1], atol=1e-9)


def test_absolute_poses_place_the_map_and_their_covariance_is_kept():
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    T_world_map = np.array([100.0, -50, 3, 0, 0, np.sin(0.6), np.cos(0.6)])
    covariance = np.diag([0.01] * 3 + [1e-4] * 3)
    for step in range(300):
        back_end.add_odometry(int(world.stamps_ns[step]), world.odometry[step])
        if step % 50 == 10:
            assert back_end.add_pose(int(world.stamps_ns[step]), compose(T_world_map, world.truth[step]),
                                     covariance) is Verdict.ACCEPTED
    assert back_end.solve().problem == ''
    np.testing.assert_allclose(back_end.T_map_base[:3], compose(T_world_map, world.truth[299])[:3], atol=0.3)
    sigma = np.sqrt(back_end.covariance.diagonal())
    assert 0.01 < sigma[0] < 0.3 and 1e-3 < sigma[5] < 0.05


def test_fixes_turn_the_map_to_the_north_and_hold_it():
    world = patrol(PatrolConfig(laps=2, loop_every=10 ** 6))
    back_end = PoseGraphBackEnd(BackEndConfig(odometry_drift=(0.005, 0.002), gnss_lever=(0.2, 0.0, 0.5)))
    yaw, rng = 2.0, np.random.default_rng(5)
    T_enu_map = np.array([0, 0, 0, 0, 0, np.sin(yaw / 2), np.cos(yaw / 2)])
    lever = np.array([0.2, 0.0, 0.5, 0, 0, 0, 1])
    for step in range(len(world.stamps_ns)):
        back_end.add_odometry(int(world.stamps_ns[step]), world.odometry[step])
        if step % 10 == 0:
            antenna = compose(compose(T_enu_map, world.truth[step]), lever)[:3]
            back_end.add_position(int(world.stamps_ns[step]), antenna + 0.1 * rng.standard_normal(3), 0.01 * np.eye(3))
        if step % 100 == 99 and (job := back_end.begin_solve()) is not None:
            job.run()
            back_end.poll()
    back_end.solve()
    expected = np.array([compose(T_enu_map, world.truth[row]) for row in np.searchsorted(
        world.stamps_ns, back_end.keyframes['stamp_ns'])])
    gap = np.linalg.norm(back_end.keyframes['pose'][:, :3] - expected[:, :3], axis=1)
    assert np.sqrt(np.mean(gap ** 2)) < 0.12
    assert np.abs(compose(inverse(expected[-1]), back_end.keyframes['pose'][-1])[3:6]).max() < 0.03


def test_a_first_fix_is_the_datum_of_the_earth():
    back_end = PoseGraphBackEnd(CONFIG)
    back_end.add_odometry(10 ** 9, np.array([0.0, 0, 0, 0, 0, 0, 1]))
    back_end.add_fix(10 ** 9, 48.0, 11.0, 500.0)
    # A minute of latitude at 48 degrees is 1853.2 m of meridian plus 500 m of height's share (WGS 84).
    east, north, up = back_end.local_frame(48.0 + 1 / 60, 11.0, 500.0)
    assert abs(north - 1853.3) < 0.5 and abs(east) < 1e-6 and -0.4 < up < -0.2


def test_a_session_is_saved_and_goes_on_where_it_was(tmp_path):
    world = patrol(SMALL)
    first = PoseGraphBackEnd(CONFIG)
    drive(first, world, end=300)
    first.save(tmp_path / 'map.g2o')
    second = PoseGraphBackEnd(CONFIG)
    second.load(tmp_path / 'map.g2o')
    for name in ('id', 'stamp_ns', 'odom'):
        np.testing.assert_array_equal(second.keyframes[name], first.keyframes[name])
    np.testing.assert_allclose(second.keyframes['pose'], first.keyframes['pose'], atol=1e-14)   # normalized again
    for name in ('kind', 'ends', 'information', 'rejected', 'chi2'):
        np.testing.assert_array_equal(second.edges[name], first.edges[name])
    np.testing.assert_allclose(second.edges['measured'], first.edges['measured'], atol=1e-14)
    # The robot was carried; a loop says where it is.
    later = world.stamps_ns[-1] + 10 ** 9
    second.add_odometry(int(later), np.array([5.0, 5, 5, 0, 0, 0, 1]))
    new = len(second.keyframes) - 1
    assert int(second.keyframes['id'][-1]) == int(first.keyframes['id'][-1]) + 1
    target = compose(second.keyframes['pose'][4], np.array([0.5, 0, 0, 0, 0, 0, 1]))
    second.add_edge(EdgeInput(np.array([0.5, 0, 0, 0, 0, 0, 1]), world.loop_information, from_id=4,
                              to_id=int(second.keyframes['id'][new])))
    assert second.solve(max_iterations=30).problem == ''
    np.testing.assert_allclose(second.T_map_base[:3], target[:3], atol=0.05)


def test_files_that_are_no_session_are_refused_with_the_line_and_nothing_is_lost(tmp_path):
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, solve=False, end=150)
    good = tmp_path / 'map.g2o'
    back_end.save(good)
    lines = good.read_text().splitlines()
    poses = back_end.keyframes['pose'].copy()
    for name, text, wanted in (
            ('cut', '\n'.join(lines[:-3]) + '\n', 'cut off'),
            ('half', '\n'.join(lines)[:-40], r'half.g2o:\d+'),
            ('foreign', 'hello\nworld\n', 'foreign.g2o'),
            ('nan', '\n'.join(lines).replace(lines[-1].split()[3], 'nan', 1), r'nan.g2o'),
            ('comment', '\n'.join([lines[0], '# pypose_ros keyframe [1,'] + lines[2:]), r'comment.g2o:2'),
            ('version', '\n'.join([lines[0].replace('"version": 1', '"version": 9')] + lines[1:]), 'version 1')):
        bad = tmp_path / f'{name}.g2o'
        bad.write_text(text)
        with pytest.raises(SessionError, match=wanted):
            back_end.load(bad)
    with pytest.raises(SessionError, match='missing'):
        back_end.load(tmp_path / 'missing.g2o')
    np.testing.assert_array_equal(back_end.keyframes['pose'], poses)


def test_a_graph_of_another_tool_is_taken_too(tmp_path):
    path = tmp_path / 'other.g2o'
    path.write_text('VERTEX_SE3:QUAT 3 0 0 0 0 0 0 1\nVERTEX_SE3:QUAT 7 1 0 0 0 0 0 1\n'
                    'EDGE_SE3:QUAT 3 7 1 0 0 0 0 0 1 ' + ' '.join(
                        '1' if i == j else '0' for i in range(6) for j in range(i, 6)) + '\n')
    back_end = PoseGraphBackEnd(CONFIG)
    back_end.load(path)
    assert back_end.keyframes['id'].tolist() == [3, 7] and len(back_end.edges) == 1


def test_a_clock_that_jumps_back_begins_a_new_map_and_odometry_that_leaps_does_not():
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, end=100)
    count = len(back_end.keyframes)
    at = back_end.T_map_base
    back_end.add_odometry(int(world.stamps_ns[99]) + 10 ** 8, np.array([500.0, 0, 0, 0, 0, 0, 1]))
    np.testing.assert_allclose(back_end.T_map_base, back_end.keyframes['pose'][-1])
    assert len(back_end.keyframes) == count + 1 and np.linalg.norm(back_end.T_map_base[:3] - at[:3]) < 1.5
    assert back_end.add_odometry(int(world.stamps_ns[0]), world.odometry[0]) is Verdict.RESET
    assert len(back_end.keyframes) == 1


def test_memory_is_linear_and_max_nodes_holds():
    back_end = PoseGraphBackEnd(BackEndConfig(keyframe_distance=0.0, max_nodes=50))
    for step in range(80):
        back_end.add_odometry((step + 1) * 10 ** 8, np.array([0.1 * step, 0, 0, 0, 0, 0, 1]))
    assert len(back_end.keyframes) == 50
    np.testing.assert_allclose(back_end.T_map_base[0], 7.9)         # the pose goes on all the same
    assert sum('max_nodes' in sentence for _, sentence in back_end.take_messages()) == 1


def test_a_loop_that_cannot_be_solved_with_is_left_out_and_the_rest_goes_on(monkeypatch):
    world = patrol(SMALL)
    back_end = PoseGraphBackEnd(CONFIG)
    drive(back_end, world, end=300)
    back_end.take_events()
    back_end.add_edge(EdgeInput(world.loops[0], world.loop_information, from_id=0, to_id=50))
    job = back_end.begin_solve()
    monkeypatch.setattr(job.solver, 'advance', lambda *a, **k: (None, 'the factors are no good'))
    job.run()
    back_end.poll()
    monkeypatch.undo()
    event, = back_end.take_events()
    assert not event.accepted and 'no good' in event.reason and back_end.edges['rejected'][-1]
    drive(back_end, world, begin=300)
    assert error(back_end, world) < 0.5 and back_end.last_job.problem == ''


def test_rounding_does_not_grow_over_many_solves_that_come_late():
    """Each late answer moves the keyframes that came meanwhile, thousands of times in a session."""
    back_end = PoseGraphBackEnd(BackEndConfig(keyframe_distance=0.0))
    rng = np.random.default_rng(0)
    pose, job = np.array([0.0, 0, 0, 0, 0, 0, 1]), None
    for step in range(1500):
        turn = np.append(0.05 * rng.standard_normal(3), 1.0)
        pose = compose(pose, np.append([0.3, 0, 0], turn / np.linalg.norm(turn)))
        pose[3:] /= np.linalg.norm(pose[3:])
        back_end.add_odometry((step + 1) * 10 ** 8, pose)
        if step % 4 == 3:
            back_end.add_edge(EdgeInput(compose(inverse(back_end.keyframes['odom'][step - 3]), pose), np.eye(6),
                                        from_id=step - 3, to_id=step))
        if job is not None and step % 4 == 1:       # two keyframes late
            job.run()
            back_end.poll()
            job = None
        job = back_end.begin_solve() or job
    assert np.abs(np.linalg.norm(back_end.keyframes['pose'][:, 3:], axis=1) - 1).max() < 1e-14
    np.testing.assert_allclose(back_end.T_map_base, pose * np.sign(pose[6] * back_end.T_map_base[6]), atol=1e-6)
