"""The closed loop: goals reached over 20 seeds, the way beside pure pursuit's, and the controller's rate live.

Drives without middleware (robot, IMU smoother and controller in one thread) are given in seconds of the robot's time
(ours) and of the wall that a peer at real time would take, so the ratio tells how much faster than real time they are.
In the live drive all nodes run in one process beside the simulated robot, with DDS between them; `ours` is p99 of the
controller's whole cycle with its publishing, `peer` its period, so a ratio above 1 means that the rate is held.
"""
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from harness import Record, main
from idle_timer import idle_timer
from imu_latency import priority

from pypose_core.online.path_tracking import PathTrackerConfig, TrackingStatus
from pypose_ros.sim.closed_loop import ClosedLoopConfig, run_closed_loop
from pypose_ros.sim.config import SimulatorConfig
from pypose_ros.sim.core_loop import drive
from pypose_ros.sim.course import Course, office_patrol
from pypose_ros.sim.report import metrics

FREQUENCY = 50.0
CONFIG = PathTrackerConfig(frequency=FREQUENCY)
STRETCH = 22.0      # m of the patrol that one drive of the 20 goes along


def stretch(seed: int, metres: float, **kwargs) -> Course:
    course = office_patrol(seed, **kwargs)
    return Course(course.walls, course.path[:round(metres / 0.1) + 1])


def around_boxes(seeds: int, metres: float) -> Record:
    """Every seed another world and another robot."""
    begin, outcomes = time.process_time(), []
    for seed in range(seeds):
        outcomes.append(drive(stretch(seed, metres), SimulatorConfig(seed=seed), CONFIG))
    cpu, robots = time.process_time() - begin, sum(o.seconds for o in outcomes)
    reached = sum(o.status is TrackingStatus.REACHED for o in outcomes)
    within, collisions = sum(o.within(CONFIG) for o in outcomes), sum(o.collisions for o in outcomes)
    cycles = 1e3 * np.concatenate([o.cycles for o in outcomes])
    return Record(
        f'{seeds} drives of {metres:g} m around boxes and pillars, {FREQUENCY:g} Hz, own estimate', 'real time',
        cpu / seeds, robots / seeds, robots / cpu, reached == within == seeds and not collisions, 1.0,
        f'agree: every goal reached ({reached}), no collision ({collisions}), no bound exceeded ({within}); least '
        f'clearance {min(o.clearance for o in outcomes):.3f} m; from the plan, detours included, RMSE '
        f'{np.sqrt(np.mean([o.rmse ** 2 for o in outcomes])):.3f} m; drift of the estimate '
        f'{np.mean([o.drift for o in outcomes]):.3f} m; cycle p50 {np.median(cycles):.2f}, p99 '
        f'{np.percentile(cycles, 99):.2f} ms')


def beside_pursuit(seeds: int, metres: float) -> Record:
    """Empty corridors, both drivers on the same robots; RMSE of the true place from the way."""
    rmse, own, times, reached = {}, {}, {}, True
    for pursuit in (False, True):
        begin = time.process_time()
        outcomes = [drive(stretch(seed, metres, boxes=0, pillars=False), SimulatorConfig(seed=seed), CONFIG,
                          pursuit=pursuit) for seed in range(seeds)]
        reached &= all(o.status is TrackingStatus.REACHED for o in outcomes)
        times[pursuit] = (time.process_time() - begin) / seeds
        rmse[pursuit] = 100 * float(np.sqrt(np.mean([o.rmse ** 2 for o in outcomes])))
        own[pursuit] = 100 * float(np.sqrt(np.mean([np.mean(o.own_track ** 2) for o in outcomes])))
    return Record(
        f'{seeds} drives of {metres:g} m without obstacles: cross-track error', 'pure pursuit', times[False],
        times[True], times[True] / times[False], reached, None,
        f'RMSE from the way of the own estimate: ours {own[False]:.2f} cm, pure pursuit {own[True]:.2f} cm; of the '
        f'true place, so with the drift: {rmse[False]:.1f} and {rmse[True]:.1f} cm; agree: both reach every goal; '
        'times are CPU seconds of a drive')


def live(laps: float) -> Record:
    """Everything in one process, for as long as the drive takes."""
    with tempfile.TemporaryDirectory() as work, idle_timer() as machine:
        outcome = run_closed_loop(ClosedLoopConfig(frequency=FREQUENCY, laps=laps), Path(work))
    numbers, facts = metrics(outcome), outcome.diagnostics.get('mpc_controller', {})
    gaps = np.diff(outcome.commands[:, 1])
    whole = float(facts.get('latency cycle p99 [ms]', 'nan'))       # with publishing, of the last 2000 cycles
    p99 = 1e-3 * max(whole, numbers['cycle_p99_ms'])
    held = (len(outcome.commands) - 1) / gaps.sum()
    return Record(
        f'live, all nodes in one process, {numbers["driven_m"]:.0f} m', f'period of {FREQUENCY:g} Hz', p99,
        1 / FREQUENCY, 1 / FREQUENCY / p99,
        bool(outcome.reached and outcome.collisions == 0 and held > 0.99 * FREQUENCY),
        1.0, f'agree: goal reached, no collision, {held:.1f} commands a second of {FREQUENCY:g}; cycle p50 '
        f'{numbers["cycle_p50_ms"]:.2f}, p99 {numbers["cycle_p99_ms"]:.2f}, max {numbers["cycle_max_ms"]:.1f} ms (with '
        f'publishing, as the node has it, p99 {whole:.2f} ms); gaps between commands '
        f'p99 {1e3 * np.percentile(gaps, 99):.1f}, max {1e3 * gaps.max():.1f} ms; {machine}{priority()}; '
        f'{100 * numbers["cpu_share_of_one_core"]:.0f} % of one core for all nodes, {100 * outcome.withheld:.1f} % of '
        'the machine withheld by its host; '
        f'map error RMSE {numbers.get("map_error_rmse_m", float("nan")):.3f} m; {outcome.loops} loops')


def records(quick: bool) -> Iterator[Record]:
    yield around_boxes(2 if quick else 20, 15.0 if quick else STRETCH)
    yield beside_pursuit(1 if quick else 3, 15.0 if quick else STRETCH)
    yield live(0.15 if quick else 1.1)


if __name__ == '__main__':
    main(records, __doc__)
