"""The drive of kitti_imu_gps.py with the IMU's noise learned through the solver, from the same fixes.

    noise --> preintegrate --> information of the inertial factors --> SolverLayer --> positions --> loss

Every second of the used fixes is a factor while learning, the others say how good the positions between them are. The
fixes that the result is measured by are never looked at.

    .venv/bin/python examples/learn_imu_noise.py FOLDER
"""
import sys
from pathlib import Path

import torch
from kitti_imu_gps import EVERY, build, held_out_rmse, load

from pypose_core.graph import LevenbergMarquardt, SolverLayer
from pypose_core.inertial import preintegrate

fixes, samples, noise = load(Path(sys.argv[1]))
dt, gyro, accel = samples.split((1, 3, 3), -1)
stated = noise.covariance(dtype=torch.float64)


def layer(every: int) -> SolverLayer:
    graph = build(fixes, samples, noise, every)
    return SolverLayer(graph, [(graph.factors[0], 'information')], solver=LevenbergMarquardt(initial_damping=1e-4))


def information(log_scale: torch.Tensor) -> torch.Tensor:
    """(N - 1, 15, 15) from logarithms of the factors on the four stated densities."""
    scale = torch.cat([(2 * log_scale).exp(), torch.ones(1, dtype=torch.float64)])
    return torch.linalg.inv(preintegrate(dt[..., 0], gyro, accel, noise=stated * scale[:, None, None]).covariance)


learning, using = layer(2 * EVERY), layer(EVERY)
log_scale = torch.zeros(4, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([log_scale], lr=0.3)
between = torch.arange(EVERY, len(fixes), 2 * EVERY)
for _ in range(10):
    optimizer.zero_grad()
    position = learning(information(log_scale))['state'][between, :2]
    loss = (position - fixes[between, 1:3]).square().sum(1).mean()
    loss.backward()
    optimizer.step()
    print(f'{loss.item() ** 0.5:.3f} m between the fixes, noise x', [f'{x:.2f}' for x in log_scale.detach().exp()])
with torch.no_grad():
    before, after = (held_out_rmse(fixes, using(information(x))['state']) for x in (torch.zeros(4), log_scale))
print(f'held-out fixes: {before:.4f} m RMSE in the plane with the stated noise, {after:.4f} m with the learned one')
