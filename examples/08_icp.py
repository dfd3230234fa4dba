"""Two scans of a wavy sheet: how did the sensor move, how well is that known, and in which directions not at all?"""
import torch

import pypose_core as pp
from pypose_core.geometry import register

torch.manual_seed(0)
N = 4000


def scan(n):
    xy = torch.rand(n, 2, dtype=torch.float64) * 4 - 2
    return torch.stack([xy[:, 0], xy[:, 1], 0.5 * (1.5 * xy[:, 0]).sin() + 0.4 * (1.2 * xy[:, 1]).cos()], -1)


motion = pp.se3(torch.tensor([0.05, -0.03, 0.06, 0.02, -0.03, 0.05], dtype=torch.float64)).Exp()
target, source = scan(N), motion.Inv() @ scan(N)
source = source + 0.002 * torch.randn(N, 3, dtype=torch.float64)

found = pp.module.ICP()(source, target)                    # PyPose's interface: points on points
print(f'point to point: off by {(found.Inv() @ motion).translation().norm() * 1000:.1f} mm')
result = register(source, target, method='plane')
error = (result.T_target_source.Inv() @ motion).translation().norm() * 1000
print(f'σ of the translation: {(result.covariance[:3, :3].diagonal().sum().sqrt() * 1000).item():.2f} mm')
print(f'point to plane: off by {error:.2f} mm')
