"""Inertial measurements between keyframes: samples of whoever reads the IMU, integrated as keyframes come."""
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.inertial import ImuNoise
from pypose_core.online.imu_buffer import ImuBuffer
from pypose_core.online.packed import ROW_SIZE
from pypose_core.online.propagation import integrate

from .table import Table

LEAST_INTEGRATION_SIGMA = 1e-5
"""m/sqrt(s). Over a single sample velocity and position err as one, and the covariance would be singular."""


@dataclass(frozen=True)
class ImuSource:
    """Where samples come from."""

    noise: ImuNoise
    T_base_imu: NDArray[np.float64]
    """(7,)"""
    gravity: float = 9.80665
    """m/s^2, along -z of the map."""
    max_gap: float = 0.1
    """s between two samples above which no factor spans them."""


class InertialLinks:
    """What the IMU says of the way from each keyframe to the next.

    Args:
        source: of the samples.
        keyframes: how many there are already; nothing is known of the ways between these.
    """

    def __init__(self, source: ImuSource, keyframes: int = 0):
        self.source = source
        self.links = Table(row=(np.float64, (ROW_SIZE,)), known=(np.bool_, ()), bias=(np.float64, (6,)),
                           velocity=(np.float64, (3,)), solved=(np.bool_, ()))
        """By keyframe: the packed row that ends at it, and its velocity and biases by the last solve (or a guess)."""
        noise = replace(source.noise, integration_sigma=max(source.noise.integration_sigma, LEAST_INTEGRATION_SIGMA))
        # What a gap adds to the noise is not needed: no factor spans one.
        self._noise = torch.cat([noise.vector(), torch.tensor([1e9, 0.0, 0.0], dtype=torch.float64)])
        self._buffer = ImuBuffer()
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._bias = np.zeros(6)
        for _ in range(keyframes):
            self._append()

    def _append(self) -> int:
        return self.links.append(row=0.0, known=False, bias=self._bias, velocity=0.0, solved=False)

    def add_sample(self, stamp_ns: int, sample: NDArray, bias: NDArray) -> None:
        """Take a sample (6,) [gyroscope rad/s, accelerometer m/s^2] in the IMU's frame; stamps ascend.

        Args:
            bias: (6,) the best that is known of the biases, at which rows are integrated.
        """
        if len(self._buffer) and stamp_ns <= self._buffer.stamps[-1]:
            return
        self._buffer.append(stamp_ns, sample)
        self._bias = bias
        while self._waiting and self._waiting[0][2] <= stamp_ns:
            self._integrate(*self._waiting.popleft())

    def add_keyframe(self, before_ns: int | None, stamp_ns: int) -> None:
        """A keyframe was made; `before_ns` is the stamp of the one before where one drove from there to here."""
        row = self._append()
        if before_ns is not None:
            self._waiting.append((row, before_ns, stamp_ns))
            if len(self._buffer) and self._buffer.stamps[-1] >= stamp_ns:
                self._integrate(*self._waiting.pop())

    def _integrate(self, row: int, from_ns: int, to_ns: int) -> None:
        buffer = self._buffer
        if buffer.covers(from_ns) and buffer.covers(to_ns):
            pieces = buffer.interval(from_ns, to_ns)
            if len(pieces) and float(pieces[:, 0].max()) <= self.source.max_gap:
                self.links['row'][row] = integrate(pieces, self._bias, self._noise)
                self.links['known'][row] = True
        buffer.forget_before(to_ns)

    def turn(self, R_new_old: NDArray) -> None:
        """The map was turned: velocities are along its axes."""
        self.links['velocity'][:] = self.links['velocity'] @ R_new_old.T

    def states(self, stamps_ns: NDArray, T_map_imu: NDArray) -> NDArray:
        """(N, 16) navigation states of the keyframes to start a solve from.

        Velocities that no solve has estimated are those of the way itself.
        """
        links, seconds = self.links, (stamps_ns - stamps_ns[0]) * 1e-9
        velocity = np.gradient(T_map_imu[:, :3], seconds, axis=0) if len(seconds) > 1 else np.zeros((len(seconds), 3))
        velocity[links['solved']] = links['velocity'][links['solved']]
        return np.concatenate([T_map_imu, velocity, links['bias']], 1)

    def take(self, states: NDArray) -> None:
        """The states (n, 16) that a solve found for the first n keyframes."""
        n = len(states)
        self.links['velocity'][:n], self.links['bias'][:n], self.links['solved'][:n] = (
            states[:, 7:10], states[:, 10:], True)
        self.links['bias'][n:] = states[-1, 10:]
