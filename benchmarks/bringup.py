"""imu_preintegration and pose_graph in one process: what a long solve does to the IMU's output, and what the hand-over
within the process gains.

A sender publishes an IMU at 200 Hz (and a pose at 10 Hz), stamped with the time of sending; see imu_latency.py.

* While the graph node solves sphere2500 from its file's start, over and over: latency of `odometry/imu` of the samples
  that were sent while such a solve ran, beside the same process with an idle graph.
* `odometry/corrected` of the graph, which follows from each `odometry/imu`: both nodes in one process, where odometry
  is handed over directly, beside two processes that talk through DDS. The ratio is of CPU time; latencies are in the
  note.

Needs the graph: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from harness import Record, main
from idle_timer import idle_timer
from imu_latency import OPTIONS, Run, describe, environment, parameters, priority, receive, started

ROOT = Path(__file__).parents[1]
GRAPH = Path(os.environ.get('PYPOSE_DATA', ROOT.parent / 'shared' / 'data')) / 'pgo3d' / 'sphere2500.g2o'
RATE = 200
LIMIT = 5e-3        # s, asked of the 99th percentile
TOGETHER = [sys.executable, str(ROOT / 'scripts' / 'bringup'), '--nodes', 'imu_preintegration,pose_graph', '--ros-args',
            *parameters(OPTIONS, 'imu_preintegration:')]
APART = [[sys.executable, str(ROOT / 'scripts' / 'imu_preintegration'), '--ros-args', *parameters(OPTIONS)],
         [sys.executable, str(ROOT / 'scripts' / 'pose_graph'), '--ros-args', '-r', 'odometry:=odometry/imu', '-r',
          'pose:=map_pose']]


def solve_over_and_over(stop, answers) -> None:
    """In a process of its own: load the graph and solve it until `stop`; (begin, end) of the solves in ns."""
    import rclpy
    from std_srvs.srv import SetBool

    from pypose_ros.srv import LoadGraph, OptimizeGraph
    rclpy.init()
    node = rclpy.create_node('asker')
    pause, load, optimize = (node.create_client(kind, f'pose_graph/{name}') for kind, name in (
        (SetBool, 'pause'), (LoadGraph, 'load_graph'), (OptimizeGraph, 'optimize')))

    def ask(client, request):
        future = client.call_async(request)
        rclpy.spin_until_future_complete(node, future, timeout_sec=60)
        return future.result()

    for client in (pause, load, optimize):
        client.wait_for_service(60)
    ask(pause, SetBool.Request(data=True))      # it would solve what it has read by itself
    found = []
    while not stop.is_set():
        ask(load, LoadGraph.Request(path=str(GRAPH)))
        time.sleep(0.3)         # reading is over, and what it delayed has gone out
        begin = time.time_ns()
        answer = ask(optimize, OptimizeGraph.Request(max_iterations=50))
        found.append((begin, begin + round(answer.stats.solve_time * 1e9), answer.stats.cost_final))
    answers.put(found)
    node.destroy_node()
    rclpy.shutdown()


@contextmanager
def solving() -> Iterator[list]:
    """Solves go on inside; the list holds (begin, end, cost) of them afterwards."""
    processes = multiprocessing.get_context('spawn')
    stop, answers, found = processes.Event(), processes.Queue(), []
    asker = processes.Process(target=solve_over_and_over, args=(stop, answers))
    asker.start()
    try:
        yield found
        stop.set()
        found += answers.get(timeout=120)
    finally:
        stop.set()
        asker.join(30)
        asker.kill()


def beside_a_solve(duration: float, rounds: int) -> Record:
    busy, idle, costs, machines, count, lost = [], [], [], [], 0, 0
    for _ in range(rounds):
        with started([TOGETHER]) as nodes, solving() as solves, idle_timer() as machine:
            run = receive(nodes, RATE, duration, True)
        during = [taken for stamp, taken in run.each.items() if any(a <= stamp <= b for a, b, _ in solves)]
        busy.append(np.percentile(during, (50, 99)))
        machines.append(machine)
        costs += [cost for _, _, cost in solves]
        count, lost = count + len(during), lost + run.lost
        with started([TOGETHER]) as nodes:
            idle.append(receive(nodes, RATE, duration, True))
    middle = sorted(range(rounds), key=lambda k: busy[k][1])[rounds // 2]
    (p50, p99), quiet = busy[middle], median(run.p99 for run in idle)
    return Record(
        '200 Hz IMU output while sphere2500 is solved in the same process', 'the 5 ms asked for', p99, LIMIT,
        LIMIT / p99, bool(np.ptp(costs) < 1e-3 * min(costs)) and not lost, 1.0,
        f'p99 from publishing to output of {count} samples during {len(costs)} solves from the start{priority()}: '
        f'p50 {1e3 * p50:.2f}, p99 {1e3 * p99:.2f} ms; with an idle graph p99 {1e3 * quiet:.2f} ms; '
        f'{machines[middle]}; {100 * max(run.withheld for run in idle):.1f} % of the machine withheld by its host; '
        'agree: no sample is lost and each solve ends at the same cost')


def chain(duration: float, commands: list) -> Run:
    with started(commands) as nodes:
        return receive(nodes, RATE, duration, True, 'odometry/corrected')


def together_and_apart(duration: float, rounds: int) -> Record:
    pairs = [(chain(duration, [TOGETHER]), chain(duration, APART)) for _ in range(rounds)]
    ours, theirs = (sorted((pair[k] for pair in pairs), key=lambda run: run.p99)[rounds // 2] for k in (0, 1))
    return Record(
        '200 Hz: IMU to odometry in the map, both nodes in one process', 'two processes', ours.cpu, theirs.cpu,
        median(b.cpu / a.cpu for a, b in pairs), not sum(run.lost for pair in pairs for run in pair), None,
        f'CPU seconds a second{priority()}; agree: no sample is lost. one process: {describe(ours)}. two processes: '
        f'{describe(theirs)}')


def records(quick: bool) -> Iterator[Record]:
    if not GRAPH.is_file():
        sys.exit(f'no graph: {GRAPH} is absent (set PYPOSE_DATA)')
    environment()
    duration, rounds = (6.0, 1) if quick else (8.0, 3)
    yield beside_a_solve(duration, rounds)
    yield together_and_apart(duration, rounds)


if __name__ == '__main__':
    main(records, __doc__)
