"""An IMU corrector fed one sample at a time, as a node receives them."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .imu_corrector import ImuCorrector


class ImuStream:
    """Runs an `ImuCorrector` sample by sample; equal to its `forward` over all samples since the reset.

    A sample costs the same work whenever it comes: two taps of each convolution, whose past inputs wait in rings.
    Plain numpy in double precision: at this size a call into torch costs more than the arithmetic. Weights are those
    of the moment of construction.
    """

    def __init__(self, corrector: ImuCorrector):
        def array(x) -> np.ndarray:
            return np.ascontiguousarray(x.detach().cpu().double().numpy())

        self.rate, self.receptive_field = corrector.rate, corrector.receptive_field
        # Centring and scaling go into the first layer.
        weight = array(corrector.embed.weight)
        self._first, self._step = weight[:, :6] / array(corrector.spread), weight[:, 6:] / array(corrector.jitter)
        self._first_bias = array(corrector.embed.bias) - self._first @ array(corrector.center)
        # A convolution's taps are (out, in, 2), the older one first; side by side they take [old, new].
        self._taps = [array(layer.weight).transpose(0, 2, 1).reshape(len(self._first), -1).copy()
                      for layer in corrector.layers]
        self._offsets = [array(layer.bias) for layer in corrector.layers]
        self._head, self._head_bias = array(corrector.head.weight), array(corrector.head.bias)
        self._matrix = np.zeros((6, 6))
        self._matrix[:3, :3], self._matrix[3:, 3:] = np.eye(3) + array(corrector.mixing)
        self._bias, self._limit = array(corrector.bias), array(corrector.limit)
        self._log_density, self._log_range = array(corrector.log_density), corrector.log_range
        self.walk = np.exp(array(corrector.log_walk))
        """(6,) as in CorrectedImu."""
        self.bias_sigma = np.exp(array(corrector.log_bias_sigma))
        """(6,) as in CorrectedImu."""
        width = len(self._first)
        self._rings = [np.zeros((d, width)) for d in corrector.dilations]
        self._pair = np.zeros(2 * width)
        self._last = np.zeros(6)
        self.density = np.zeros(6)
        """(6,) of the newest sample, as in CorrectedImu; overwritten by each step."""
        self.count = 0
        """Samples since the reset."""
        self.reset()

    def reset(self) -> None:
        """Forget all samples: the next one is the first."""
        for ring in self._rings:
            ring.fill(0)
        np.exp(self._log_density, out=self.density)
        self.count = 0

    def step(self, sample: np.ndarray) -> np.ndarray:
        """The corrected sample (6,); `density` is then its own.

        Args:
            sample: (6,) raw angular rate rad/s and specific force m/s².
        """
        width, pair = len(self._first), self._pair
        y = self._first @ sample + self._first_bias
        if self.count:
            y += self._step @ (sample - self._last)
        self._last[:] = sample
        y = np.tanh(y)
        for ring, taps, offset in zip(self._rings, self._taps, self._offsets):
            old = ring[self.count % len(ring)]
            pair[:width], pair[width:] = old, y
            old[:] = y
            y = y + np.tanh(taps @ pair + offset)
        h = np.tanh(self._head @ y + self._head_bias)
        np.exp(self._log_density + self._log_range * h[6:], out=self.density)
        self.count += 1
        return self._matrix @ (sample - self._bias) + self._limit * h[:6]

    def steady(self, sample: np.ndarray) -> np.ndarray:
        """What `step` settles at (6,) where a sample (6,) stays as it is; changes nothing."""
        y = np.tanh(self._first @ sample + self._first_bias)
        for taps, offset in zip(self._taps, self._offsets):
            y = y + np.tanh(taps @ np.concatenate([y, y]) + offset)
        h = np.tanh(self._head @ y + self._head_bias)
        return self._matrix @ (sample - self._bias) + self._limit * h[:6]

    def run(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corrected samples (N, 6) and densities (N, 6) of samples (N, 6) that follow those before."""
        out = [(self.step(sample), self.density.copy()) for sample in samples]
        return (np.array([x for x, _ in out]).reshape(-1, 6), np.array([d for _, d in out]).reshape(-1, 6))
