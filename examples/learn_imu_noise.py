"""The drive of kitti_imu_gps.py: noise of IMU and GPS learned through the solver on one half, judged on the other.

    noise --> preintegrate --> information of the factors --> SolverLayer --> positions --> distance from unused fixes

Learned are logarithms of factors on the four stated densities and on the GPS's sigma, with a prior of one e-fold each.
    .venv/bin/python examples/learn_imu_noise.py FOLDER
"""
import sys
from pathlib import Path

import torch
from kitti_imu_gps import EVERY, GPS_SIGMA, build, load

from pypose_core.graph import LevenbergMarquardt, SolverLayer
from pypose_core.inertial import preintegrate

HALF = 220          # the first fix of the second half

def solve(drive: tuple):
    """A function from (5,) logarithms of factors on the noise to the mean square distance of unused fixes, m²."""
    fixes, samples, noise = drive
    graph, (dt, gyro, accel) = build(*drive), samples.split((1, 3, 3), -1)
    layer = SolverLayer(graph, [(factors, 'information') for factors in graph.factors[:2]],
                        solver=LevenbergMarquardt(initial_damping=1e-4))
    away = torch.arange(len(fixes)) % EVERY != 0

    def mean_square(log_scale: torch.Tensor) -> torch.Tensor:
        scale = torch.cat([(2 * log_scale[:4]).exp(), torch.ones(1, dtype=torch.float64)])
        density = noise.covariance(dtype=torch.float64) * scale[:, None, None]
        covariance = preintegrate(dt[..., 0], gyro, accel, noise=density).covariance
        gps = torch.eye(3, dtype=torch.float64) * (GPS_SIGMA * log_scale[4].exp()) ** -2
        position = layer(torch.linalg.inv(covariance), gps)['state'][away, :2]
        return (position - fixes[away, 1:3]).square().sum(1).mean()

    return mean_square


def learn(drive: tuple, report=print) -> torch.Tensor:
    """(5,) from a drive."""
    mean_square, log_scale = solve(drive), torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([log_scale], lr=0.2)
    gaps = 2 * len(drive[0]) / EVERY    # independent numbers in the likelihood: two for each gap between used fixes
    for _ in range(20):
        optimizer.zero_grad()
        error = mean_square(log_scale)
        (gaps / 2 * error.log() + log_scale.square().sum() / 2).backward()
        optimizer.step()
        report(f'{error.item() ** 0.5:.3f} m, noise x {[round(x, 2) for x in log_scale.detach().exp().tolist()]}')
    return log_scale.detach()


def halves(fixes, samples, noise) -> tuple[tuple, tuple]:
    return (fixes[:HALF + 1], samples[:HALF], noise), (fixes[HALF:], samples[HALF:], noise)


if __name__ == '__main__':
    first, second = halves(*load(Path(sys.argv[1])))
    judge = solve(second)
    before, after = (judge(x).item() ** 0.5 for x in (torch.zeros(5), learn(first)))
    print(f'held-out fixes: {before:.4f} m RMSE in the plane with the stated noise, {after:.4f} m with the learned one')
