"""Cameras on an arc look at points; both are found from pixels.

    prior - camera0 --pixel-- point      camera1 --pixel-- point     ...
"""
import torch

import pypose_core as pp
from pypose_core.graph import SE3, Euclidean, FactorGraph, Prior, Reprojection

torch.manual_seed(0)
f64 = {'dtype': torch.float64}
CAMERAS, POINTS, PIXEL = 12, 300, 0.5
K = torch.tensor([500.0, 500.0, 320.0, 240.0], **f64)                      # f_x, f_y, c_x, c_y

points = torch.rand(POINTS, 3, **f64) * 4 - 2
angle = torch.linspace(-0.6, 0.6, CAMERAS, **f64)
zero = torch.zeros_like(angle)
turn = torch.stack([zero, (angle / 2).sin(), zero, (angle / 2).cos()], -1)  # about y, looking at the origin
poses = pp.SE3(torch.cat([torch.stack([-8 * angle.sin(), zero, -8 * angle.cos()], -1), turn], -1))

pairs = torch.cartesian_prod(torch.arange(CAMERAS), torch.arange(POINTS))
seen = poses[pairs[:, 0]].Inv() @ points[pairs[:, 1]]
pixels = K[:2] * seen[:, :2] / seen[:, 2:] + K[2:] + PIXEL * torch.randn(len(pairs), 2, **f64)

graph = FactorGraph()
graph.add_variables('pose', SE3, (poses @ pp.randn_se3(CAMERAS, sigma=0.05, **f64).Exp()).tensor())
graph.add_variables('point', Euclidean(3), points + 0.2 * torch.randn(POINTS, 3, **f64))
graph.add(Prior('pose', torch.tensor([0, CAMERAS - 1]), poses.tensor()[[0, -1]], information=1e8 * torch.eye(6)))
graph.add(Reprojection(('pose', 'point'), pairs, pixels, K, information=torch.eye(2) / PIXEL ** 2))
result = graph.optimize()
print(result)
print(f'points are off by {(result.value["point"] - points).norm(dim=-1).median() * 100:.2f} cm in the median')
dof = 2 * len(pairs) - 6 * (CAMERAS - 2) - 3 * POINTS
print(f'chi2 per degree of freedom: {result.stats.chi2 / dof:.3f}')
