"""planner over DDS: a goal becomes a path around the walls, and what cannot be answered is said."""
import re

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from controller_rig import grid_message
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import OccupancyGrid, Path
from nav_msgs.srv import GetPlan
from node_rig import Host, reserved_domain
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from pypose_ros import convert, qos
from pypose_ros.diagnostics import WARN
from pypose_ros.sim.node import planar

RADIUS = 0.25
CORNER = np.array([-1.0, -2.0])


def cells() -> np.ndarray:
    """6 m x 4 m: a wall across the middle with a gap at its upper end, and a closed cell at the right."""
    grid = np.zeros((40, 60), int)
    grid[[0, -1]] = grid[:, [0, -1]] = 100
    grid[:28, 29:31] = 100
    grid[4:16, 44:46] = grid[4:16, 56:58] = grid[4, 44:58] = grid[15, 44:58] = 100
    return grid


def pose(x: float, y: float, heading: float = 0.0, frame: str = 'map') -> PoseStamped:
    return PoseStamped(header=convert.header(1, frame), pose=convert.pose_to_msg(planar(np.array([x, y, heading]))))


class PlannerRig(Host):
    """planner in this process; the robot stands at the origin of odom, 0.5 m ahead in the map."""

    def __init__(self, domain: int):
        super().__init__(domain)
        self.plans: list[Path] = []
        self.map = self.node.create_publisher(OccupancyGrid, 'map', qos.LATCHED)
        self.goal = self.node.create_publisher(PoseStamped, 'goal_pose', 10)
        self.node.create_subscription(Path, 'plan', self.plans.append, qos.STANDARD)

    def start(self, *, mapped: bool = True, placed: bool = True, **params):
        from pypose_ros.nodes.planner import PlannerNode
        self.host(PlannerNode, {'radius': RADIUS, **params})
        assert self.under_test.state == 'active'
        if placed:
            self.static.publish(TFMessage(transforms=[
                convert.transform_to_msg(1, 'map', 'odom', planar(np.array([0.5, 0.0, 0.0]))),
                convert.transform_to_msg(1, 'odom', 'base_link', planar(np.zeros(3)))]))
            self.until(lambda: {'map', 'odom', 'base_link'} <= self.under_test._transforms.frames(), 'transforms')
        if mapped:
            self.send_map(grid_message(cells(), 0.1, CORNER, 'map'))

    def send_map(self, message: OccupancyGrid) -> None:
        self.publish(self.map, 'map', [message])

    def plan(self, goal: PoseStamped, start: PoseStamped | None = None, tolerance: float = 0.0) -> np.ndarray:
        """(N, 7)."""
        answer = self.call(GetPlan, 'planner/plan', GetPlan.Request(
            start=start or PoseStamped(), goal=goal, tolerance=tolerance), cap=60.0)
        return convert.path_from_msg(answer.plan)[1]

    def refused(self, *args, **kwargs) -> str:
        """The sentence about a request that must have no answer."""
        assert not len(self.plan(*args, **kwargs))
        status = self.under_test.status()
        assert status.level == WARN and status.values['last plan'] in status.message
        return status.values['last plan']


@pytest.fixture
def rig():
    with reserved_domain() as domain:
        made = PlannerRig(domain)
        yield made
        made.close()


def room(poses: np.ndarray) -> float:
    """m between the way and the nearest occupied cell of `cells`."""
    corners = np.argwhere(cells() == 100)[:, ::-1] * 0.1 + CORNER
    nearest = np.clip(poses[:, None, :2], corners, corners + 0.1)
    return float(np.linalg.norm(poses[:, None, :2] - nearest, axis=-1).min())


def test_the_service_plans_from_the_robot_around_the_wall_and_moves_nothing(rig):
    rig.start()
    poses = rig.plan(pose(4.0, 1.0, 0.7))
    np.testing.assert_allclose(poses[0, :2], [0.5, 0.0], atol=5e-3)
    np.testing.assert_allclose(poses[-1], planar(np.array([4.0, 1.0, 0.7])), atol=5e-3)
    assert room(poses) > RADIUS - 0.05 and poses[:, 1].max() > 0.8      # half a cell is the grid's own error
    shown = []
    rig.node.create_subscription(Path, 'planner/path', shown.append, qos.LATCHED)
    rig.until(lambda: shown, 'the path to look at')
    assert shown[0].header.frame_id == 'map' and len(shown[0].poses) == len(poses) and not rig.plans
    from_elsewhere = rig.plan(pose(1.0, -1.0, frame='odom'), pose(0.0, 1.0))
    np.testing.assert_allclose(from_elsewhere[[0, -1], :2], [[0.0, 1.0], [1.5, -1.0]], atol=5e-3)


def test_a_goal_is_answered_with_a_plan_for_the_controller_also_on_a_turned_map(rig):
    rig.start(mapped=False)
    turned = grid_message(cells().T[:, ::-1], 0.1, (3.0, -1.0), 'map')     # the same world seen from another side
    turned.info.origin = convert.pose_to_msg(planar(np.array([-1.0, 2.0, -np.pi / 2])))
    turned.info.width, turned.info.height = 40, 60
    rig.send_map(turned)
    rig.goal.publish(pose(4.0, 1.0))
    rig.until(lambda: rig.plans, 'the plan', 60)
    _, poses = convert.path_from_msg(rig.plans[0])
    np.testing.assert_allclose(poses[[0, -1], :2], [[0.5, 0.0], [4.0, 1.0]], atol=5e-3)
    assert room(poses) > RADIUS - 0.05


@pytest.mark.parametrize('goal, sentence', [
    (pose(np.nan, 0.0), 'NaN'), (pose(40.0, 0.0), 'goal is outside'), (pose(1.95, -1.0), 'goal is 0.*too near'),
    (pose(4.1, -1.0), 'no way'), (pose(1.0, 0.0, frame='nowhere'), "'nowhere'"), (pose(1.0, 0.0, frame=''), 'empty'),
    (PoseStamped(header=convert.header(1, 'map')), None)])
def test_a_goal_that_cannot_be_reached_is_refused_with_the_reason(rig, goal, sentence):
    rig.start()
    if sentence is None:
        goal.pose.orientation.w = 0.0
        sentence = 'unit length'
    assert re.search(sentence, rig.refused(goal))
    rig.goal.publish(goal)
    rig.until(lambda: rig.under_test.diagnostics.rate('goal_pose').count, 'the goal arrives')
    assert len(rig.plan(pose(1.0, 1.0))) and not rig.plans      # the node lives on, and the robot was sent nowhere


def test_without_map_or_transforms_or_on_an_old_map_nothing_is_planned(rig):
    rig.start(mapped=False, placed=False, map_timeout=0.0)
    assert 'no map' in rig.refused(pose(1.0, 1.0))
    rig.told(lambda s: 'no map' in s['message'], 'what is missing')
    rig.send_map(grid_message(cells(), 0.1, CORNER, 'map'))
    assert "'base_link'" in rig.refused(pose(1.0, 1.0))
    rig.under_test.set_parameters([Parameter('map_timeout', value=0.2)])
    rig.until(lambda: not len(rig.plan(pose(1.0, 1.0), pose(0.0, 0.0))), 'the map grows old')
    assert 's old' in rig.refused(pose(1.0, 1.0), pose(0.0, 0.0))
    rig.under_test.set_parameters([Parameter('map_timeout', value=0.0)])
    assert len(rig.plan(pose(1.0, 1.0), pose(0.0, 0.0)))
    assert rig.call(Trigger, 'planner/reset', Trigger.Request()).success
    assert 'no map' in rig.refused(pose(1.0, 1.0), pose(0.0, 0.0))


def test_an_unusable_map_leaves_the_one_before(rig):
    rig.start(map_cells=5000)
    torn = grid_message(cells(), 0.1, CORNER, 'map')
    torn.info.width = 61
    for bad in (torn, grid_message(np.zeros((100, 100)), 0.1, CORNER, 'map'),
                grid_message(cells(), 0.0, CORNER, 'map'), grid_message(cells(), 0.1, CORNER, '')):
        rig.send_map(bad)
    assert rig.under_test.diagnostics.drops['map: unusable'] == 4
    assert room(rig.plan(pose(4.0, 1.0))) > RADIUS - 0.05


def test_a_goal_beside_a_wall_is_moved_within_the_tolerance_and_unknown_cells_are_free_only_where_allowed(rig):
    rig.start(allow_unknown=False)
    poses = rig.plan(pose(1.75, -1.0), tolerance=0.3)
    assert 0.01 < abs(poses[-1, 0] - 1.75) < 0.3 and room(poses) > RADIUS - 0.05
    grid = cells()
    grid[28:-1, 29:31] = -1
    rig.send_map(grid_message(grid, 0.1, CORNER, 'map'))
    assert 'no way' in rig.refused(pose(4.0, 1.0))


@pytest.mark.parametrize('goal, status, code', [
    (pose(4.0, 1.0), GoalStatus.STATUS_SUCCEEDED, 0), (pose(40.0, 0.0), GoalStatus.STATUS_ABORTED, 204),
    (pose(4.1, -1.0), GoalStatus.STATUS_ABORTED, 208), (pose(1.0, 0.0, frame='odd'), GoalStatus.STATUS_ABORTED, 202)])
def test_nav2s_action_is_answered_with_its_codes(rig, goal, status, code):
    nav2 = pytest.importorskip('nav2_msgs.action._compute_path_to_pose', reason='nav2_msgs is not built: make setup')
    client = ActionClient(rig.node, nav2.ComputePathToPose, 'compute_path_to_pose_pypose')
    rig.start()
    rig.until(client.server_is_ready, 'the action server')
    sent = client.send_goal_async(nav2.ComputePathToPose.Goal(goal=goal))
    rig.until(sent.done, 'acceptance')
    future = sent.result().get_result_async()
    rig.until(future.done, 'the result', 60)
    assert future.result().status == status and future.result().result.error_code == code
    assert bool(future.result().result.path.poses) == (not code) and not rig.plans
    client.destroy()
