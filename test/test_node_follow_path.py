"""FollowPath of Nav2: goals, feedback, preemption, cancellation and error codes."""
import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from controller_rig import LINE, ControllerRig, grid_message, path_message
from node_rig import reserved_domain
from rclpy.action import ActionClient

nav2 = pytest.importorskip('nav2_msgs.action', reason='nav2_msgs is not built: make setup')
FollowPath = nav2.FollowPath


@pytest.fixture
def rig():
    with reserved_domain() as domain:
        made = ControllerRig(domain)
        made.client = ActionClient(made.node, FollowPath, 'follow_path_pypose')
        yield made
        made.client.destroy()
        made.close()


def goal(rig, poses, frame='odom', feedback=None):
    """The handle of an accepted goal and the future of its result."""
    rig.until(rig.client.server_is_ready, 'the action server')
    rig.placed()
    sent = rig.client.send_goal_async(FollowPath.Goal(path=path_message(poses, frame)), feedback_callback=feedback)
    rig.live(60, until=sent.done)
    handle = sent.result()
    assert handle.accepted
    return handle, handle.get_result_async()


def outcome(rig, future):
    rig.live(60, until=future.done)
    return future.result().status, future.result().result.error_code


def test_a_goal_is_driven_to_with_feedback_and_succeeds(rig):
    rig.start(limits__max_acceleration=2.0)
    told = []
    _, result = goal(rig, LINE[:16], feedback=lambda message: told.append(message.feedback))
    assert outcome(rig, result) == (GoalStatus.STATUS_SUCCEEDED, 0)
    assert len(told) > 5 and told[0].distance_to_goal > told[-1].distance_to_goal
    assert max(f.speed for f in told) > 0.5 and rig.stands()


def test_a_new_goal_takes_over_without_a_stop_and_a_cancelled_one_stops(rig):
    rig.start()
    _, first = goal(rig, LINE)
    rig.live(60, until=lambda: rig.speed() > 0.8)
    rig.commands.clear()
    handle, second = goal(rig, LINE + [0, 0.05, 0])
    rig.live(0.3)
    assert outcome(rig, first)[0] == GoalStatus.STATUS_ABORTED
    assert min(v for _, v, _ in rig.commands) > 0.6
    cancelled = handle.cancel_goal_async()
    rig.live(60, until=cancelled.done)
    assert outcome(rig, second)[0] == GoalStatus.STATUS_CANCELED
    rig.until(rig.stands, 'zero')


@pytest.mark.parametrize('case, code', [('frame', 102), ('nan', 103), ('odometry', 107), ('progress', 105)])
def test_what_goes_wrong_has_nav2s_code(rig, case, code):
    quick = {'odometry': {'odom_timeout': 0.5}, 'progress': {'progress__time': 0.3}}
    rig.start(costmap_timeout=0.0, **quick.get(case, {}))
    poses = LINE.copy()
    if case == 'nan':
        poses[3, 0] = float('nan')
    if case == 'progress':
        cells = np.zeros((80, 120))
        cells[:, 30:34] = 100
        rig.publish(rig.costmap, 'costmap', [grid_message(cells, 0.05, (-1.0, -2.0))])
    _, result = goal(rig, poses, frame='nowhere' if case == 'frame' else 'odom')
    if case == 'odometry':
        rig.until(result.done, 'the end')
    assert outcome(rig, result) == (GoalStatus.STATUS_ABORTED, code)
    assert not rig.commands or rig.stands()


@pytest.mark.parametrize('tolerance, code', [(0.0, 106), (0.01, 104)])
def test_a_wall_too_near_to_brake_before_has_the_code_of_the_patience_there_is(rig, tolerance, code):
    rig.start(costmap_timeout=0.0, failure_tolerance=tolerance)
    _, result = goal(rig, LINE)
    rig.live(60, until=lambda: rig.speed() > 0.9)
    cells = np.zeros((80, 120))
    cells[:, round((rig.pose[0] + 1.4) / 0.05):] = 100       # from 0.4 m before the robot on
    rig.publish(rig.costmap, 'costmap', [grid_message(cells, 0.05, (-1.0, -2.0))])
    assert outcome(rig, result) == (GoalStatus.STATUS_ABORTED, code)
    rig.until(rig.stands, 'zero')
