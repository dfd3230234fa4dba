"""A drive of 470 s from an IMU and one GPS fix in ten: a state for each fix, nine in ten of them held out.

    state --imu-- state --imu-- ... --imu-- state --imu-- ...
      |                                       |
     fix        .venv/bin/python examples/   fix       kitti_imu_gps.py FOLDER
"""
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from pypose_core.graph import NAV_STATE, FactorGraph, Gnss, Imu, LevenbergMarquardt, Prior
from pypose_core.inertial import ImuNoise, preintegrate

GRAVITY, GPS_SIGMA, EVERY = torch.tensor([0, 0, -9.81], dtype=torch.float64), 0.07, 10
BIAS_SIGMA = [5e-5] * 3 + [0.1] * 3     # rad/s and m/s^2; nothing else is known of the first state


def load(folder: Path) -> tuple[torch.Tensor, torch.Tensor, ImuNoise]:
    """Fixes (N, 4) [t, x, y, z], samples (N - 1, F, 7) [dt, gyro, accel] between them (padded), and their noise."""
    names, numbers = (folder / 'KittiEquivBiasedImu_metadata.txt').read_text().splitlines()[:2]
    stated = dict(zip(names.split(), map(float, numbers.split())))
    fixes = np.loadtxt(folder / 'KittiGps_converted.txt', delimiter=',', skiprows=1)[1:]
    imu = np.loadtxt(folder / 'KittiEquivBiasedImu.txt', skiprows=1)[:, [0, 1, 5, 6, 7, 2, 3, 4]]
    begin = np.searchsorted(imu[:, 0], fixes[:, 0], side='right')     # a sample holds over the dt before it
    samples = torch.zeros(len(fixes) - 1, int(np.diff(begin).max()), 7, dtype=torch.float64)
    for k, (a, b) in enumerate(zip(begin, begin[1:])):
        samples[k, :b - a] = torch.from_numpy(imu[a:b, 1:])
    walk = stated['AverageDeltaT'] ** -0.5       # the stated sigmas of the biases are for one sample
    return torch.from_numpy(fixes), samples, ImuNoise(
        stated['GyroscopeSigma'], stated['AccelerometerSigma'], stated['GyroscopeBiasSigma'] * walk,
        stated['AccelerometerBiasSigma'] * walk)


def first_guess(fixes: torch.Tensor, every: int = EVERY) -> torch.Tensor:
    """(N, 16) states on a spline through the fixes that are used, heading along it."""
    spline = CubicSpline(fixes[::every, 0], fixes[::every, 1:])
    position, velocity = (torch.tensor(spline(fixes[:, 0], order)) for order in (0, 1))
    yaw, zero = torch.atan2(velocity[:, 1:2], velocity[:, :1]), torch.zeros(len(fixes), 6, dtype=torch.float64)
    return torch.cat([position, zero[:, :2], (yaw / 2).sin(), (yaw / 2).cos(), velocity, zero], 1)


def build(fixes: torch.Tensor, samples: torch.Tensor, noise: ImuNoise, every: int = EVERY) -> FactorGraph:
    dt, gyro, accel = samples.split((1, 3, 3), -1)
    index, graph = torch.arange(len(fixes)), FactorGraph()
    graph.add_variables('state', NAV_STATE, first_guess(fixes, every))
    graph.add(Imu('state', torch.stack([index[:-1], index[1:]], 1),
                  preintegrate(dt[..., 0], gyro, accel, noise=noise), GRAVITY))
    graph.add(Gnss('state', index[::every], fixes[::every, 1:], information=torch.eye(3) / GPS_SIGMA ** 2))
    weights = torch.diag(torch.tensor([0.] * 9 + [sigma ** -2 for sigma in BIAS_SIGMA]))
    graph.add(Prior('state', [0], graph.values['state'][:1], information=weights))
    return graph


def held_out_rmse(fixes: torch.Tensor, position: torch.Tensor) -> float:
    """Root mean square distance in the plane from the fixes that were not used, m."""
    away = torch.arange(len(fixes)) % EVERY != 0
    return float((position[away, :2] - fixes[away, 1:3]).square().sum(1).mean().sqrt())


if __name__ == '__main__':
    drive = load(Path(sys.argv[1]))
    result = build(*drive).optimize(LevenbergMarquardt(initial_damping=1e-4))
    print(f'{result}\nheld-out fixes: {held_out_rmse(drive[0], result.value["state"]):.4f} m RMSE in the plane')
