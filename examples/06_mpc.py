"""Model predictive control: a robot drives to its goal around an obstacle, within the limits of speed and acceleration.

    minimize    Σ |x_k - goal|² + small |u_k|²            over N = 25 steps of 0.1 s, solved anew at each of them
    subject to  x_{k+1} = f(x_k, u_k),  |u| ≤ limit,  |u_k - u_{k-1}| ≤ change,  |position - obstacle| ≥ 0.5 m

The robot is not quite its model: it slips by 5 %.
"""
import torch

from pypose_core.control import OCP, Box, LeastSquares, StateConstraint
from pypose_core.dynamics import Unicycle


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


vehicle = Unicycle(0.1)
limit, change = f64(1.0, 1.5), f64(0.1, 0.4)
weight, obstacle, goal = f64(3, 3, 0.1), f64(1.5, 0.3), f64(3.0, 0.0, 0.0)

ocp = OCP(vehicle, state=3, control=2, horizon=25, hessian='exact', parameters={'goal': (3,)},
          stage_cost=LeastSquares(lambda x, u, p: torch.cat([weight * (x - p.goal), 0.3 * u], -1)),
          terminal_cost=LeastSquares(lambda x, p: 3 * weight * (x - p.goal)),
          control_bounds=Box(-limit, limit), rate_bounds=Box(-change, change),
          constraints=[StateConstraint('obstacle', lower=0.25,
                                       function=lambda x, p: ((x[..., :2] - obstacle) ** 2).sum(-1, keepdim=True))])

x, u, nearest, milliseconds = f64(0, 0, 0), f64(0, 0), 9.0, []
for step in range(80):
    result = ocp.solve(x, u_prev=u, parameters={'goal': goal}, start='shift' if step else 'roll')
    assert result.converged, result
    u = result.controls[0]
    x = vehicle.state_transition(x, 0.95 * u)
    nearest = min(nearest, (x[:2] - obstacle).norm().item())
    milliseconds.append(1e3 * result.stats.seconds)

print(f'{sorted(milliseconds)[40]:.2f} ms a solve in the middle, never nearer to the obstacle than {nearest:.3f} m')
print(f'distance to the goal at the end: {100 * (x - goal)[:2].norm().item():.2f} cm')
