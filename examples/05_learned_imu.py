"""An IMU calibrated through its preintegration: scale, misalignment and bias of the gyroscope from known attitudes.

    corrected samples --> preintegrate --> ΔR against the truth --> loss --> what corrects the samples
"""
import torch

from pypose_core.inertial import preintegrate
from pypose_core.lie import so3

torch.manual_seed(0)
f64 = {'dtype': torch.float64}
B, F, DT = 64, 100, 0.01                                                   # sequences of one second at 100 Hz
rates = torch.randn(B, 1, 3, **f64) + 0.5 * torch.randn(B, F, 3, **f64)
accel = torch.tensor([0, 0, 9.80665], **f64).expand(B, F, 3)
dt = torch.full((F,), DT, **f64)
truth = preintegrate(dt, rates, accel).delta_rotation

wrong = torch.eye(3, **f64) + 0.03 * torch.randn(3, 3, **f64)              # scale and misalignment of a few per cent
measured = rates @ wrong.mT + torch.tensor([0.02, -0.01, 0.03], **f64) + 0.01 * torch.randn(B, F, 3, **f64)

correction = torch.nn.Linear(3, 3, **f64)
with torch.no_grad():
    correction.weight.copy_(torch.eye(3))
    correction.bias.zero_()
optimizer = torch.optim.Adam(correction.parameters(), lr=5e-3)


def error(rates):
    """Attitude errors after one second (B,), rad."""
    found = preintegrate(dt, rates, accel).delta_rotation
    return so3.log(so3.mul(so3.inv(truth), found))


before = error(measured).norm(dim=-1).mean()
for _ in range(120):
    loss = error(correction(measured)).square().sum(-1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f'bias found: {[round(b, 3) for b in (-torch.linalg.solve(correction.weight, correction.bias)).tolist()]}')
print(f'attitude after 1 s, uncalibrated: {before * 1000:.1f} mrad')
after = error(correction(measured)).norm(dim=-1).mean().detach()
print(f'attitude after 1 s, learned: {after * 1000:.2f} mrad')
