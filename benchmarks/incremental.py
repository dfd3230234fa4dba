"""Pose graphs that grow pose by pose: ours and GTSAM's iSAM2.

Both sides take each pose with all its measurements to earlier ones, make the factors, update, and read the estimate of
the new pose; that is the time of an update. They take turns within every step, on one core. Both relinearize beyond
0.1, looked at in every update; the first guess of a pose, its odometry from the estimate before, is made outside of
the clock. Agreement: both chi2 at the end, without further iterations, within 1% of the batch optimum.

Needs the graphs: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from harness import Record, main
from peers.gtsam_incremental import Isam2

from pypose_core.graph import SE3, Between, IncrementalGraph, read_g2o
from pypose_core.lie import se2, se3

DATA = Path(os.environ.get('PYPOSE_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
GRAPHS = ('pgo2d/carlone_M3500', 'pgo2d/city10000', 'pgo3d/parking-garage', 'pgo3d/sphere2500')


class Growth:
    """A file's graph in the order of its poses."""

    def __init__(self, path: Path, poses: int | None):
        graph = read_g2o(path).graph
        self.name = next(iter(graph.groups))
        self.group = graph.groups[self.name]
        self.first = graph.values[self.name][0]
        factors = graph.factors[0]
        newest = factors.index.max(1).values
        kept = newest < (poses or len(graph.values[self.name]))
        by_pose = torch.argsort(newest[kept], stable=True)
        self.index, self.measured, self.information = (
            x[kept][by_pose] for x in (factors.index, factors.measured, factors.information))
        self.newest = newest[kept][by_pose]
        self.poses = int(self.newest[-1]) + 1

    def steps(self) -> Iterator[tuple[int, slice, torch.Tensor]]:
        """(pose, its measurements, odometry from the pose before it)."""
        ends = torch.searchsorted(self.newest, torch.arange(self.poses + 1)).tolist()
        for k in range(1, self.poses):
            rows = slice(ends[k], ends[k + 1])
            at = rows.start + int((self.index[rows] == k - 1).any(1).nonzero()[0, 0])
            measured, lie = self.measured[at], se3 if self.group is SE3 else se2
            yield k, rows, measured if self.index[at, 1] == k else lie.inv(measured)

    def optimum(self, start: torch.Tensor) -> float:
        """chi2 of the batch solution."""
        return self.graph(start).batch_optimize().stats.chi2

    def graph(self, values: torch.Tensor) -> IncrementalGraph:
        """An incremental graph of the poses 0 to len(values) and all of their measurements, the first pose held."""
        graph = IncrementalGraph({'pose': self.group})
        rows = self.newest < len(values)
        factors = Between('pose', self.index[rows], self.measured[rows], information=self.information[rows])
        graph.update([factors], {'pose': values}, held={'pose': [0]})
        return graph


def grow(path: Path, poses: int | None) -> Iterator[Record]:
    growth = Growth(path, poses)
    spatial = growth.group is SE3
    lie = se3 if spatial else se2
    theirs = Isam2(spatial=spatial, first=growth.first.numpy(), threshold=0.1)
    ours = growth.graph(growth.first[None])
    last, seconds = growth.first, []
    rows_of = [x.numpy() for x in (growth.index, growth.measured, growth.information)]
    work = np.zeros(2)
    for k, rows, odometry in growth.steps():
        guess, their_guess = lie.mul(last, odometry)[None], theirs.guess(k - 1, odometry.numpy())
        clock = [time.process_time()]
        done = ours.update([Between('pose', growth.index[rows], growth.measured[rows],
                                    information=growth.information[rows])], {'pose': guess})
        last = ours.value('pose', k)
        clock.append(time.process_time())
        theirs.step(k, their_guess, *(x[rows] for x in rows_of))
        clock.append(time.process_time())
        seconds.append(np.diff(clock))
        if not done.status.ok:
            sys.exit(f'pose {k}: {done}')
        work += done.stats.affected, done.stats.relinearized
    optimum = growth.optimum(ours.values('pose'))
    chi2 = ours.chi2(), theirs.chi2()
    note = (f'chi2 {chi2[0]:.6g} and {chi2[1]:.6g}, optimum {optimum:.6g}; {work[0] / k:.3g} variables eliminated and '
            f'{work[1] / k:.3g} relinearized in an update')
    agree = all(abs(x / optimum - 1) < 0.01 for x in chi2)
    for what, of in (('mean', np.mean), ('99th percentile', lambda x, axis: np.percentile(x, 99, axis))):
        mine, peer = of(np.array(seconds), 0).tolist()
        yield Record(f'{path.stem}, {growth.poses} poses, update: {what}', 'gtsam 4.3.0', mine, peer, peer / mine,
                     agree, 1, note)


def records(quick: bool) -> Iterator[Record]:
    if not DATA.is_dir():
        sys.exit(f'no graphs: {DATA} is absent (set PYPOSE_DATA)')
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in GRAPHS:
        yield from grow(DATA / f'{name}.g2o', 600 if quick else None)


if __name__ == '__main__':
    main(records, __doc__)
