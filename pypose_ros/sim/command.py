"""`pypose-ros sim`: the simulated robot until Ctrl-C, or for some seconds; `pypose-ros demo`: the loop closed."""
from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pypose_core.control import PurePursuit
from pypose_ros.sim.config import SimulatorConfig, WheelErrors, miscalibrated
from pypose_ros.sim.course import Course, office_patrol
from pypose_ros.sim.simulator import Simulator

if TYPE_CHECKING:
    from pypose_ros.sim.closed_loop import ClosedLoopConfig


class SelfDriver:
    """Drives a course by pure pursuit on the true pose, blind to obstacles: for sensors without a controller.

    Args:
        path: (N, 3).
        speed: m/s.
    """

    def __init__(self, path: np.ndarray, speed: float = 0.8, lookahead: float = 1.0):
        self._path, self._speed, self._place, self._pursuit = path, speed, 0, PurePursuit(lookahead, 0.4)
        self._next_ns = 0

    def __call__(self, simulator: Simulator) -> tuple[float, float] | None:
        """The next command, 50 times a second; None between."""
        if simulator.stamp_ns < self._next_ns:
            return None
        self._next_ns = simulator.stamp_ns + 20_000_000
        near = self._path[self._place:self._place + 40, :2]
        self._place += int(np.argmin(np.linalg.norm(near - simulator.pose[:2], axis=1)))
        if self._place >= len(self._path) - 3:
            return 0.0, 0.0
        ahead = torch.from_numpy(self._path[self._place:self._place + 40, :2].copy())
        v, w = self._pursuit(torch.from_numpy(simulator.pose), ahead, self._speed).tolist()
        return v / (1 + abs(w)), w / (1 + abs(w))


def robot(seed: int, *, calibration_error: float = 0.0, slip: float | None = None) -> SimulatorConfig:
    """A robot as the command line describes it."""
    wheels = WheelErrors() if slip is None else WheelErrors(slip=slip, slip_sigma=slip)
    return SimulatorConfig(seed=seed, wheels=wheels, imu=miscalibrated(calibration_error))


def world(name: str, seed: int, *, laps: float, boxes: int) -> Course:
    """`offices` with boxes and pillars in the way, or `empty` corridors."""
    full = name == 'offices'
    return office_patrol(seed, laps=laps, boxes=boxes if full else 0, pillars=full)


def simulate(options) -> int:
    """Run it; the exit code."""
    import signal

    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from pypose_ros.run import Spinner
    from pypose_ros.sim.node import SimulatorNode
    from pypose_ros.sim.node import drive as drive_node
    ended = False

    def end(*_) -> None:
        nonlocal ended
        ended = True

    course = world(options.world, options.seed, laps=options.laps, boxes=options.boxes)
    simulator = Simulator(course.walls, robot(
        options.seed, calibration_error=options.calibration_error, slip=options.slip))
    rclpy.init(args=options.ros_args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    node = SimulatorNode(simulator, course, stamped=options.stamped,
                         driver=SelfDriver(course.path) if options.drive else None)
    spinner = Spinner(node, 'events')
    spinner.start()
    node.plan_wanted = options.plan or options.goal is not None
    node.goal = None if options.goal is None else np.array(options.goal)
    begin_ns = simulator.stamp_ns
    print('ready', flush=True)
    try:
        drive_node(node, rate=options.rate, until=lambda: ended or (
            options.duration > 0 and simulator.stamp_ns - begin_ns >= options.duration * 1e9))
        time.sleep(0.1)     # what is still on its way
    finally:
        spinner.stop()
        node.destroy_node()
        rclpy.try_shutdown()
    seconds = (simulator.stamp_ns - begin_ns) * 1e-9
    print(f'{seconds:.1f} s simulated, {simulator.collisions} collisions', file=sys.stderr)
    return 0


def demonstrate(config: ClosedLoopConfig, out: Path | None) -> int:
    """The closed loop once, and its report; the exit code tells whether the goal was reached without a collision."""
    from pypose_ros.bag.replay import progress
    from pypose_ros.bag.results import check_folder
    from pypose_ros.children import work_folder
    from pypose_ros.sim.closed_loop import run_closed_loop
    from pypose_ros.sim.report import table, write_report
    folder = out or Path('results') / f'closed_loop-seed{config.seed}'
    check_folder(folder)
    length = config.length or len(world('offices', 0, laps=config.laps, boxes=0).path) * 0.1
    print('starting the nodes and the simulated robot', file=sys.stderr, flush=True)
    with work_folder() as work, progress(length, 'driving', ' m') as advance:
        drive = run_closed_loop(config, work, progress=advance)
    rows = table(write_report(folder, drive))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f'{name:{width}}  {value}')
    print(f'wrote {folder}/report.html', file=sys.stderr)
    return 0 if drive.reached and not drive.collisions else 1
