"""Bundle adjustment: BAL problem 49 by ours and by Ceres, with the same robust kernel, on one thread each.

Ours is timed from the numbers of the file to the solution: graph, analysis, iterations. Ceres is timed without the
time to set its problem up, which through Python says nothing about Ceres: dense Schur, its defaults else, costs
compiled in C++ by pycolmap. Those count an observation as 0 while its point is behind the camera, which the BAL model
does not (1701604 instead of 1701825 at the start), so the two costs on the whole file are not the same function.
Agreement on the whole file: ours at most 1e-4 above 26688.6, where Ceres ends with the BAL model itself. For a
comparison of optima, the points that are behind a camera at the start or at either optimum are taken out for both;
agreement is then costs within 1e-4 of each other. Both stop where an iteration gains less than 1e-6 of the cost.
Memory: peak over what is resident after the imports, in a process of its own; ours for the file once and four times,
side by side, for its growth.

Needs the problem: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from harness import Record, main

from pypose_core.graph import BalReprojection, FactorGraph, LevenbergMarquardt, RobustKernel, read_bal
from pypose_core.lie import se3, so3

DATA = Path(os.environ.get('PYPOSE_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
FILE = DATA / 'bal' / 'problem-49-7776-pre.txt'
CERES_COST, AGREEMENT, TOLERANCE = 26688.6, 1e-4, 1e-6
KERNELS = {'plain': (RobustKernel.NONE, 1.0), 'Huber 1 px': (RobustKernel.HUBER, 1.0)}


@dataclass(frozen=True)
class Scene:
    """A BAL problem as the numbers that both sides start from."""

    pose: torch.Tensor
    lens: torch.Tensor
    point: torch.Tensor
    seen: torch.Tensor
    """(M, 2) camera and point."""
    pixel: torch.Tensor
    held: torch.Tensor
    """Poses that ours holds, one in each connected part."""


def scene_of(graph: FactorGraph) -> Scene:
    factors = graph.factors[0]
    return Scene(*graph.values.values(), factors.index[:, [0, 2]].contiguous(), factors.measured,
                 torch.tensor([0]))


def ours(scene: Scene, kernel: str) -> tuple[float, int, dict[str, torch.Tensor]]:
    """(cost, iterations, values) at the solution."""
    read = FactorGraph()
    for name, values in (('pose', scene.pose), ('camera', scene.lens), ('point', scene.point)):
        read.add_variables(name, GROUPS[name], values)
    rho, width = KERNELS[kernel]
    read.add(BalReprojection(('pose', 'camera', 'point'), scene.seen[:, [0, 0, 1]], scene.pixel, kernel=rho,
                             width=width))
    read.fix('pose', scene.held)
    result = read.optimize(LevenbergMarquardt(initial_damping=1e-4, tolerance=TOLERANCE))
    return result.stats.cost[-1], result.stats.iterations, result.value


def behind(scene: Scene, values: dict[str, torch.Tensor]) -> torch.Tensor:
    """Points that are behind a camera that sees them."""
    u = se3.act(se3.inv(values['pose'][scene.seen[:, 0]]), values['point'][scene.seen[:, 1]])
    return scene.seen[u[:, 2] > 0, 1].unique()


def without(scene: Scene, points: torch.Tensor) -> Scene:
    keep = torch.ones(len(scene.point), dtype=torch.bool)
    keep[points] = False
    rows, renamed = keep[scene.seen[:, 1]], keep.cumsum(0) - 1
    seen = torch.stack([scene.seen[rows, 0], renamed[scene.seen[rows, 1]]], 1)
    return replace(scene, point=scene.point[keep], seen=seen, pixel=scene.pixel[rows])


def repeated(scene: Scene, times: int) -> Scene:
    """The problem several times side by side: as many times the variables and factors."""
    shift = torch.arange(times).repeat_interleave(len(scene.seen))[:, None] * torch.tensor(
        [len(scene.pose), len(scene.point)])
    many = [x.repeat(times, 1) for x in (scene.pose, scene.lens, scene.point, scene.seen, scene.pixel)]
    return Scene(*many[:3], many[3] + shift, many[4], torch.arange(times) * len(scene.pose))


def theirs(scene: Scene, kernel: str):
    """Ceres' result, on the numbers of the file's own parametrization."""
    from peers.ceres_bundle_adjustment import adjust

    T = se3.inv(scene.pose)
    cameras = torch.cat([so3.log(T[:, 3:]), T[:, :3], scene.lens], 1)
    rho, width = KERNELS[kernel]
    return adjust(cameras.numpy(), scene.point.numpy(), scene.seen.numpy(), scene.pixel.numpy(),
                  huber=width if rho is RobustKernel.HUBER else 0.0, tolerance=TOLERANCE)


def peak_growth(side: str, times: int) -> float:
    """Mebibytes by which one solve raises the peak of a fresh process."""
    arguments = [sys.executable, __file__, '--peak', side, str(times)]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak(side: str, times: str) -> None:
    """The other end of `peak_growth`; a part of the problem is solved first, so that lazily loaded code is not
    counted."""
    scene = scene_of(read_bal(FILE))
    run = ours if side == 'ours' else theirs
    rest = torch.arange(len(scene.point))
    run(without(scene, rest[rest % 8 > 0]), 'plain')
    scene = repeated(scene, int(times))
    Path('/proc/self/clear_refs').write_text('5')     # forget the peak of the imports
    before = _status('VmRSS')
    run(scene, 'plain')
    print((_status('VmHWM') - before) / 1024)


def _status(field: str) -> int:
    """Kibibytes of this process, as Linux counts them."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f'{field}:')).split()[1])


def one(case: str, scene: Scene, kernel: str, rounds: int, goal: float | None) -> Record:
    from peers.ceres_bundle_adjustment import VERSION

    pairs = []
    for _ in range(rounds):
        start = time.process_time()
        cost, iterations, _ = ours(scene, kernel)
        mine = time.process_time() - start
        peer = theirs(scene, kernel)
        pairs.append((mine, peer.seconds))
    if goal is None:
        agree, difference = abs(cost / peer.cost - 1) <= AGREEMENT, f'{cost / peer.cost - 1:+.1e} from Ceres'
    else:
        agree, difference = cost <= goal * (1 + AGREEMENT), f'{cost / goal - 1:+.1e} from {goal:g}'
    note = (f'cost {cost:.7g}, {difference}; Ceres on its cost {peer.cost:.7g}; iterations {iterations} and '
            f'{peer.iterations}')
    return Record(f'{case}, {kernel}', VERSION, median(a for a, _ in pairs), median(b for _, b in pairs),
                  median(b / a for a, b in pairs), agree, 1.0, note)


GROUPS = {}


def records(quick: bool) -> Iterator[Record]:
    if not FILE.is_file():
        sys.exit(f'no problem: {FILE} is absent (set PYPOSE_DATA)')
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    graph = read_bal(FILE)
    GROUPS.update(graph.groups)
    scene, rounds = scene_of(graph), 1 if quick else 5
    first = one('BAL 49', scene, 'plain', rounds, CERES_COST)
    memory = [peak_growth('ours', 1), peak_growth('ours', 4), peak_growth('ceres', 1)]
    yield replace(first, note=first.note + (f'; peak memory {memory[0]:.3g} MiB, {memory[1]:.3g} for four times the '
                                            f'problem, Ceres {memory[2]:.3g}'))
    for kernel in KERNELS:
        # Points may pass behind a camera on the way, too: take out what either side ends with, until none is left.
        ahead = scene
        for _ in range(4):
            values = {'pose': ahead.pose, 'point': ahead.point}
            bad = torch.cat([behind(ahead, values), behind(ahead, ours(ahead, kernel)[2]),
                             torch.from_numpy(theirs(ahead, kernel).behind)]).unique()
            if not len(bad):
                break
            ahead = without(ahead, bad)
        yield one(f'BAL 49, {len(ahead.point)} points always ahead', ahead, kernel, rounds, None)


if __name__ == '__main__' and '--peak' in sys.argv:
    GROUPS.update(read_bal(FILE).groups)
    print_peak(*sys.argv[sys.argv.index('--peak') + 1:])
elif __name__ == '__main__':
    main(records, __doc__)
