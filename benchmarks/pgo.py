"""Pose graphs from file to optimum: ours and GTSAM's Levenberg-Marquardt.

Both sides read the file, initialize, order, optimize and hold the first pose, on one core. Spatial graphs start from
chordal initialization, each side its own; plane graphs from the file, where GTSAM has no chordal start. GTSAM has the
ordering (COLAMD or METIS) that is faster on the graph, and the loosest tolerance with which it gets within 1e-6 of
its optimum. Agreement: chi2 within 1e-6 of the reference that GTSAM computed beforehand.
Memory: peak over what is resident after the imports, in a process of its own each (Linux).

Needs the graphs: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from harness import Record, compare, main
from peers.gtsam_pose_graph import Solved, solve

from pypose_core.graph import chordal_initialization, read_g2o

DATA = Path(os.environ.get('PYPOSE_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
SPATIAL = ('smallGrid3D', 'parking-garage', 'sphere2500', 'torus3D')
PLANE = ('intel', 'MIT', 'CSAIL', 'carlone_M3500', 'city10000')
AGREEMENT = 1e-6


def path_of(name: str) -> Path:
    return DATA / ('pgo3d' if name in SPATIAL else 'pgo2d') / f'{name}.g2o'


def reference(name: str) -> float:
    """chi2 at GTSAM's optimum from the start that is used here."""
    if name in SPATIAL:
        return json.loads((DATA / 'reference/pgo_reference.json').read_text())[name]['opt']['gtsam']
    return json.loads((DATA / 'reference/pgo2d_reference.json').read_text())[name]['runs'][0]['chi2_opt']


def ours(name: str) -> Solved:
    """From the file to the solution."""
    clock = [time.perf_counter()]
    graph = read_g2o(path_of(name)).graph
    clock.append(time.perf_counter())
    if name in SPATIAL:
        chordal_initialization(graph, 'SE3')
    clock.append(time.perf_counter())
    result = graph.optimize()
    clock.append(time.perf_counter())
    parts = (b - a for a, b in zip(clock, clock[1:]))
    return Solved(result.stats.chi2, result.stats.iterations, dict(zip(('read', 'initialize', 'optimize'), parts)))


def theirs(name: str, ordering: str, tolerance: float) -> Solved:
    return solve(path_of(name), spatial=name in SPATIAL, chordal=name in SPATIAL, ordering=ordering,
                 tolerance=tolerance)


def best_settings(name: str) -> tuple[str, float]:
    """GTSAM's faster ordering, and its loosest tolerance that suffices."""
    for tolerance in (1e-5, 1e-6, 1e-7, 1e-8, 1e-10):
        if abs(theirs(name, 'COLAMD', tolerance).chi2 / reference(name) - 1) <= AGREEMENT:
            break
    times = {ordering: median(theirs(name, ordering, tolerance).seconds['optimize'] for _ in range(3))
             for ordering in ('COLAMD', 'METIS')}
    return min(times, key=times.get), tolerance


def peak_growth(side: str, name: str, *settings) -> float:
    """Mebibytes by which one solve raises the peak of a fresh process."""
    arguments = [sys.executable, __file__, '--peak', side, name, *map(str, settings)]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak(side: str, name: str, *settings: str) -> None:
    """The other end of `peak_growth`. A small graph is solved first, so that lazily loaded code is not counted."""
    run = ours if side == 'ours' else lambda one: theirs(one, settings[0], float(settings[1]))
    run('smallGrid3D' if name in SPATIAL else 'intel')
    Path('/proc/self/clear_refs').write_text('5')     # forget the peak of the imports
    before = _status('VmRSS')
    run(name)
    print((_status('VmHWM') - before) / 1024)


def _status(field: str) -> int:
    """Kibibytes of this process, as Linux counts them."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f'{field}:')).split()[1])


def one_graph(name: str, rounds: int) -> Record:
    expected = reference(name)
    ordering, tolerance = best_settings(name)
    runs: dict[str, list[Solved]] = {'ours': [], 'theirs': []}

    def keep(side: str, solved: Solved) -> Solved:
        runs[side].append(solved)
        return solved

    record = compare(f'{name}, from {"chordal initialization" if name in SPATIAL else "the file"}', peer='gtsam 4.3.0',
                     ours=lambda: keep('ours', ours(name)),
                     theirs=lambda: keep('theirs', theirs(name, ordering, tolerance)),
                     agree=lambda a, b: all(abs(x.chi2 / expected - 1) <= AGREEMENT for x in (a, b)),
                     target=2 if name in SPATIAL else None, rounds=rounds, least=0.0)
    parts = {side: [1e3 * median(run.seconds[part] for run in done) for part in ('read', 'initialize', 'optimize')]
             for side, done in runs.items()}
    mine, peer = (runs[side][0] for side in ('ours', 'theirs'))
    solving = sum(parts['theirs'][1:]) / sum(parts['ours'][1:])
    text = {side: ' + '.join(f'{ms:.3g}' for ms in part) for side, part in parts.items()}
    memory = [peak_growth('ours', name), peak_growth('theirs', name, ordering, tolerance)]
    relative = abs(mine.chi2 / expected - 1)
    return replace(record, note=(
        f'chi2 {mine.chi2:.7g}, {10 ** math.ceil(math.log10(max(relative, 1e-12))):.0e} from the reference; '
        f'iterations {mine.iterations} and {peer.iterations}; read + initialize + optimize {text["ours"]} and '
        f'{text["theirs"]} ms, {solving:.2g} times without reading; peak memory {memory[0]:.3g} and '
        f'{memory[1]:.3g} MiB; GTSAM with {ordering}, tolerance {tolerance:g}'))


def records(quick: bool) -> Iterator[Record]:
    if not DATA.is_dir():
        sys.exit(f'no graphs: {DATA} is absent (set PYPOSE_DATA)')
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in ('smallGrid3D', 'sphere2500', 'intel') if quick else SPATIAL + PLANE:
        yield one_graph(name, 3 if quick else 7)


if __name__ == '__main__' and '--peak' in sys.argv:
    print_peak(*sys.argv[sys.argv.index('--peak') + 1:])
elif __name__ == '__main__':
    main(records, __doc__)
