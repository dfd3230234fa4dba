"""A second of IMU samples as one factor: its increments, covariance, and what a change of the bias does to it.

    state_i --imu-- state_j
"""
import torch

from pypose_core.inertial import ImuNoise, preintegrate
from pypose_core.lie import so3

torch.manual_seed(0)
f64 = {'dtype': torch.float64}
B, F, DT = 2000, 200, 0.005                                # as many noisy copies of one second at 200 Hz
noise = ImuNoise(gyroscope_noise_density=2e-3, accelerometer_noise_density=2e-2, gyroscope_random_walk=0.0,
                 accelerometer_random_walk=0.0)
t = torch.arange(F, **f64)[:, None] * DT
gyro = torch.cat([0.5 * (3 * t).sin(), 0.3 * (2 * t).cos(), 0.8 * torch.ones_like(t)], -1)
accel = torch.cat([(2 * t).cos(), (5 * t).sin(), 9.8 * torch.ones_like(t)], -1)
dt = torch.full((F,), DT, **f64)

exact = preintegrate(dt, gyro, accel, noise=noise)
noisy = preintegrate(dt, gyro + 2e-3 / DT ** 0.5 * torch.randn(B, F, 3, **f64),
                     accel + 2e-2 / DT ** 0.5 * torch.randn(B, F, 3, **f64))
print(f'Δv {exact.delta_velocity.tolist()}, Δp {exact.delta_position.tolist()}')

# The stated covariance against that of the copies, in the order rotation, velocity, position.
turn = so3.log(so3.mul(so3.inv(exact.delta_rotation), noisy.delta_rotation))
error = torch.cat([turn, noisy.delta_velocity - exact.delta_velocity,
                   noisy.delta_position - exact.delta_position], -1)
stated = exact.covariance[..., :9, :9]
nees = torch.einsum('bi,ij,bj->b', error, torch.linalg.inv(stated), error).mean()
print(f'σ of the position after 1 s: {stated[6:, 6:].diagonal().sum().sqrt() * 1000:.1f} mm')

bias = torch.tensor([0.002, -0.001, 0.001, 0.02, 0.01, -0.03], **f64)
position, again = exact.corrected(bias)[2], preintegrate(dt, gyro, accel, bias=bias).delta_position
print(f'the correction for a bias moves by {(position - exact.delta_position).norm() * 1000:.2f} mm, '
      f'right to {(position - again).norm() * 1000:.4f} mm')
print(f'normalized squared error of {B} copies, of 9: {nees:.2f}')
