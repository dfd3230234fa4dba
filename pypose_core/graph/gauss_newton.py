"""Gauss-Newton on the sparse normal equations of a graph."""
import math
from dataclasses import dataclass

from .problem import Problem, Values
from .result import GraphResult, GraphStatus
from .start import linearize_start


@dataclass(frozen=True)
class GaussNewton:
    """H d = -g, every step taken: the fastest where the guess is good, without a guard where it is not."""

    max_iterations: int = 50
    """Linear systems solved at most."""
    tolerance: float = 1e-7
    """Stop after a step whose predicted decrease is below this part of the cost."""
    absolute_tolerance: float = 1e-12
    """The same against a cost of 0, in units of chi2."""

    def run(self, problem: Problem, values: Values) -> GraphResult:
        """Minimize from `values`."""
        start = linearize_start(problem, values)
        if isinstance(start, GraphResult):
            return start
        stats, cost, H, g = start
        best, status = dict(values), GraphStatus.ITERATION_LIMIT
        while status is GraphStatus.ITERATION_LIMIT and stats.iterations < self.max_iterations:
            stats.iterations += 1
            failed = problem.solver.try_factorize(H)
            if failed >= 0:
                return GraphResult(best, GraphStatus.NOT_POSITIVE_DEFINITE, stats, problem.variable(failed))
            step = problem.solver.solve(-g)
            small = float(-(g @ step)) <= max(self.tolerance * cost, self.absolute_tolerance)
            values = problem.retract(values, step)
            cost, chi2, H, g = problem.linearize(values)
            if not math.isfinite(cost):
                status = GraphStatus.NOT_FINITE
                break
            if cost <= min(stats.cost):
                best, stats.chi2 = values, chi2
            stats.cost.append(cost)
            if small:
                status = GraphStatus.CONVERGED
        return GraphResult(dict(best), status, stats)
