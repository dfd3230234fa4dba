"""Levenberg-Marquardt on the sparse normal equations of a graph."""
import math
import time
from dataclasses import dataclass

from .problem import Problem, Values
from .result import GraphResult, GraphStatus
from .start import linearize_start


@dataclass(frozen=True)
class LevenbergMarquardt:
    """(H + damping diag(H)) d = -g; the damping follows the ratio of actual to predicted decrease.

    Source: Marquardt, 1963; Madsen, Nielsen, Tingleff, Methods for Non-linear Least Squares Problems, 2004, (3.16).
    """

    max_iterations: int = 100
    """Linear systems solved at most, those of rejected steps included."""
    tolerance: float = 1e-7
    """Stop after a step whose predicted decrease is below this part of the cost: what is left is less again."""
    absolute_tolerance: float = 1e-12
    """The same against a cost of 0, in units of chi2."""
    initial_damping: float = 1e-10
    """Small: the soft modes of a long chain are as small against the diagonal, and damping them costs iterations.
    A step that goes too far is rejected, and the damping then grows ever faster."""
    max_damping: float = 1e8
    """Beyond it no step can lower the cost."""
    time_limit: float = math.inf
    """Seconds on the wall after which no step but the first is begun. A graph of many small parts takes no notice."""

    def run(self, problem: Problem, values: Values) -> GraphResult:
        """Minimize from `values`."""
        start = linearize_start(problem, values)
        if isinstance(start, GraphResult):
            return start
        stats, cost, H, g = start
        damping, growth, begun = self.initial_damping, 2.0, time.perf_counter()
        status, detail = GraphStatus.ITERATION_LIMIT, ''
        while stats.iterations < self.max_iterations:
            if stats.iterations and time.perf_counter() - begun > self.time_limit:
                status = GraphStatus.TIME_LIMIT
                break
            stats.iterations += 1
            failed = problem.solver.try_factorize(H, damping=damping)
            if failed >= 0:
                if damping >= self.max_damping:
                    status, detail = GraphStatus.NOT_POSITIVE_DEFINITE, problem.variable(failed)
                    break
                damping, growth = damping * growth, growth * 2
                continue
            step = problem.solver.solve(-g)
            predicted = float(-(g @ step) + damping * (problem.diagonal(H) * step * step).sum())
            small = predicted <= max(self.tolerance * cost, self.absolute_tolerance)
            trial = problem.retract(values, step)
            trial_cost, trial_chi2, trial_H, trial_g = problem.linearize(trial)
            decrease = cost - trial_cost
            if decrease > 0:
                values, cost, H, g = trial, trial_cost, trial_H, trial_g
                stats.chi2 = trial_chi2
                stats.cost.append(cost)
                ratio = decrease / predicted
                damping, growth = damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3), 2.0
            elif damping >= self.max_damping and not small:
                status = GraphStatus.NO_DECREASE
                break
            else:
                damping, growth = damping * growth, growth * 2
            if small:      # rejected by rounding alone, or accepted with nothing left
                status = GraphStatus.CONVERGED
                break
        return GraphResult(dict(values), status, stats, detail)
