"""The loop closed through the middleware: all nodes in one process, the simulated robot and a recorder in this one."""
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pypose_core.online.path_tracking import ReferencePath
from pypose_ros.bag.live_timing import CpuAccount
from pypose_ros.children import private_environment, process
from pypose_ros.sim.config import SimulatorConfig
from pypose_ros.sim.course import Course, office_patrol
from pypose_ros.sim.simulator import Simulator

NODES = 'imu_preintegration,pose_graph,loop_closure,mpc_controller'
SETTLE = 1.0            # s of the robot's time after the goal
GIVE_UP = 15.0          # s without a command, after which the run has failed
_BRINGUP = 'from pypose_ros.bringup import main; main()'


@dataclass(frozen=True)
class ClosedLoopConfig:
    """One drive."""

    seed: int = 0
    """Of the robot's errors and of what stands in the way."""
    laps: float = 1.0
    boxes: int = 4
    frequency: float = 50.0
    """Hz of the controller."""
    length: float = 0.0
    """m after which the way ends; 0: all of it."""
    goal: tuple[float, float, float] | None = None
    """x, y, heading in the map: the planner finds the way, in place of the course's."""
    rate: float = 1.0
    """Simulated seconds per second."""
    parameters: dict = field(default_factory=dict)
    """Of the nodes, by node and name, beside those below."""


@dataclass
class Drive:
    """What happened; times are s since the start, of the robot's clock."""

    course: Course
    config: ClosedLoopConfig
    truth: NDArray[np.float64]
    """(N, 6) time, x, y, heading, speed, turn rate."""
    estimate: NDArray[np.float64]
    """(M, 4) time, x, y, heading in the map."""
    odometry: NDArray[np.float64]
    """(M, 4) likewise in the odometry's frame."""
    commands: NDArray[np.float64]
    """(K, 4) time, seconds of the steady clock, speed, turn rate."""
    cycles: NDArray[np.float64]
    """(C, 3) time, seconds of the whole cycle, iterations."""
    reached: bool
    collisions: int
    clearance: float
    """m, the least between body and walls."""
    loops: int
    diagnostics: dict[str, dict[str, str]]
    """The last of each node."""
    wall: float
    """s."""
    cpu: float
    """s, of the process of the nodes."""
    withheld: float
    """Share of the machine's processor time that its host gave to others."""
    complaints: list[str]

    @property
    def cross_track(self) -> NDArray[np.float64]:
        """(N,) m between the true place and the way, to its left."""
        path, s, found = ReferencePath(self.course.path), 0.0, []
        for position in self.truth[:, 1:3]:
            s, offset = path.project(position, s - 0.5, s + 2.0)
            found.append(offset)
        return np.array(found)

    def error(self, estimated: NDArray) -> NDArray[np.float64]:
        """(M,) m between estimated and true positions."""
        true = np.stack([np.interp(estimated[:, 0], self.truth[:, 0], self.truth[:, k]) for k in (1, 2)], 1)
        return np.linalg.norm(estimated[:, 1:3] - true, axis=1)


def node_parameters(config: ClosedLoopConfig) -> dict:
    """Parameters of the nodes, as a parameter file has them."""
    own: dict[str, dict[str, Any]] = {
        'imu_preintegration': {'body_velocity_sigma': [0.0, 0.05, 0.05]},
        'pose_graph': {'keyframe': {'distance': 0.5}},
        'loop_closure': {'drift': 0.03},
        'mpc_controller': {'controller_frequency': config.frequency, 'failure_tolerance': 1.0},
    }
    for node, values in config.parameters.items():
        own[node] = own.get(node, {}) | values
    return {node: {'ros__parameters': {'use_sim_time': True, **values}} for node, values in own.items()}


def run_closed_loop(config: ClosedLoopConfig, work: Path, *,
                    progress: Callable[[float], None] = lambda metres: None) -> Drive:
    """Drive once.

    Args:
        work: folder for files in between.
        progress: called with the metres driven since the last call.

    Raises:
        RunError: the process of the nodes died or did not come up.
    """
    before = dict(os.environ)
    try:
        with private_environment(work) as environment:
            os.environ.update(environment)      # our own participant's too
            return _run(config, work, environment, progress)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(config: ClosedLoopConfig, work: Path, environment: dict[str, str], progress: Callable[[float], None]) -> Drive:
    import rclpy

    from pypose_ros.sim.recorder import Recorder
    course = office_patrol(config.seed, boxes=config.boxes, laps=config.laps)
    if config.length:
        course = Course(course.walls, course.path[:round(config.length / 0.1) + 1])
    simulator = Simulator(course.walls, SimulatorConfig(seed=config.seed))
    file = work / 'parameters.yaml'
    file.write_text(yaml.safe_dump(node_parameters(config)))
    nodes_wanted = NODES if config.goal is None else f'{NODES},planner'
    command = [sys.executable, '-c', _BRINGUP, '--nodes', nodes_wanted, '--ros-args', '--params-file', file]
    context = rclpy.Context()
    context.init(domain_id=int(environment['ROS_DOMAIN_ID']))
    try:
        with process('nodes', command, environment, work) as nodes:
            recorder = Recorder(simulator, course, context)
            try:
                recorder.node.plan_wanted = True
                recorder.node.goal = None if config.goal is None else np.array(config.goal)
                recorder.wait_for_nodes(nodes.check)
                account, cpu, began = CpuAccount(), nodes.cpu_seconds(), time.monotonic()
                recorder.drive(config.rate, nodes.check, progress, settle=SETTLE, give_up=GIVE_UP,
                               limit=20.0 + 3.0 * ReferencePath(course.path).length)
                wall, cpu, withheld = time.monotonic() - began, nodes.cpu_seconds() - cpu, account.withheld()
                complaints = nodes.complaints()
                nodes.terminate()
            finally:
                recorder.close()
    finally:
        context.try_shutdown()
    kept = recorder.arrays()
    return Drive(course, config, kept['truth'], kept['estimate'], kept['odometry'], kept['commands'], kept['cycles'],
                 reached=recorder.reached, collisions=simulator.collisions, clearance=recorder.clearance,
                 loops=recorder.loops, diagnostics=recorder.diagnostics, wall=wall, cpu=cpu, withheld=withheld,
                 complaints=complaints)
