"""A trajectory in continuous time from sensors with clocks of their own: fixes at 2 Hz, gyroscope and accelerometer.

    control pose - control pose - control pose - control pose     each measurement is a factor on the four about it
"""
import torch

import pypose_core as pp
from pypose_core.geometry import BSpline
from pypose_core.graph import FactorGraph, SplineTrajectory

torch.manual_seed(0)
f64 = {'dtype': torch.float64}
INTERVAL, G = 0.25, torch.tensor([0, 0, 9.80665], **f64)
steps = pp.se3(torch.tensor([0.25, 0, 0.02, 0, 0, 0.12], **f64) + 0.05 * torch.randn(20, 6, **f64))
truth = BSpline(steps.Exp().cumprod(0, left=False), INTERVAL)
end = 17 * INTERVAL

fix_times, imu_times = torch.arange(0.13, end, 0.5, **f64), torch.arange(0.004, end, 0.01, **f64)
fixes = truth(fix_times).translation() + 0.02 * torch.randn(len(fix_times), 3, **f64)
T, v, a = truth.derivatives(imu_times)
gyro = v[:, 3:] + 0.01 * torch.randn(len(v), 3, **f64) + torch.tensor([0.01, -0.02, 0.015], **f64)
force = a[:, :3] + torch.linalg.cross(v[:, 3:], v[:, :3]) + T.rotation().Inv() @ G.expand(len(v), 3)
force = force + 0.05 * torch.randn(len(v), 3, **f64)

graph = FactorGraph()
guess = truth.controls @ pp.randn_se3(20, sigma=0.1, **f64).Exp()
trajectory = SplineTrajectory(graph, guess.tensor(), INTERVAL)
trajectory.add_positions(fix_times, fixes, information=torch.eye(3) / 0.02 ** 2)
trajectory.add_gyroscope(imu_times, gyro, bias='gyroscope bias', information=torch.eye(3) / 0.01 ** 2)
trajectory.add_accelerometer(imu_times, force, information=torch.eye(3) / 0.05 ** 2)
result = graph.optimize()
print(result)
print(f'gyroscope bias {[round(b, 4) for b in result.value["gyroscope bias"][0].tolist()]}')
t = torch.linspace(0.1, end - 0.1, 200, **f64)
error = (trajectory.spline(t).translation() - truth(t).translation()).norm(dim=-1)
print(f'position RMSE, everywhere on the curve: {error.square().mean().sqrt() * 1000:.1f} mm')
