"""`pypose-ros replay` and `demo`: read, run, evaluate, write, print."""
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .evaluation import table
from .replay_input import ReplayInput
from .synthetic import FlightConfig


@contextmanager
def progress(total: float, what: str, unit: str) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, a line at every tenth elsewhere; call it with what was done since."""
    if sys.stderr.isatty():
        shape = '{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f}{unit} [{elapsed}<{remaining}]'
        with tqdm(total=total, desc=what, unit=unit, leave=False, bar_format=shape) as bar:
            yield bar.update
        return
    done, said = 0.0, 0

    def advance(count: float) -> None:
        nonlocal done, said
        done += count
        tenth = int(10 * done / total) if total else 10
        if tenth > said:
            said = tenth
            print(f'{what}: {min(10 * tenth, 100)} %', file=sys.stderr, flush=True)

    yield advance


def print_table(metrics: dict) -> None:
    rows = table(metrics)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f'{name:{width}}  {value}')


def announce(source: ReplayInput) -> None:
    """Say on stderr what is taken for what, before the work starts."""
    print(f'{source.bag}: IMU {source.imu.topic} in frame {source.imu.frames[0]!r}', file=sys.stderr)
    for c in source.corrections:
        print(f'corrections: {len(c)} of kind {c.kind} from {c.source}', file=sys.stderr)
    if not source.corrections:
        print('corrections: none, this is dead reckoning', file=sys.stderr)
    print(f'ground truth: {source.truth.source if source.truth else "none"}', file=sys.stderr)


def run(path: Path, options, config: Path | None, overrides: list[str], out: Path | None, *,
        live: bool = False, rate: float = 1.0) -> dict:
    """Replay, evaluate and write the results; returns the metrics."""
    from pypose_ros.nodes.imu_preintegration_params import NODE_NAME
    from pypose_ros.params import dump_yaml

    from .config import load_parameters
    from .evaluation import evaluate
    from .replay_input import read_input
    from .results import check_folder, run_name, write_results
    mode = 'live' if live else 'offline'
    folder = Path(out) if out else Path('results') / run_name(path, mode)
    check_folder(folder)
    params = load_parameters(config, overrides)
    source = read_input(path, options, base_frame=params.base_frame, extrinsic=params.extrinsic_imu_to_base)
    announce(source)
    effective = dump_yaml(NODE_NAME, params, {'extrinsic_imu_to_base': source.T_base_imu.tolist()})
    if not live:
        estimate, timing = _offline(source, params)
        evaluation = evaluate(source, estimate, mode=mode)
        write_results(folder, source, estimate, evaluation, effective)
    else:
        from pypose_ros.children import work_folder

        from .live import replay_live
        with work_folder() as work:
            print('starting the node, a player and a recorder', file=sys.stderr, flush=True)
            span = float(np.ptp(source.arrivals_ns)) * 1e-9
            with progress(span, 'playing', ' s') as advance:
                estimate, timing, recording = replay_live(source, params, work, rate=rate, progress=advance)
            evaluation = evaluate(source, estimate, mode=mode)
            evaluation.metrics['live'] = timing.as_dict(len(source.imu.stamps_ns)) | {'rate': rate}
            write_results(folder, source, estimate, evaluation, effective, timing=timing, recording=recording)
    print_table(evaluation.metrics)
    if not live:
        speed = evaluation.metrics['output']['duration_s'] / timing.wall
        p50, p99 = 1e6 * np.quantile(timing.call, [0.5, 0.99])
        print(f'took {timing.wall:.2f} s, {speed:.0f} times real time; add_imu p50 {p50:.1f}, p99 {p99:.1f} '
              'µs',
              file=sys.stderr)
    print(f'wrote {folder}/report.html', file=sys.stderr)
    return evaluation.metrics


def _offline(source: ReplayInput, params):
    from .offline import replay_offline
    events = len(source.imu.stamps_ns) + sum(map(len, source.corrections))
    with progress(events, 'replay', ' measurements') as advance:
        return replay_offline(source, params, progress=advance)


def demo(bag: Path | None, options, config: Path | None, overrides: list[str], out: Path | None, *,
         flight: FlightConfig, rate: float = 1.0) -> dict:
    """The synthetic flight (or a bag) through the middleware."""
    if bag is not None:
        return run(bag, options, config, overrides, out, live=True, rate=rate)
    from .resources import resource
    from .synthetic import write_flight
    with tempfile.TemporaryDirectory(prefix='pypose-ros-') as folder:
        path = Path(folder) / 'synthetic_flight.mcap'
        print(f'making a synthetic flight of {flight.duration:g} s, IMU at {flight.imu_rate:g} Hz',
              file=sys.stderr, flush=True)
        write_flight(path, flight)
        return run(path, options, config or resource('config/synthetic.yaml'), overrides, out, live=True,
                   rate=rate)
