"""GTSAM on a pose graph file: its reader, its chordal initialization, its Levenberg-Marquardt."""
import time
from dataclasses import dataclass
from pathlib import Path

import gtsam
import numpy as np


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
