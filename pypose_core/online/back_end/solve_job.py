"""One solve of the whole graph, cut out of the back-end so that a worker can run it while data keeps coming."""
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution

from pypose_core.graph import (
    SE3,
    Between,
    FactorGraph,
    GraphStatus,
    LevenbergMarquardt,
    Prior,
    RobustKernel,
    solve_robustly,
)
from pypose_core.lie import so3

from .config import BackEndConfig
from .consistency import consistent_edges, mean_variances
from .records import EdgeKind, PriorKind
from .table import Table

CHUNK = 3           # iterations between looks at the clock
ANCHOR_SIGMA = (1e3, 0.05, 10.0)    # m, rad of roll and pitch, rad of yaw: the first keyframe in a map from outside


@dataclass
class Solution:
    """Result of a SolveJob."""

    poses: NDArray[np.float64]
    """(N, 7) T_map_base of the keyframes that the job knew."""
    covariance: NDArray[np.float64]
    """(6, 6) of the newest, ROS order, about the map's axes; NaN where it could not be had."""
    edge_chi2: NDArray[np.float64]
    edge_rejected: NDArray[np.bool_]
    prior_chi2: NDArray[np.float64]
    prior_rejected: NDArray[np.bool_]
    status: str
    """A sentence."""
    iterations: int
    cost_initial: float
    cost_final: float


@dataclass
class SolveJob:
    """A snapshot of the graph and what to do with it; `run` belongs to a worker thread.

    Args:
        poses: (N, 7) the estimate so far.
        chain: (N, 7) the same by odometry alone.
        edges, priors: copies.
    """

    config: BackEndConfig
    poses: NDArray[np.float64]
    chain: NDArray[np.float64]
    edges: dict[str, NDArray]
    priors: dict[str, NDArray]
    max_iterations: int
    generation: int
    """Of the session; an answer to an older one is not used."""
    solution: Solution | None = None
    problem: str = ''
    """Why there is no solution, for people."""
    duration: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _batches: dict[str, object] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for its end in another thread, for at most `timeout` s; whether it has ended."""
        return self._ended.wait(timeout)

    def run(self) -> None:
        """Solve; all heavy work is native and lets go of the GIL."""
        start = time.perf_counter()
        try:
            self._run(start)
        except Exception as error:      # an answer in any case: the robot drives on with the last good estimate
            self.problem = f'{type(error).__name__}: {error}'
            raise
        finally:
            self.duration = time.perf_counter() - start
            self._ended.set()

    def _run(self, start: float) -> None:
        graph = self._graph()
        rejected = self._reject_before(graph)
        suspects = [self._batches[name] for name in ('loops', 'priors') if name in self._batches]
        initial = graph.cost()
        if self.config.robust == 'gnc' and suspects:
            found = solve_robustly(graph, suspects, probability=self.config.gate, growth=2.0)
            result, iterations = found.result, found.result.stats.iterations
            rejected |= {name: ~kept.numpy() for (name, batch), kept in zip(
                ((n, self._batches[n]) for n in ('loops', 'priors') if n in self._batches), found.inliers)}
        else:
            result, iterations = self._optimize(graph, start)
        if result.status not in (GraphStatus.CONVERGED, GraphStatus.ITERATION_LIMIT, GraphStatus.NO_DECREASE):
            self.problem = str(result)
            return
        poses = graph.values['pose'].numpy().copy()
        if not np.isfinite(poses).all():
            self.problem = 'the solution is not finite'
            return
        chi2 = {name: batch.squared(graph.values).numpy() for name, batch in self._batches.items()}
        loop = self.edges['kind'] != EdgeKind.ODOMETRY
        edge_chi2, edge_rejected = np.zeros(len(loop)), np.zeros(len(loop), bool)
        for name, rows in (('odometry', ~loop), ('loops', loop)):
            if name in chi2:
                edge_chi2[rows] = chi2[name]
                edge_rejected[rows] = rejected.get(name, False)
        count = len(self.priors['kind'])
        self.solution = Solution(
            poses, self._covariance(graph, poses), edge_chi2, edge_rejected, chi2.get('priors', np.zeros(count)),
            np.broadcast_to(rejected.get('priors', False), (count,)).copy(), str(result), iterations, initial,
            result.stats.cost[-1] if result.stats.cost else initial)

    def _graph(self) -> FactorGraph:
        graph = FactorGraph()
        graph.add_variables('pose', SE3, torch.from_numpy(self.poses))
        robust = self.config.robust == 'huber'
        kernel = {'kernel': RobustKernel.HUBER, 'width': self.config.huber_width} if robust else {}
        loop = self.edges['kind'] != EdgeKind.ODOMETRY
        for name, rows, options in (('odometry', ~loop, {}), ('loops', loop, kernel)):
            if rows.any():
                self._batches[name] = graph.add(Between(
                    'pose', torch.from_numpy(self.edges['ends'][rows]), torch.from_numpy(self.edges['measured'][rows]),
                    information=torch.from_numpy(self.edges['information'][rows]), **options))
        if len(self.priors['kind']):
            index, measured, information = self._prior_factors()
            self._batches['priors'] = graph.add(
                Prior('pose', index, measured, information=information, **kernel))
            graph.add(self._anchor())
        else:
            graph.fix('pose', [0])
        return graph

    def _prior_factors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pose priors as they are; a measured position as a pose whose attitude is the present one and knows nothing.

        At the present attitude R the residual Log(Z^-1 X) of a pose Z with that attitude is R' (p - z), so its
        information is R' Omega R. The attitude is renewed with each solve, and so is the lever arm that it turns.
        """
        p = self.priors
        index = torch.from_numpy(p['keyframe'])
        present = torch.from_numpy(self.poses)[index]
        measured, position = torch.from_numpy(p['measured']).clone(), torch.from_numpy(p['kind'] == PriorKind.POSITION)
        measured[position, 3:] = present[position, 3:]
        measured[position, :3] -= so3.act(present[position, 3:], torch.from_numpy(p['offset'])[position])
        R = so3.matrix(measured[:, 3:])
        axes = torch.zeros(len(index), 6, 6, dtype=torch.float64)
        axes[:, :3, :3] = axes[:, 3:, 3:] = R
        return index, measured, axes.mT @ torch.from_numpy(p['information']) @ axes

    def _anchor(self) -> Prior:
        """Roll and pitch of the first keyframe as the start found them: positions along a line leave them open."""
        R = so3.matrix(torch.from_numpy(self.poses[0, 3:]))
        position, level, heading = ANCHOR_SIGMA
        axes = torch.block_diag(torch.eye(3, dtype=torch.float64), R)
        weights = torch.tensor([position] * 3 + [level, level, heading], dtype=torch.float64) ** -2
        return Prior('pose', torch.tensor([0]), torch.from_numpy(self.poses[0]),
                     information=axes.mT @ torch.diag(weights) @ axes)

    def _reject_before(self, graph: FactorGraph) -> dict[str, NDArray[np.bool_]]:
        """Loops that the others contradict, by pairwise consistency; they get weight 0."""
        if self.config.robust != 'pcm' or 'loops' not in self._batches:
            return {}
        loops = self._batches['loops']
        odometry = self.edges['kind'] == EdgeKind.ODOMETRY
        steps = torch.zeros(len(self.poses), 2, dtype=torch.float64)
        steps[self.edges['ends'][odometry][:, 1]] = mean_variances(torch.linalg.pinv(
            torch.from_numpy(self.edges['information'][odometry]), hermitian=True))
        kept = consistent_edges(
            self.chain, steps.cumsum(0).numpy(), self.edges['ends'][~odometry], self.edges['measured'][~odometry],
            self.edges['information'][~odometry], limit=chi2_distribution.ppf(self.config.gate, 6))
        loops.weight = torch.from_numpy(kept.astype(np.float64))
        return {'loops': ~kept}

    def _optimize(self, graph: FactorGraph, start: float):
        """Levenberg-Marquardt until converged, out of iterations or out of time."""
        done = 0
        while True:
            result = graph.optimize(LevenbergMarquardt(max_iterations=min(CHUNK, self.max_iterations - done)))
            done += result.stats.iterations
            late = self.config.time_budget and time.perf_counter() - start > self.config.time_budget
            if result.status is not GraphStatus.ITERATION_LIMIT or done >= self.max_iterations or late:
                return result, done

    def _covariance(self, graph: FactorGraph, poses: NDArray) -> NDArray:
        """Of the newest keyframe, about the map's axes."""
        covariance = graph.marginals().single('pose', len(poses) - 1).numpy()
        axes = np.kron(np.eye(2), so3.matrix(torch.from_numpy(poses[-1, 3:])).numpy())
        return axes @ covariance @ axes.T


def snapshot(table: Table, columns: tuple[str, ...]) -> dict[str, NDArray]:
    """Copies of columns: the table goes on growing while a worker reads."""
    return {name: table[name].copy() for name in columns}
