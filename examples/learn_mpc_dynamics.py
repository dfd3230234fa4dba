"""A controller learns its robot's slip from 10 s of its own driving, by differentiating the solution of its problem.

    slip --> OCP.solve (natively, all recorded moments as one batch) --> controls --> loss

In hindsight every recording is a lesson: had the recorded future been the reference, the recorded controls would have
been right. With a wrong model the controller would have chosen others; the difference is the loss."""
import numpy as np
import torch

from pypose_core.control import OCP, Box, LeastSquares
from pypose_core.dynamics import Unicycle

torch.manual_seed(0)
N, DT, HIDDEN = 10, 0.1, 6
vehicle, weight = Unicycle(DT), torch.tensor([6.0, 6.0, 2.0]).double()
PATHS = {'eight': (2.0, 0.3, 0.0, 1.0, 0.6, 0.0), 'circle': (1.2, 0.5, 0.0, 1.2, 0.5, 1.6),
         'slalom': (4.0, 0.15, 0.0, 0.4, 0.9, 0.0)}


def robot(x, u):    # of which the controller knows nothing: it slips, and pulls to one side
    v, w = u.unbind(-1)
    return vehicle.state_transition(x, torch.stack([0.75 * v - 0.05 * w * w, 0.65 * w - 0.2 * v], -1))


def model(x, u, p):
    return vehicle.state_transition(x, u + (p.V @ torch.tanh(p.W @ u.unsqueeze(-1))).squeeze(-1))


mpc = OCP(model, state=3, control=2, horizon=N, parameters={'path': (3,), 'W': (HIDDEN, 2), 'V': (2, HIDDEN)},
          stage_cost=LeastSquares(lambda x, u, p: torch.cat([weight * (x - p.path), 0.1 * u], -1)), hessian='exact',
          terminal_cost=LeastSquares(lambda x, p: weight * (x - p.path)), control_bounds=Box(-3.0, 3.0))


@torch.no_grad()
def drive(kind, slip, steps=100):
    """States, controls, and the RMS distance in metres from x = a sin(ω t + φ), y = b sin(ψ t + χ)."""
    (a, w, f, b, s, c), t = PATHS[kind], DT * np.arange(steps + N + 1)
    heading = np.unwrap(np.arctan2(b * s * np.cos(s * t + c), a * w * np.cos(w * t + f)))
    path = torch.from_numpy(np.stack([a * np.sin(w * t + f), b * np.sin(s * t + c), heading], -1))
    states, controls = [path[0]], []
    for k in range(steps):
        found = mpc.solve(states[-1], parameters={'path': path[k:k + N + 1], **slip}, start='shift' if k else 'roll')
        controls.append(found.controls[0])
        states.append(robot(states[-1], controls[-1]))
    error = torch.stack(states)[:, :2] - path[:steps + 1, :2]
    return torch.stack(states), torch.stack(controls), error.square().sum(1).mean().sqrt().item()


slip = {'W': 0.5 * torch.randn(HIDDEN, 2).double(), 'V': torch.zeros(2, HIDDEN).double()}
before = {kind: drive(kind, slip)[2] for kind in PATHS}
states, controls, _ = drive('eight', slip)      # the 10 s that all is learned from
futures, chosen = states.unfold(0, N + 1, 1).mT, controls.unfold(0, N, 1).mT
optimizer = torch.optim.Adam([value.requires_grad_() for value in slip.values()], lr=0.03)
for i in range(50):
    found = mpc.solve(futures[:, 0], parameters={'path': futures, **slip}, start='keep' if i else 'roll')
    optimizer.zero_grad()
    (found.controls - chosen).square().mean().backward()
    optimizer.step()
for kind in PATHS:
    print(f'{kind}: {before[kind]:.4f} m from the path before, {drive(kind, slip)[2]:.4f} m after')
