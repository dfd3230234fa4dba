"""The drive of kitti_imu_gps.py: noise of IMU and GPS learned through the solver on one half, judged on the other.

    noise --> preintegrate --> information of the factors --> SolverLayer --> positions --> distance from unused fixes

Learned are logarithms of factors on the four stated densities and on the GPS's sigma, with a prior of one e-fold each.
The fixes by which the result is measured, those of the second half, are not looked at before.

    .venv/bin/python examples/learn_imu_noise.py FOLDER
"""
import sys
from pathlib import Path

import torch
from kitti_imu_gps import EVERY, GPS_SIGMA, build, load

from pypose_core.graph import LevenbergMarquardt, SolverLayer
from pypose_core.inertial import preintegrate

HALF = 220          # the first fix of the second half


def layer(fixes: torch.Tensor, samples: torch.Tensor, noise) -> SolverLayer:
    graph = build(fixes, samples, noise)
    return SolverLayer(graph, [(factors, 'information') for factors in graph.factors[:2]],
                       solver=LevenbergMarquardt(initial_damping=1e-4))


def informations(log_scale: torch.Tensor, samples: torch.Tensor, noise) -> tuple[torch.Tensor, torch.Tensor]:
    """(N - 1, 15, 15) of the inertial factors and (3, 3) of the fixes."""
    dt, gyro, accel = samples.split((1, 3, 3), -1)
    scale = torch.cat([(2 * log_scale[:4]).exp(), torch.ones(1, dtype=torch.float64)])
    stated = noise.covariance(dtype=torch.float64) * scale[:, None, None]
    return (torch.linalg.inv(preintegrate(dt[..., 0], gyro, accel, noise=stated).covariance),
            torch.eye(3, dtype=torch.float64) * (GPS_SIGMA * log_scale[4].exp()) ** -2)


def mean_square(fixes: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Of the distance in the plane from the fixes that were not used, m²."""
    away = torch.arange(len(fixes)) % EVERY != 0
    return (position[away, :2] - fixes[away, 1:3]).square().sum(1).mean()


if __name__ == '__main__':
    fixes, samples, noise = load(Path(sys.argv[1]))
    first, second = (fixes[:HALF + 1], samples[:HALF]), (fixes[HALF:], samples[HALF:])
    learning, using = layer(*first, noise), layer(*second, noise)
    log_scale = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([log_scale], lr=0.2)
    gaps = 2 * len(first[0]) / EVERY    # independent numbers in the likelihood: two for each gap between used fixes
    for _ in range(20):
        optimizer.zero_grad()
        error = mean_square(first[0], learning(*informations(log_scale, first[1], noise))['state'])
        (gaps / 2 * error.log() + log_scale.square().sum() / 2).backward()
        optimizer.step()
        print(f'{error.item() ** 0.5:.3f} m on the first half, noise x', [f'{x:.2f}' for x in log_scale.detach().exp()])
    with torch.no_grad():
        before, after = (float(mean_square(second[0], using(*informations(x, second[1], noise))['state']).sqrt())
                         for x in (torch.zeros(5), log_scale))
    print(f'held-out fixes: {before:.4f} m RMSE in the plane with the stated noise, {after:.4f} m with the learned one')
