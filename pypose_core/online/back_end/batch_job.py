"""The whole graph solved at once: on demand, and where wrong loops are to be found among all."""
import math
import time

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.graph import (
    SE3,
    Between,
    FactorGraph,
    Factors,
    GraphStatus,
    LevenbergMarquardt,
    consistent_closures,
    solve_robustly,
)

from .config import BackEndConfig
from .graph_factors import SUSPECTS, about_map_axes, loose_anchor, make_factors
from .solve_job import Solution, SolveJob

LEAST_INFORMATION = 1e-6     # 1/m^2 and 1/rad^2
USABLE = (GraphStatus.CONVERGED, GraphStatus.ITERATION_LIMIT, GraphStatus.TIME_LIMIT, GraphStatus.NO_DECREASE)


class BatchJob(SolveJob):
    """A snapshot of the graph and what to do with it.

    Args:
        poses: (N, 7) the estimate so far.
        edges, priors: copies of the tables' columns.
    """

    def __init__(self, config: BackEndConfig, poses: NDArray, edges: dict[str, NDArray], priors: dict[str, NDArray], *,
                 max_iterations: int, generation: int):
        super().__init__(generation, (len(poses), len(edges['kind']) + len(priors['kind'])))
        self.config, self.poses, self.edges, self.priors = config, poses, edges, priors
        self.max_iterations = max_iterations
        self.graph: FactorGraph | None = None

    def _build(self) -> tuple[FactorGraph, dict[str, tuple[Factors, NDArray]]]:
        """The graph, and of its factors those that stand for rows of the tables."""
        graph, factors = FactorGraph(), make_factors(self.config, self.edges, self.priors)
        graph.add_variables('pose', SE3, torch.from_numpy(self.poses))
        for batch, _ in factors.values():
            graph.add(batch)
        if 'poses' in factors or 'positions' in factors:
            graph.add(loose_anchor(self.poses[0]))
        else:
            graph.fix('pose', [0])
        return graph, factors

    def _solution(self, graph: FactorGraph, **found) -> Solution:
        """The keyframes' poses and the newest's covariance, with what else was found."""
        pose = graph.values['pose']
        covariance = about_map_axes(graph.marginals().single('pose', len(pose) - 1), pose[-1])
        return Solution(pose.numpy().copy(), covariance, **found)

    def solve(self, start: float) -> Solution | None:
        graph, factors = self._build()
        rejected = self._contradicted(graph, factors)
        for name, wrong in rejected.items():
            factors[name][0].weight = torch.from_numpy((~wrong).astype(np.float64))
        initial = graph.cost()
        suspects = [name for name in SUSPECTS if name in factors]
        if self.config.robust == 'gnc' and suspects:
            found = solve_robustly(graph, [factors[name][0] for name in suspects], probability=self.config.gate,
                                   growth=2.0)
            result, iterations = found.result, found.result.stats.iterations
            rejected |= {name: ~kept.numpy() for name, kept in zip(suspects, found.inliers)}
        else:
            result, iterations = self._optimize(graph, start)
        if result.status not in USABLE:
            self.problem = str(result)
            return None
        self.graph = graph
        judged = {name: (rows, batch.squared(graph.values).numpy(), rejected.get(name, np.zeros(len(rows), bool)))
                  for name, (batch, rows) in factors.items()}
        return self._solution(
            graph, status=str(result), iterations=iterations, cost_initial=initial,
            cost_final=result.stats.cost[-1] if result.stats.cost else initial,
            edges=_together(judged, ('odometry', 'loops')), priors=_together(judged, ('poses', 'positions')))

    def _contradicted(self, graph: FactorGraph, factors) -> dict[str, NDArray[np.bool_]]:
        """Loops that the others contradict, by pairwise consistency."""
        if self.config.robust != 'pcm' or 'loops' not in factors:
            return {}
        loops = factors['loops'][0]
        # A loop may leave a direction open; a covariance needs all of them closed.
        floor = LEAST_INFORMATION * torch.eye(6, dtype=torch.float64)
        closed = Between('pose', loops.index, loops.measured, information=loops.information + floor)
        closed.check({'pose': SE3})
        found = consistent_closures(graph, factors['odometry'][0], closed, probability=self.config.gate)
        return {'loops': ~found.kept.numpy()}

    def _optimize(self, graph: FactorGraph, start: float):
        """Levenberg-Marquardt until converged, out of iterations or out of time."""
        left = self.config.time_budget - (time.perf_counter() - start) if self.config.time_budget else math.inf
        result = graph.optimize(LevenbergMarquardt(max_iterations=self.max_iterations, time_limit=left))
        return result, result.stats.iterations


def _together(judged: dict[str, tuple], names: tuple[str, str]) -> tuple[NDArray, NDArray, NDArray]:
    found = [judged[name] for name in names if name in judged]
    if not found:
        return np.empty(0, int), np.empty(0), np.empty(0, bool)
    rows, chi2, rejected = (np.concatenate(column) for column in zip(*found))
    return rows, chi2, rejected
