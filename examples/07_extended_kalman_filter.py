"""A robot localizes itself by ranges to beacons: an EKF in PyPose's form, and its smoother."""
import torch

import pypose_core as pp
from pypose_core.filter import smooth

torch.manual_seed(0)
f64 = {'dtype': torch.float64}
BEACONS = torch.tensor([[0.0, 0.0], [10.0, 0.0], [5.0, 8.0]], **f64)
DT, STEPS, RUNS = 0.1, 200, 50


class Unicycle(pp.module.NLS):
    def state_transition(self, state, input, t=None):
        x, y, heading = state.unbind(-1)
        v, w = input.unbind(-1)
        return torch.stack([x + DT * v * heading.cos(), y + DT * v * heading.sin(), heading + DT * w], -1)

    def observation(self, state, input, t=None):
        return torch.stack([((state[..., :2] - beacon) ** 2).sum(-1).sqrt() for beacon in BEACONS], -1)


model = Unicycle()
Q, R = torch.diag(torch.tensor([1e-4, 1e-4, 4e-4], **f64)), 0.1 ** 2 * torch.eye(3, **f64)
truth = torch.tensor([5.0, 2.0, 0.0], **f64).expand(RUNS, 3)
P = torch.diag(torch.tensor([0.1, 0.1, 0.05], **f64)).expand(RUNS, 3, 3)
start = truth + torch.randn(RUNS, 3, **f64) @ P[0].sqrt()
u = torch.tensor([0.6, 0.3], **f64).expand(STEPS, RUNS, 2)
states, ranges = [], []
for k in range(STEPS):
    truth = model.state_transition(truth, u[k]) + torch.randn(RUNS, 3, **f64) @ Q.sqrt()
    states.append(truth)
    ranges.append(model.observation(truth, u[k]) + 0.1 * torch.randn(RUNS, 3, **f64))

smoothed, filtered = smooth(pp.module.EKF(model, Q, R), start, torch.stack(ranges), u, P)
states = torch.stack(states)
for name, run in (('filtered', filtered), ('smoothed', smoothed)):
    error = run.x[1:] - states
    rmse = error[..., :2].square().sum(-1).mean().sqrt()
    nees = (error.unsqueeze(-2) @ torch.linalg.solve(run.P[1:], error.unsqueeze(-1))).mean()
    print(f'{name}: position RMSE {rmse * 100:.1f} cm, normalized squared error (of 3) {nees:.2f}')
