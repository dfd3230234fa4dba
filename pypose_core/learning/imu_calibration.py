"""Constants that an IMU and the reference of a recording differ by, before anything is learned.

A reference is never in the IMU's own clock and with its z axis plumb: of EuRoC's V1_01, motion capture refined by a
batch estimate, the frame leans by 3 mrad, which over 5 s is 0.4 m, and the clock is 2 ms off. Such constants would be
learned as errors of the sensor, or hide them.
"""
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.inertial import preintegrate
from pypose_core.lie import so3

from .imu_windows import ImuWindows, KnownStates
from .preintegration_level import motion_error

#: Standard deviations before anything is seen: biases far wider than any, 1 degree of lean, 10 ms between the clocks.
PRIOR = torch.tensor([1.0] * 3 + [10.0] * 3 + [0.02, 0.02, 0.01], dtype=torch.float64)
STEP = torch.tensor([1e-4, 1e-4, 1e-4], dtype=torch.float64)    # rad, rad, s: of central differences


@dataclass(frozen=True)
class Calibration:
    """What the IMU and the reference of a recording constantly differ by."""

    bias: Tensor
    """(6,) of the IMU, rad/s and m/s²."""
    lean: Tensor
    """(2,) rad, about the reference's x and y axes: turned back by it, its z axis points up."""
    delay: float
    """s; the reference's stamps plus this are the IMU's."""

    def apply(self, states: KnownStates) -> KnownStates:
        """The reference, upright and in the IMU's clock. The biases are the IMU's: they are not taken off here."""
        turned = so3.exp(torch.cat([-self.lean, self.lean.new_zeros(1)]))
        rows = torch.from_numpy(states.states)
        upright = torch.cat([so3.act(turned, rows[:, :3]), so3.mul(turned.expand(len(rows), 4), rows[:, 3:7]),
                             so3.act(turned, rows[:, 7:10]), rows[:, 10:]], 1)
        return KnownStates(states.stamps_ns + round(self.delay * 1e9), upright.numpy())


def calibrate(windows: ImuWindows, gravity: Tensor, *, reference: bool = True, iterations: int = 4) -> Calibration:
    """The constants that explain the windows' motions best: each of rotation, velocity and position counts in units of
    its spread. Gauss-Newton with the biases' Jacobians and central differences by the rest.

    Args:
        gravity: (3,) m/s².
        reference: look for lean and delay too; else they are 0.
    """
    x, gravity = torch.zeros(9, dtype=torch.float64), gravity.to(torch.float64)
    samples = windows.samples[:, windows.samples.shape[1] - windows.dt.shape[1] - 1:]
    gyro, accel = ((samples[:, 1:] + samples[:, :-1]) / 2).split((3, 3), -1)
    for _ in range(iterations):
        found = preintegrate(windows.dt, gyro, accel, bias=x[:6])

        def error(rest: Tensor, found=found, bias=x[:6]) -> Tensor:
            """Of the reference turned and shifted by `rest`."""
            down = so3.act(so3.exp(torch.cat([rest[:2], rest.new_zeros(1)])), gravity)
            return motion_error(found, _shifted(windows, samples, bias, down, rest[2]), down)

        e = error(x[6:])
        scale = e.sub(e.mean(0)).unflatten(1, (3, 3)).square().mean((0, 2)).sqrt().repeat_interleave(3)
        # What an error of the bias adds to the motion is missing in the error.
        J = [found.bias_jacobian]
        if reference:
            J += [(error(x[6:] + STEP * axis) - error(x[6:] - STEP * axis))[..., None] / (-2 * STEP[k])
                  for k, axis in enumerate(torch.eye(3, dtype=torch.float64))]
        n = 9 if reference else 6
        A = torch.cat([(torch.cat(J, -1) / scale[:, None]).reshape(-1, n), torch.diag(1 / PRIOR[:n])])
        b = torch.cat([(e / scale).reshape(-1), -x[:n] / PRIOR[:n]])
        x[:n] += torch.linalg.lstsq(A, b[:, None]).solution[:, 0]
    return Calibration(x[:6].clone(), x[6:8].clone(), float(x[8]))


def _shifted(windows: ImuWindows, samples: Tensor, bias: Tensor, gravity: Tensor, delay: Tensor) -> ImuWindows:
    """The windows with their ends where the reference was `delay` earlier: carried there by the samples at the ends."""
    ends = []
    for row, sample in ((windows.start, samples[:, 0]), (windows.end, samples[:, -1])):
        w, a = (sample - bias).split(3, -1)
        velocity, back = row[:, 7:10], -delay
        acceleration = so3.act(row[:, 3:7], a) + gravity
        ends.append(torch.cat([row[:, :3] + back * velocity, so3.mul(row[:, 3:7], so3.exp(back * w)),
                               velocity + back * acceleration, row[:, 10:]], 1))
    return ImuWindows(windows.samples, windows.dt, ends[0], ends[1], windows.stamps_ns)
