"""GTSAM on a pose graph file: its reader, its chordal initialization, its Levenberg-Marquardt."""
import time
from dataclasses import dataclass
from pathlib import Path

import gtsam
import numpy as np

from .gtsam_incremental import pose3


@dataclass(frozen=True)
class Solved:
    """One run, from the file to the solution."""

    chi2: float
    """Sum of r' Omega r over the measurements, without the prior."""
    iterations: int
    seconds: dict[str, float]
    """Of the parts: read, initialize, optimize (ordering included)."""


def solve(path: Path, *, spatial: bool, chordal: bool, ordering: str, tolerance: float) -> Solved:
    """Optimize with a tight prior on the first pose.

    Args:
        chordal: start from InitializePose3; spatial graphs only.
        ordering: COLAMD or METIS.
        tolerance: relative decrease of the error below which it stops.
    """
    clock = [time.perf_counter()]
    graph, initial = gtsam.readG2o(str(path), spatial)
    count = graph.size()
    first = min(initial.keys())
    clock.append(time.perf_counter())
    if chordal:
        with_prior = gtsam.NonlinearFactorGraph(graph)
        with_prior.add(gtsam.PriorFactorPose3(first, initial.atPose3(first), gtsam.noiseModel.Unit.Create(6)))
        initial = gtsam.InitializePose3.initialize(with_prior)
    clock.append(time.perf_counter())
    if spatial:
        noise = gtsam.noiseModel.Isotropic.Sigma(6, 1e-5)
        graph.add(gtsam.PriorFactorPose3(first, initial.atPose3(first), noise))
    else:
        noise = gtsam.noiseModel.Isotropic.Sigma(3, 1e-5)
        graph.add(gtsam.PriorFactorPose2(first, initial.atPose2(first), noise))
    params = gtsam.LevenbergMarquardtParams()
    params.setOrderingType(ordering)
    params.setRelativeErrorTol(tolerance)
    params.setAbsoluteErrorTol(0)
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, initial, params)
    values = optimizer.optimize()
    clock.append(time.perf_counter())
    chi2 = 2 * (graph.error(values) - graph.at(count).error(values))
    return Solved(chi2, optimizer.iterations(), dict(zip(('read', 'initialize', 'optimize'), np.diff(clock).tolist())))


class ManyGraphs:
    """Independent small graphs, built beforehand and solved one after the other from Python.

    Args:
        poses: (B, N, 7) initial guesses [t, q].
        index: (M, 2) the pairs measured in every graph.
        measured: (B, M, 7).
        sigmas: (6,) standard deviations, rotation first.
    """

    def __init__(self, poses: np.ndarray, index: np.ndarray, measured: np.ndarray, sigmas: np.ndarray):
        noise = gtsam.noiseModel.Diagonal.Sigmas(sigmas)
        held = gtsam.noiseModel.Isotropic.Sigma(6, 1e-6)
        self.problems = []
        for one, measurements in zip(poses, measured):
            graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
            for k, row in enumerate(one):
                values.insert(k, pose3(row))
            graph.add(gtsam.PriorFactorPose3(0, pose3(one[0]), held))
            for (i, j), row in zip(index.tolist(), measurements):
                graph.add(gtsam.BetweenFactorPose3(i, j, pose3(row), noise))
            self.problems.append((graph, values))
        self.params = gtsam.LevenbergMarquardtParams()
        self.params.setRelativeErrorTol(1e-6)

    def solve(self) -> float:
        """Sum of chi2 over all graphs."""
        total = 0.0
        for graph, values in self.problems:
            optimizer = gtsam.LevenbergMarquardtOptimizer(graph, values, self.params)
            optimizer.optimize()
            total += 2 * optimizer.error()
        return total
