"""`pypose-ros replay` and `demo`: read, run, evaluate, write, print."""
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from .evaluation import table
from .replay_input import ReplayInput


@contextmanager
def progress(total: int, what: str, unit: str) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, a line at every tenth elsewhere; call it with what was done since."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, unit=unit, leave=False) as bar:
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


def run_offline(path: Path, options, config: Path | None, overrides: list[str], out: Path | None) -> Path:
    """Replay offline and write the results; returns their folder."""
    from .config import dump_parameters, load_parameters
    from .evaluation import evaluate
    from .offline import replay_offline
    from .replay_input import read_input
    from .results import check_folder, run_name, write_results
    folder = Path(out) if out else Path('results') / run_name(path, 'offline')
    check_folder(folder)
    params = load_parameters(config, overrides)
    source = read_input(path, options, base_frame=params.base_frame, extrinsic=params.extrinsic_imu_to_base)
    announce(source)
    events = len(source.imu.stamps_ns) + sum(map(len, source.corrections))
    with progress(events, 'replay', ' measurements') as advance:
        estimate, timing = replay_offline(source, params, progress=advance)
    evaluation = evaluate(source, estimate, mode='offline')
    write_results(folder, source, estimate, evaluation,
                  dump_parameters(params, [('extrinsic_imu_to_base', source.T_base_imu.tolist())]))
    print_table(evaluation.metrics)
    import numpy as np
    speed = evaluation.metrics['output']['duration_s'] / timing.wall
    p50, p99 = 1e6 * np.quantile(timing.call, [0.5, 0.99])
    print(f'took {timing.wall:.2f} s, {speed:.0f} times real time; add_imu p50 {p50:.1f}, p99 {p99:.1f} µs',
          file=sys.stderr)
    print(f'wrote {folder}/report.html', file=sys.stderr)
    return folder
