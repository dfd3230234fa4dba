"""Where is the camera? From points and their pixels, half of which are wrong."""
import torch

import pypose_core as pp
from pypose_core.geometry import ransac_pnp

torch.manual_seed(0)
f64 = {'dtype': torch.float64}
K = torch.tensor([[450.0, 0, 320], [0, 450, 240], [0, 0, 1]], **f64)
T_camera_world = pp.randn_SE3(**f64)
points = T_camera_world.Inv() @ (torch.rand(200, 3, **f64) * 4 - 2 + torch.tensor([0, 0, 6.0], **f64))
pixels = pp.point2pixel(points, K, T_camera_world) + 0.5 * torch.randn(200, 2, **f64)

good = pp.module.EPnP(K)(points, pixels)
print(f'EPnP, all matches right: {(good.Inv() @ T_camera_world).translation().norm() * 1000:.1f} mm')
pixels[:100] = torch.rand(100, 2, **f64) * torch.tensor([640.0, 480.0], **f64)
bad = pp.module.EPnP(K)(points, pixels)
print(f'EPnP, half of them wrong: {(bad.Inv() @ T_camera_world).translation().norm() * 1000:.0f} mm')
found = ransac_pnp(points, pixels, K)
print(f'{int(found.inliers.sum())} of 200 matches are kept')
error = (found.T_camera_world.Inv() @ T_camera_world).translation().norm() * 1000
print(f'RANSAC: {error:.1f} mm')
