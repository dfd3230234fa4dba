"""A small causal network that corrects an IMU and says how good each sample is."""
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pypose_core.inertial import ImuNoise, Preintegrated, preintegrate

from .imu_stream import ImuStream


@dataclass(frozen=True)
class CorrectedImu:
    """Samples as an `ImuCorrector` gives them back."""

    gyro: Tensor
    """(..., T, 3) angular rate, rad/s"""
    accel: Tensor
    """(..., T, 3) specific force, m/s²"""
    density: Tensor
    """(..., T, 6) standard deviations of the white noise, gyroscope rad/s/√Hz and accelerometer m/s²/√Hz"""
    walk: Tensor
    """(6,) drift of what remains of the biases, rad/s²/√Hz and m/s³/√Hz"""
    bias_sigma: Tensor
    """(6,) standard deviation of what remains of the biases, rad/s and m/s²"""
    change: Tensor
    """(..., T, 6) what the convolutions added, as shares of their limit"""

    def part(self, index) -> 'CorrectedImu':
        """Some of the samples: an index of the last dimension but one."""
        return CorrectedImu(self.gyro[..., index, :], self.accel[..., index, :], self.density[..., index, :], self.walk,
                            self.bias_sigma, self.change[..., index, :])

    def preintegrate(self, dt: Tensor) -> Preintegrated:
        """Of the intervals between neighbouring samples, by the trapezoid rule, with the learned covariance.

        Args:
            dt: (..., T - 1) or () s; an interval of 0 s changes nothing.
        """
        def mean(x: Tensor) -> Tensor:
            return 0.5 * (x[..., 1:, :] + x[..., :-1, :])

        white = mean(self.density.square())
        walk = self.walk.square().expand(*white.shape[:-1], 6)
        psd = torch.stack([white[..., :3], white[..., 3:], walk[..., :3], walk[..., 3:],
                           torch.zeros_like(white[..., :3])], -2)
        start = torch.cat([torch.zeros_like(self.bias_sigma).repeat(2)[:9], self.bias_sigma.square()])
        return preintegrate(dt, mean(self.gyro), mean(self.accel), noise=torch.diag_embed(psd),
                            covariance=torch.diag_embed(start))


class ImuCorrector(nn.Module):
    """Raw samples in, corrected samples and the standard deviation of each out; causal.

        gyro  = (I + E_w) (w - b_w) + limit tanh(h),        density = density_0 exp(log(range) tanh(h'))

    and so for the accelerometer. b (bias), E (scales and axes), density_0 are parameters; h is the output of dilated
    causal convolutions over the last `receptive_field` samples and their differences, which show vibration. At first
    h = 0 and E = 0: an untrained corrector takes the given bias off and states the given noise. What h may do is
    bounded, so a network that meets what it was not trained on stays near its calibration.

    Args:
        rate: Hz of the samples that it is made for.
        channels: width of the convolutions.
        dilations: of the convolutions, each of two taps; the receptive field is 1 + their sum.
        limit: largest learned correction, rad/s and m/s².
        density_range: largest learned factor on the density, either way.

    Source: the form follows Brossard et al., "Denoising IMU Gyroscopes with Deep Learning for Open-Loop Attitude
    Estimation", RA-L 2020 (dilated convolutions beside a calibration matrix); per-sample covariance through
    preintegration as in Qiu et al., "AirIMU", 2023.
    """

    kind: ClassVar[str] = 'imu_corrector'
    center: Tensor
    spread: Tensor
    jitter: Tensor
    limit: Tensor

    def __init__(self, *, rate: float = 200.0, channels: int = 16, dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
                 limit: tuple[float, float] = (0.01, 0.2), density_range: float = 10.0):
        super().__init__()
        if not rate > 0 or channels < 1 or min(dilations, default=1) < 1 or min(limit) <= 0 or density_range < 1:
            raise ValueError(f'rate {rate}, channels {channels}, dilations {dilations}, limit {limit} must be positive '
                             f'and density_range {density_range} at least 1')
        self.architecture: dict[str, Any] = {
            'rate': float(rate), 'channels': channels, 'dilations': list(dilations),
            'limit': list(limit), 'density_range': float(density_range)}
        self.rate, self.dilations = float(rate), tuple(dilations)
        self.register_buffer('center', torch.tensor([0., 0, 0, 0, 0, 9.8]))
        self.register_buffer('spread', torch.tensor([0.5, 0.5, 0.5, 3, 3, 3]))
        self.register_buffer('jitter', torch.tensor([0.05, 0.05, 0.05, 0.5, 0.5, 0.5]))
        self.register_buffer('limit', torch.tensor(limit).repeat_interleave(3))
        self.log_range = math.log(density_range)
        self.bias = nn.Parameter(torch.zeros(6))
        self.mixing = nn.Parameter(torch.zeros(2, 3, 3))
        self.log_density = nn.Parameter(torch.tensor([1.7e-4, 2e-3]).log().repeat_interleave(3))
        self.log_walk = nn.Parameter(torch.tensor([2e-5, 3e-3]).log().repeat_interleave(3))
        self.log_bias_sigma = nn.Parameter(torch.tensor([1e-4, 1e-2]).log().repeat_interleave(3))
        self.embed = nn.Linear(12, channels)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 2, dilation=d) for d in dilations)
        self.head = nn.Linear(channels, 12)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def receptive_field(self) -> int:
        """Samples that one output depends on."""
        return 2 + sum(self.dilations)

    @torch.no_grad()
    def calibrate(self, bias: Tensor, noise: ImuNoise, *, bias_sigma: tuple[float, float] | None = None) -> None:
        """Begin at a known calibration: what the corrector is until it is trained.

        Args:
            bias: (6,) rad/s, m/s². bias_sigma: how well it is known, rad/s and m/s²; as it was by default.
        """
        gyro, accel, gyro_walk, accel_walk = noise.vector()[:4].clamp_min(1e-9).log().tolist()
        self.bias.copy_(bias)
        self.log_density.copy_(torch.tensor([gyro, accel]).repeat_interleave(3))
        self.log_walk.copy_(torch.tensor([gyro_walk, accel_walk]).repeat_interleave(3))
        if bias_sigma is not None:
            self.log_bias_sigma.copy_(torch.tensor(bias_sigma).log().repeat_interleave(3))

    @torch.no_grad()
    def scale_inputs(self, samples: Tensor) -> None:
        """Centre and scale the network's inputs by mean and spread of raw samples (..., T, 6) and of their differences:
        those that it is going to be trained on. An axis that hardly moves among them is not blown up."""
        self.center.copy_(samples.flatten(0, -2).mean(0))
        self.spread.copy_(samples.flatten(0, -2).std(0).clamp_min(0.05))
        self.jitter.copy_(samples.diff(dim=-2).flatten(0, -2).std(0).clamp_min(0.005))

    def features(self, samples: Tensor) -> Tensor:
        """(B, T, 12) between -1 and 1: the first six times `limit` are added to the samples."""
        steps = nn.functional.pad(samples.diff(dim=-2), (0, 0, 1, 0))
        x = torch.cat([(samples - self.center) / self.spread, steps / self.jitter], -1)
        y = self.embed(x.to(self.embed.weight.dtype)).tanh().mT
        for layer, d in zip(self.layers, self.dilations):
            y = y + layer(nn.functional.pad(y, (d, 0))).tanh()
        return self.head(y.mT).tanh()

    def forward(self, samples: Tensor) -> CorrectedImu:
        """Correct windows of raw samples; before a window the network's memory is empty.

        Args:
            samples: (B, T, 6) or (T, 6) raw angular rate rad/s and specific force m/s², oldest first.

        Returns:
            Of the same shape and precision, calculated outside of autocast but for the convolutions.
        """
        if samples.shape[-1:] != (6,) or samples.dim() not in (2, 3):
            raise ValueError(f'samples are (B, T, 6) or (T, 6); got {tuple(samples.shape)}')
        batched = samples if samples.dim() == 3 else samples[None]
        h = self.features(batched).to(batched.dtype)
        with torch.autocast(samples.device.type, enabled=False):
            bias, mixing = self.bias.to(h), self.mixing.to(h)
            centred = (batched - bias).unflatten(-1, (2, 1, 3))
            moved = (batched - bias) + (mixing * centred).sum(-1).flatten(-2) + self.limit.to(h) * h[..., :6]
            density = (self.log_density.to(h) + self.log_range * h[..., 6:]).exp()
        if samples.dim() == 2:
            moved, density, h = moved[0], density[0], h[0]
        return CorrectedImu(moved[..., :3], moved[..., 3:], density, self.log_walk.exp().to(h),
                            self.log_bias_sigma.exp().to(h), h[..., :6])

    def stream(self) -> ImuStream:
        """The same, a sample at a time, with the weights as they are now."""
        return ImuStream(self)
