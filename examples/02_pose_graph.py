"""A robot drives in squares; odometry drifts, loops correct it.

    prior - x0 --odometry-- x1 --odometry-- x2 -- ... -- x199
             \\______________ loop closures _____________/
"""
import torch

from pypose_core.graph import SE2, Between, FactorGraph, Prior
from pypose_core.lie import se2

torch.manual_seed(0)
N, SIGMA = 200, torch.tensor([0.05, 0.05, 0.01], dtype=torch.float64)      # m, m, rad of each measurement

turn = torch.where(torch.arange(N - 1) % 10 == 9, torch.pi / 2, 0.0)
step = se2.exp(torch.stack([torch.ones(N - 1), torch.zeros(N - 1), turn], -1).double())
truth = [torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)]
for k in range(N - 1):
    truth.append(se2.mul(truth[-1], step[k]))
truth = torch.stack(truth)

odometry = torch.stack([torch.arange(N - 1), torch.arange(1, N)], -1)
loops = torch.tensor([(i, i + 40) for i in range(0, N - 40, 5)])           # a square is 40 poses
pairs = torch.cat([odometry, loops])
exact = se2.mul(se2.inv(truth[pairs[:, 0]]), truth[pairs[:, 1]])
measured = se2.mul(exact, se2.exp(SIGMA * torch.randn(len(pairs), 3, dtype=torch.float64)))

guess = [truth[0]]
for k in range(N - 1):
    guess.append(se2.mul(guess[-1], measured[k]))
guess = torch.stack(guess)

graph = FactorGraph()
graph.add_variables('pose', SE2, guess)
graph.add(Prior('pose', torch.tensor([0]), truth[0], information=1e6 * torch.eye(3)))
graph.add(Between('pose', pairs, measured, information=torch.diag(SIGMA ** -2)))
result = graph.optimize()
print(result)


def rmse(poses):
    return (poses[:, :2] - truth[:, :2]).square().sum(-1).mean().sqrt()


sigma = graph.marginals().covariance('pose')[-1].diagonal()[:2].sum().sqrt()
print(f'the last pose is known to {sigma:.2f} m; odometry alone was off by {rmse(guess):.2f} m')
print(f'position RMSE: {rmse(result.value["pose"]):.3f} m')
