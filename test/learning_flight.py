"""A synthetic flight with known sensor errors, cut into windows, for the tests of pypose_core.learning."""
from functools import cache

import numpy as np
import torch

from pypose_core.learning import ImuWindows, KeyframeWindow, KnownStates, cut_windows
from pypose_ros.bag.synthetic import FlightConfig, fly

GRAVITY = torch.tensor([0.0, 0.0, -9.80665], dtype=torch.float64)


@cache
def flight():
    return fly(FlightConfig(duration=30.0, seed=4))


def known(source) -> KnownStates:
    truth = source.truth
    states = np.hstack([truth.poses, truth.velocity, source.bias])
    return KnownStates(source.stamps_ns, states)


def windows(*, seconds: float = 0.5, every: float = 0.25, context: int = 8, disturb=lambda imu: imu) -> ImuWindows:
    """Windows of the flight whose IMU is disturbed by a function of samples (N, 6)."""
    source = flight()
    return cut_windows(source.stamps_ns, disturb(source.imu - source.bias), known(source), seconds=seconds, every=every,
                       context=context)


def keyframes(count: int = 6, interval: int = 20, *, context: int = 8, first: int = 400,
              disturb=lambda imu: imu) -> KeyframeWindow:
    """Keyframes of the flight, every second pose held out."""
    source = flight()
    end = first + (count - 1) * interval
    samples = disturb(source.imu - source.bias)[first - context:end + 1]
    states = torch.from_numpy(known(source).at(source.stamps_ns[first:end + 1:interval]))
    states[:, 10:] = 0
    rows = context + interval * torch.arange(count - 1)[:, None] + torch.arange(interval + 1)
    dt = torch.full((count - 1, interval), 0.005, dtype=torch.float64)
    used = torch.arange(count) % 2 == 0
    return KeyframeWindow(torch.from_numpy(samples), rows, dt, states, states[:, :7].clone(), used)
