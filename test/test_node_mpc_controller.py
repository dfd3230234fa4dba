"""mpc_controller over DDS: it drives, and what it does when things go wrong; numbers are of the list of faults."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from controller_rig import LINE, ControllerRig, grid_message, path_message
from node_rig import reserved_domain
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage

from pypose_ros import convert, qos
from pypose_ros.sim.node import planar

SCRIPT = Path(__file__).parents[1] / 'scripts' / 'mpc_controller'


@pytest.fixture
def rig():
    with reserved_domain() as domain:
        made = ControllerRig(domain)
        yield made
        made.close()


def test_a_path_is_driven_to_its_end_and_then_nothing_more_is_commanded(rig):
    node = rig.start(limits__max_acceleration=2.0)
    rig.placed()
    rig.publish(rig.path, 'path', [path_message(LINE[:16])])
    rig.live(60, until=lambda: node.tracker.path is None)
    rig.answered()
    assert rig.stands() and np.hypot(*(rig.pose[:2] - LINE[15, :2])) < 0.15
    count = len(rig.commands)
    rig.live(0.3)
    assert len(rig.commands) == count


def test_the_path_is_followed_in_its_own_frame_through_tf(rig):
    node = rig.start()
    frame = np.array([1.0, 0.0, np.pi / 2])     # the path's x axis is our y axis
    tf = rig.node.create_publisher(TFMessage, '/tf', qos.TF)
    rig.met()
    rig.path.publish(path_message(LINE, 'map'))
    rig.until(lambda: rig.drops().get('path: frame'), 'a path in an unknown frame is dropped')
    tf.publish(TFMessage(transforms=[convert.transform_to_msg(1, 'odom', 'map', planar(frame))]))
    rig.until(lambda: 'map' in node._transforms.frames(), 'the transform arrives')
    rig.pose = frame.copy()
    rig.placed()
    rig.path.publish(path_message(LINE, 'map'))
    rig.live(60, until=lambda: rig.pose[1] > 1.0)
    assert rig.pose[1] > 1.0 and abs(rig.pose[0] - 1.0) < 0.05


def test_an_obstacle_on_the_costmap_is_driven_around_and_a_silent_costmap_stops_the_robot(rig):
    node = rig.start(costmap_timeout=0.0)
    cells = np.zeros((80, 120))
    cells[36:44, 50:56] = 100
    rig.publish(rig.costmap, 'costmap', [grid_message(cells, 0.05, (-1.0, -2.0))])    # from (1.5, -0.2) to (1.8, 0.2)
    rig.placed()
    rig.path.publish(path_message(LINE))
    sides = []
    rig.live(60, until=lambda: sides.append(tuple(rig.pose)) or rig.pose[0] > 2.3)
    way = np.array(sides)[:, :2]
    away = np.hypot(*(way - np.clip(way, [1.5, -0.2], [1.8, 0.2])).T)
    assert rig.pose[0] > 2.3 and away.min() > 0.2
    node.set_parameters([Parameter('costmap_timeout', value=0.1)])
    rig.live(60, until=rig.stands)
    assert rig.stands() and 'no costmap' in node._hold and node.tracker.path is not None


def test_14_a_cycle_that_takes_too_long_is_reported_with_both_rates(rig):
    node = rig.start(controller_frequency=50.0)
    command = node.tracker.command
    node.tracker.command = lambda now_ns: (time.sleep(0.06), command(now_ns))[1]
    rig.placed()
    rig.path.publish(path_message(LINE))
    rig.live(60, until=lambda: any('overrun' in s.message for s in rig.diagnostics))
    said = next(s.message for s in rig.diagnostics if 'overrun' in s.message)
    rig.live(60, until=lambda: rig.pose[0] > 0.1)
    assert 'instead of 50' in said and rig.pose[0] > 0.1


def test_15_without_the_gpu_that_was_asked_for_it_drives_and_says_so(rig, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    rig.start(device='cuda:0')
    assert rig.told(lambda s: 'cuda:0' in s['message'], 'the fallback')['device'] == 'cpu'
    rig.at_full_speed()


def test_17_odometry_that_is_killed_stops_the_robot_and_then_ends_the_path(rig):
    node = rig.start(odom_timeout=1.0, failure_tolerance=0.5, controller_frequency=50.0)
    rig.at_full_speed()
    began = time.monotonic()
    assert rig.zero_after(began, 'odometry was killed') > 0.5       # not for the first message that is late
    rig.until(lambda: node.tracker.path is None, 'the path is given up')
    assert rig.drops()['cycle: no_odometry'] > 3
    rig.live(0.5)
    assert rig.stands()     # odometry alone does not set it going again


@pytest.mark.parametrize('wrong', ['nan', 'empty', 'far', 'quaternion', 'frame'])
def test_17_paths_that_cannot_be_followed_are_refused_with_the_reason(rig, wrong):
    node = rig.start()
    rig.placed()
    poses = LINE + [0, 30, 0] if wrong == 'far' else LINE[:0] if wrong == 'empty' else LINE
    message = path_message(poses, '' if wrong == 'frame' else 'odom')
    if wrong == 'nan':
        message.poses[10].pose.position.y = float('nan')
    if wrong == 'quaternion':
        message.poses[-1].pose.orientation.w = 5.0
    rig.path.publish(message)
    rig.live(60, until=lambda: rig.drops().get('path: invalid'))
    assert rig.drops()['path: invalid'] == 1 and node.tracker.path is None and not rig.speed()


def test_17_a_goal_behind_a_wall_is_given_up_before_it(rig):
    node = rig.start(progress__time=2.0, costmap_timeout=0.0, limits__max_acceleration=2.0)
    cells = np.zeros((80, 120))
    cells[:, 40:44] = 100
    rig.publish(rig.costmap, 'costmap', [grid_message(cells, 0.05, (-1.0, -2.0))])    # across the way at x = 1
    rig.placed()
    rig.publish(rig.path, 'path', [path_message(LINE)])
    rig.live(60, until=lambda: node.tracker.path is None)
    rig.until(rig.stands, 'zero')
    assert node.tracker.path is None and 0.2 < rig.pose[0] < 0.75
    assert node._last.status.name == 'NO_PROGRESS'


def test_17_a_solver_that_breaks_down_means_zero_and_does_not_end_the_node(rig):
    node = rig.start(failure_tolerance=0.1)
    rig.at_full_speed()

    def breaks(*_, **__):
        raise RuntimeError('broken')
    node.tracker.problem.ocp.solve = breaks
    rig.live(60, until=rig.stands)
    assert rig.stands() and node.state == 'active'


@pytest.mark.parametrize('number', [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_18_a_signal_at_full_speed_stops_the_robot_within_a_few_periods(number, tmp_path):
    with reserved_domain() as domain:
        peer = ControllerRig(domain)
        log = tmp_path / 'log'
        with log.open('w') as out:
            process = subprocess.Popen([sys.executable, SCRIPT, '--ros-args', '-p', 'odom_timeout:=5.0'], stdout=out,
                                       stderr=out, env=os.environ | {'ROS_DOMAIN_ID': str(domain)})
        try:
            peer.until(lambda: peer.odom_out.get_subscription_count() and peer.path.get_subscription_count()
                       and peer.node.count_publishers('cmd_vel'), 'the node appears', 120)
            peer.at_full_speed()
            began = time.monotonic()
            process.send_signal(number)
            peer.zero_after(began, 'the signal')
            assert process.wait(60) == 0
            peer.spin(0.1)
            assert peer.stands() and 'Traceback' not in log.read_text()
            # Counted in the node's own periods, which a busy machine makes longer: some are on their way, then zero.
            assert sum(t > began and v > 0 for t, v, _ in peer.commands) <= 5
        finally:
            process.kill()
            process.wait()
            peer.close()


def test_18_deactivation_and_the_service_enable_stop_the_robot(rig):
    node = rig.start()
    rig.at_full_speed()
    assert rig.call(SetBool, 'mpc_controller/enable', SetBool.Request(data=False)).success
    rig.until(rig.stands, 'zero')
    rig.live(0.2)
    assert rig.stands() and node.tracker.path is not None
    assert rig.call(SetBool, 'mpc_controller/enable', SetBool.Request(data=True)).success
    rig.live(60, until=lambda: rig.speed() > 0.3)
    assert rig.speed() > 0.3
    node.trigger_deactivate()
    rig.until(rig.stands, 'zero')
    rig.live(0.2)
    assert rig.stands()


def test_19_a_clock_that_freezes_stops_the_robot_on_the_steady_clock_and_is_said_once(rig):
    node = rig.start(use_sim_time=True, clock_timeout=0.2)
    warnings = []
    node._clock_watch._patience = 0.5
    warn = node.get_logger().warning
    now = 10 ** 12

    def pass_time(seconds: float, until=lambda: False) -> None:
        nonlocal now
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            now += 20_000_000
            rig.clock.publish(Clock(clock=convert.stamp_to_msg(now)))
            rig.say_odometry(stamp_ns=now)
            rig.spin(0.02)

    pass_time(60, until=lambda: rig.taken('odom') > 3 and node.get_clock().now().nanoseconds > 10 ** 12)
    rig.path.publish(path_message(LINE))
    pass_time(60, until=lambda: rig.speed() > 0.7)
    assert rig.speed() > 0.7
    node.get_logger().warning = lambda text, *a, **k: (warnings.append(text), warn(text))
    began = time.monotonic()
    rig.zero_after(began, 'the clock froze')
    for _ in range(12):         # odometry alone does not bring time back
        rig.say_odometry(stamp_ns=now)
        rig.spin(0.1)
    assert rig.stands()
    rig.told(lambda s: 'clock' in s['message'], 'why it stands')
    assert len([text for text in warnings if 'clock' in text]) <= 1
    pass_time(60, until=lambda: rig.speed() > 0.3)
    assert rig.speed() > 0.3    # it goes on where it was
