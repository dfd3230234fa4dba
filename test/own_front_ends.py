"""Front-ends as a user writes them, for the tests: each has a kind, an architecture, and what its place asks for."""
from typing import ClassVar

import numpy as np
import torch
from torch import nn


class Taking(nn.Module):
    """Takes constants off the samples of an IMU."""

    kind: ClassVar[str] = 'taking'

    def __init__(self, *, rate: float = 200.0):
        super().__init__()
        self.architecture = {'rate': rate}
        self.rate = rate
        self.off = nn.Parameter(torch.zeros(6))

    def stream(self) -> 'TakingStream':
        return TakingStream(self)


class TakingStream:
    """The same, a sample at a time."""

    receptive_field = 1

    def __init__(self, network: Taking):
        self.rate, self._off = network.rate, network.off.detach().double().numpy()
        self.density, self.walk = np.repeat([1.7e-4, 2e-3], 3), np.repeat([2e-5, 3e-3], 3)

    def step(self, sample):
        return sample - self._off

    steady = step

    def reset(self) -> None:
        pass


class Broken(Taking):
    """Its stream fails at the first sample."""

    kind: ClassVar[str] = 'broken'

    def stream(self):
        stream = super().stream()
        stream._off = np.zeros(7)
        return stream


class Stiff(nn.Module):
    """The same information for each link in the plane."""

    kind: ClassVar[str] = 'stiff'

    def __init__(self):
        super().__init__()
        self.architecture = {}
        self.weight = nn.Parameter(torch.tensor(400.0))

    def forward(self, features):
        return self.weight * torch.eye(3).to(features).expand(*features.shape[:-1], 3, 3)


class Believing(nn.Module):
    """Believes a loop by its overlap."""

    kind: ClassVar[str] = 'believing'

    def __init__(self):
        super().__init__()
        self.architecture = {}
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, features):
        return (self.sharpness * (features[..., 0] - 0.5)).sigmoid()


NOTHING = 3
