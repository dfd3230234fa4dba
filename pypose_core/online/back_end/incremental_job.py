"""Solves whose work is bounded by what is new, whatever the size of the map."""
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.graph import SE3, Factors, IncrementalGraph

from .config import BackEndConfig
from .graph_factors import SUSPECTS, about_map_axes, loose_anchor, make_factors, tight_anchor
from .solve_job import Solution, SolveJob

NO_ROWS = np.empty(0, int)


class IncrementalSolver:
    """The graph between solves. Its state belongs to the job that runs; between jobs the back-end may look.

    Args:
        config: of the back-end; robust is none or huber.
        absolute: whether poses or positions say where the map is.
    """

    def __init__(self, config: BackEndConfig, *, absolute: bool):
        self.config, self.absolute = config, absolute
        self.keyframes = self.edges = self.priors = 0       # rows of the tables that it has
        self._graph: IncrementalGraph | None = None
        self._judged: list[tuple[str, Factors, NDArray]] = []

    def advance(self, poses: NDArray, edges: dict[str, NDArray], priors: dict[str, NDArray], *, max_updates: int,
                until: float) -> tuple[Solution | None, str]:
        """Take in new rows and follow them: (solution, '') or (None, why not). Without a solution nothing changed.

        Args:
            poses: (n, 7) guesses of the new keyframes.
            edges, priors: new rows of the tables' columns.
            max_updates: steps of Gauss-Newton at most.
            until: time.perf_counter() from which on no more are made.
        """
        graph, found = self._graph, make_factors(self.config, edges, priors)
        factors = [batch for batch, _ in found.values()]
        if graph is None:
            graph = IncrementalGraph({'pose': SE3})
            factors.append(loose_anchor(poses[0]) if self.absolute else tight_anchor(poses[0]))
        done = graph.update(factors, {'pose': torch.from_numpy(poses)} if len(poses) else None)
        if not done.status.ok:
            return None, str(done)
        self._graph = graph
        for name, (batch, rows) in found.items():
            if name in SUSPECTS:
                offset = self.edges if name == 'loops' else self.priors
                self._judged.append((name, batch, rows + offset))
        self.keyframes += len(poses)
        self.edges += len(edges['kind'])
        self.priors += len(priors['kind'])
        updates, initial = 1, done.stats.cost
        while updates < max_updates and time.perf_counter() < until:
            before = done
            done = graph.update()
            updates += 1
            if not done.status.ok:
                done = before
                break
            if not done.stats.relinearized:
                break
        return self._solution(graph, str(done), updates, initial, done.stats.cost), ''

    def _solution(self, graph: IncrementalGraph, status: str, updates: int, initial: float, final: float) -> Solution:
        pose = graph.values('pose')
        covariance = about_map_axes(graph.covariance('pose', len(pose) - 1), pose[-1])
        self._merge()
        judged: dict[str, tuple[NDArray, NDArray]] = {
            'loops': (NO_ROWS, np.empty(0)), 'priors': (NO_ROWS, np.empty(0))}
        for name, batch, rows in self._judged:
            kind = 'loops' if name == 'loops' else 'priors'
            squared = batch.squared({'pose': pose}).numpy()
            judged[kind] = np.concatenate([judged[kind][0], rows]), np.concatenate([judged[kind][1], squared])
        loops, on_poses = ((rows, squared, np.zeros(len(rows), bool)) for rows, squared in judged.values())
        return Solution(pose.numpy(), covariance, status, updates, initial, final, loops, on_poses)

    def _merge(self) -> None:
        """Few large batches instead of many small ones: each costs a call."""
        if len(self._judged) <= 2 * len(SUSPECTS):
            return
        merged = []
        for name in SUSPECTS:
            parts = [(batch, rows) for other, batch, rows in self._judged if other == name]
            if parts:
                merged.append((name, _joined([batch for batch, _ in parts]), np.concatenate([r for _, r in parts])))
        self._judged = merged


def _joined(batches: list[Factors]) -> Factors:
    """One batch of all rows; of one kind and one kernel."""
    first = batches[0]
    information = [batch.information for batch in batches if batch.information is not None]     # all have one
    options: dict[str, Any] = {'kernel': first.kernel, 'width': first.width, 'information': torch.cat(information)}
    data = {name: torch.cat([batch.data[name] for batch in batches]) for name in first.data}
    make: Callable[..., Factors] = type(first)
    joined = make(first.variables[0], torch.cat([batch.index for batch in batches]), data.pop('measured'),
                  **data, **options)
    joined.check({'pose': SE3})
    return joined


class IncrementalJob(SolveJob):
    """What is new since the solver's last job.

    Args:
        solver: shared by the jobs, of which one runs at a time.
        poses: (n, 7) guesses of the new keyframes.
        edges, priors: copies of the tables' new rows.
    """

    def __init__(self, solver: IncrementalSolver, poses: NDArray, edges: dict[str, NDArray],
                 priors: dict[str, NDArray], *, max_iterations: int, generation: int):
        super().__init__(generation, (solver.keyframes + len(poses), solver.edges + len(edges['kind'])
                                      + solver.priors + len(priors['kind'])))
        self.solver, self.poses, self.edges, self.priors = solver, poses, edges, priors
        self.max_iterations = max_iterations

    def solve(self, start: float) -> Solution | None:
        budget = self.solver.config.time_budget
        solution, self.problem = self.solver.advance(
            self.poses, self.edges, self.priors, max_updates=self.max_iterations,
            until=start + budget if budget else np.inf)
        return solution
