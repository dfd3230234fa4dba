"""A controller learns what its user wants: the weights of its cost, from demonstrations and what the user saw.

    load, wet floor --> network --> weights of heading, speed, turning --> OCP.solve, many moments at once --> controls

Nobody says a weight: only the controls that the user chose are known. The lower level of BilevelTrainer is the optimal
control problem, and the gradient comes through its solution.
"""
import torch
from torch import nn

from pypose_core.control import OCP, Box, LeastSquares
from pypose_core.dynamics import Unicycle
from pypose_core.learning import BilevelTrainer, TrainingConfig

N, vehicle = 12, Unicycle(0.1)


def stage(x, u, p):
    away = x - p.goal
    return torch.cat([away[..., :2], p.weight[..., :1] * away[..., 2:], p.weight[..., 1:] * u], -1)


ocp = OCP(vehicle, state=3, control=2, horizon=N, parameters={'goal': (3,), 'weight': (3,)}, hessian='exact',
          stage_cost=LeastSquares(stage), terminal_cost=LeastSquares(lambda x, p: 3 * (x - p.goal)),
          control_bounds=Box(-2.0, 2.0))


def drive(weight, start):
    """Controls (B, N, 2) and states from starts (B, 3) to the origin by weights (B, 3)."""
    each = {name: x[:, None].expand(-1, N + 1, -1) for name, x in (('goal', 0 * start), ('weight', weight))}
    return ocp.solve(start, parameters=each, start='roll')


class Demonstrations:
    """Moments with what the user saw (load, wet floor) and chose."""

    def __init__(self, count: int):
        self.seen = torch.rand(count, 2, dtype=torch.float64)
        self.start = torch.tensor([-1.0, 0, 0]) + (torch.rand(count, 3, dtype=torch.float64) - 0.5)
        load, wet = self.seen.unbind(1)
        wanted = torch.stack([0.2 + wet, 0.1 + 1.5 * wet * wet, 0.1 + 2 * load * load], 1)
        self.chosen = drive(wanted, self.start).controls

    def __len__(self) -> int:
        return len(self.seen)

    def __getitem__(self, index):
        return self.seen[index], self.start[index], self.chosen[index]


torch.manual_seed(0)
lessons, unseen = Demonstrations(64), Demonstrations(32)
network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3), nn.Softplus()).double()
trainer = BilevelTrainer(network, lambda net, moment: drive(net(moment[0]), moment[1]).controls,
                         lambda controls, moment: (controls - moment[2]).square().mean(),
                         TrainingConfig(epochs=30, batch_size=16, learning_rate=0.02, weight_decay=0.0))
before = trainer.evaluate(unseen) ** 0.5
trainer.fit(lessons)
print(f'controls on unseen moments: {before:.3f} m/s, rad/s from the user\'s before')
print(f'and {trainer.evaluate(unseen) ** 0.5:.3f} after')
