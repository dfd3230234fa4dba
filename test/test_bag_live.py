"""Replay through the middleware: nothing lost, measured from publish to output, and no process left behind."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pypose_ros import children
from pypose_ros.bag import BagReader, live
from pypose_ros.bag.config import load_parameters
from pypose_ros.bag.errors import RunError
from pypose_ros.bag.live_timing import CpuAccount, LiveTiming
from pypose_ros.bag.resources import resource
from pypose_ros.bag.results import FILES
from pypose_ros.bag.synthetic import FlightConfig, write_flight
from pypose_ros.cli import main

CONFIG = str(resource('config/synthetic.yaml'))


@pytest.fixture(scope='module')
def flight(tmp_path_factory):
    path = tmp_path_factory.mktemp('bag') / 'flight.mcap'
    write_flight(path, FlightConfig(duration=8.0))
    return path


def children_of(pid: int) -> list[int]:
    return [int(p.name) for p in Path('/proc').iterdir() if p.name.isdigit()
            and (p / 'stat').exists() and _parent(p) == pid]


def _parent(process: Path) -> int:
    try:
        return int((process / 'stat').read_text().rpartition(')')[2].split()[1])
    except OSError:
        return -1


@pytest.fixture
def leaves_no_process():
    """Fails the test if a process that it started outlives it (the compiler pool of an earlier test may be there)."""
    before = set(children_of(os.getpid()))
    yield
    assert not set(children_of(os.getpid())) - before


@pytest.mark.usefixtures('leaves_no_process')
def test_a_flight_goes_through_the_middleware_without_loss(flight, tmp_path, capsys):
    assert main(['replay', str(flight), '--live', '--config', CONFIG, '--out', str(tmp_path / 'out')]) == 0
    out = capsys.readouterr().out
    for row in ('ATE', 'RPE over 1 s', 'velocity error', 'bias error', 'NEES of the pose', 'latency p50 / '
                                                                                           'p99',
                'CPU of the node', 'lost samples', 'drops'):
        assert row in out
    folder = tmp_path / 'out'
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, 'recording.mcap'])
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert metrics['mode'] == 'live' and metrics['live']['lost'] == 0
    assert metrics['live']['expected'] == metrics['output']['samples'] > 1300
    latency = metrics['live']['latency_ms']
    assert 0 < latency['p50'] <= latency['received_p50'] and latency['p50'] <= latency['max']
    assert 0 < metrics['live']['node_cpu_share'] < 2
    assert metrics['ate']['none']['translation_m']['rmse'] < 0.03
    assert metrics['output']['rate_hz'] == pytest.approx(200)
    with BagReader(folder / 'recording.mcap') as bag:
        counts = {topic.name: topic.count for topic in bag.topics}
    assert counts['/odometry/imu'] == metrics['output']['samples'] and counts['/tf'] > 100
    assert all(event.startswith(('warn: ', 'error: ')) for event in metrics['events'])
    # Of the silence after the last sample nothing is told; where the machine stood still for a second, it is said.
    assert latency['received_max'] > 500 or not any('no IMU sample on' in event for event in metrics['events'])
    assert 'Latency' in (folder / 'report.html').read_text()


@pytest.mark.usefixtures('leaves_no_process')
def test_a_node_that_dies_is_reported_and_leaves_nothing(flight, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(live, '_NODE', 'import sys; sys.exit("no licence for this robot")')
    assert main(['replay', str(flight), '--live', '--config', CONFIG, '--out', str(tmp_path / 'out')]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == 'pypose-ros: the node ended with code 1: no licence for this robot'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures('leaves_no_process')
def test_a_node_that_says_nothing_is_given_up(flight, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(live, '_NODE', 'import time; time.sleep(100)')
    monkeypatch.setattr(children, 'START_TIMEOUT', 2.0)
    assert main(['replay', str(flight), '--live', '--config', CONFIG, '--out', str(tmp_path / 'out')]) == 1
    assert 'not ready after 2 s' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_interrupting_leaves_neither_processes_nor_results(flight, tmp_path):
    # As from a terminal: where the tests run in the background, SIGINT is ignored, and children inherit that.
    foreground = ('import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); '
                  'runpy.run_module("pypose_ros.cli", run_name="__main__")')
    process = subprocess.Popen(
        [sys.executable, '-c', foreground, 'demo', flight, '--config', CONFIG, '--out', tmp_path / 'out'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stderr:
        if line.startswith('starting'):
            break
    deadline = time.monotonic() + 60
    while len(found := children_of(process.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(found) == 3
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and 'interrupted' in errors and 'Traceback' not in errors
    assert not [pid for pid in found if Path(f'/proc/{pid}').exists()]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_a_child_starts_ends_the_child(tmp_path, monkeypatch):
    before, started = signal.getsignal(signal.SIGINT), []

    class Interrupted(children.Child):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(children, 'Child', Interrupted)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (pytest.raises(KeyboardInterrupt),
              children.process('sleeper', ['sleep', '100'], dict(os.environ), tmp_path)):
            pytest.fail('the interrupt was swallowed')
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(RunError, match='ended with code -9'):
        started[0].check()


def test_cpu_time_withheld_by_the_host_is_told(monkeypatch):
    lines = iter(['cpu  100 0 50 800 0 0 0 10 0 0\ncpu0 …', 'cpu  150 0 70 810 0 0 0 30 0 0\ncpu0 …'])
    monkeypatch.setattr(Path, 'read_text', lambda self: next(lines))
    account = CpuAccount()
    assert account.withheld() == pytest.approx(20 / 100)


def test_latency_and_loss_are_matched_by_stamp():
    params = load_parameters(CONFIG)
    sent = np.array([[10, 1_000_000], [20, 2_000_000], [30, 3_000_000], [40, 4_000_000]])
    arrivals = np.array([[20, 2_500_000, 2_600_000], [40, 4_100_000, 5_000_000], [99, 0, 0]])
    found = live.measure(sent, arrivals, params, 1.0, 2.0)
    np.testing.assert_allclose(found.output_ms, [0.5, 0.1])
    np.testing.assert_allclose(found.received_ms, [0.6, 1.0])
    assert (found.expected, found.lost) == (3, 1)
    numbers = found.as_dict(4)
    assert numbers['node_cpu_share'] == 0.5 and numbers['latency_ms']['max'] == pytest.approx(0.5)
    assert json.dumps(LiveTiming(np.empty(0), np.empty(0), 0, 0, 0.0, 0.0, 0.0).as_dict(0), allow_nan=False)
