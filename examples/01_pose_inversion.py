"""PyPose's first program: find the inverses of poses with Levenberg-Marquardt.

    pose --- Log(pose @ input) = 0
"""
import torch

import pypose_core as pp


class InvNet(torch.nn.Module):
    def __init__(self, *size):
        super().__init__()
        self.pose = pp.Parameter(pp.randn_SE3(*size, dtype=torch.float64))

    def forward(self, input):
        return (self.pose @ input).Log().tensor()


torch.manual_seed(0)
inputs, net = pp.randn_SE3(100, dtype=torch.float64), InvNet(100)
optimizer = pp.optim.LM(net)
for step in range(10):
    loss = optimizer.step(inputs)
    print(f'step {step}: loss {loss:.3e}')
    if loss < 1e-20:
        break
error = (net.pose @ inputs).Log().tensor().norm(dim=-1).max()
print(f'largest error of an inverse: {error:.1e}')
