"""Powell's dogleg on the sparse normal equations of a graph."""
import math
from dataclasses import dataclass

from torch import Tensor

from .problem import Problem, Values
from .result import GraphResult, GraphStatus
from .start import linearize_start


@dataclass(frozen=True)
class Dogleg:
    """Within a trust region, the Gauss-Newton step or its blend with the steepest descent; a rejected step needs
    no new factorization. Lengths are measured in the norm of diag(H).

    Source: Powell, "A new algorithm for unconstrained optimization", 1970; Nocedal and Wright, chapter 4.
    """

    max_iterations: int = 100
    """Steps tried at most."""
    tolerance: float = 1e-7
    """Stop after a Gauss-Newton step whose predicted decrease is below this part of the cost."""
    absolute_tolerance: float = 1e-12
    """The same against a cost of 0, in units of chi2."""
    initial_radius: float = math.inf
    """Of the trust region; by default the first Gauss-Newton step is tried whole."""
    min_radius: float = 1e-9
    """Of the first one: below it no step can lower the cost."""

    def run(self, problem: Problem, values: Values) -> GraphResult:
        """Minimize from `values`."""
        start = linearize_start(problem, values)
        if isinstance(start, GraphResult):
            return start
        stats, cost, H, g = start
        radius, smallest, newton = self.initial_radius, None, None
        while stats.iterations < self.max_iterations:
            stats.iterations += 1
            if newton is None:
                failed = problem.solver.try_factorize(H)
                if failed >= 0:
                    return GraphResult(dict(values), GraphStatus.NOT_POSITIVE_DEFINITE, stats,
                                       problem.variable(failed))
                newton = problem.solver.solve(-g)
                D = problem.diagonal(H)
                steepest = -g / D
                cauchy = steepest * float(-(g @ steepest) / (steepest @ (H @ steepest)))
            step = _dogleg(newton, cauchy, D, radius)
            length = float((D * step * step).sum().sqrt())
            predicted = float(-2 * (g @ step) - step @ (H @ step))
            whole = step is newton
            small = predicted <= max(self.tolerance * cost, self.absolute_tolerance)
            trial = problem.retract(values, step)
            trial_cost, trial_chi2, trial_H, trial_g = problem.linearize(trial)
            ratio = (cost - trial_cost) / predicted if math.isfinite(trial_cost) else -1.0
            smallest = smallest or self.min_radius * length
            if trial_cost < cost:
                values, cost, H, g, newton = trial, trial_cost, trial_H, trial_g, None
                stats.chi2 = trial_chi2
                stats.cost.append(cost)
            if small and whole:
                return GraphResult(dict(values), GraphStatus.CONVERGED, stats)
            if not ratio >= 0.25:
                radius = length / 4
            elif ratio > 0.75 and not whole:
                radius = 2 * radius
            if radius < smallest:
                return GraphResult(dict(values), GraphStatus.NO_DECREASE, stats)
        return GraphResult(dict(values), GraphStatus.ITERATION_LIMIT, stats)


def _dogleg(newton: Tensor, cauchy: Tensor, D: Tensor, radius: float) -> Tensor:
    """The point of the path 0, cauchy, newton that is at `radius`, or its end inside."""
    if float((D * newton * newton).sum().sqrt()) <= radius:
        return newton
    size = float((D * cauchy * cauchy).sum().sqrt())
    if size >= radius:
        return cauchy * (radius / size)
    leg = newton - cauchy
    a, b, c = float((D * leg * leg).sum()), float((D * leg * cauchy).sum()), size * size - radius * radius
    return cauchy + leg * ((-b + math.sqrt(b * b - a * c)) / a)
