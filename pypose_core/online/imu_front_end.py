"""Corrects IMU samples on their way to an estimator, and lets one corrector follow another between two samples."""
from typing import Protocol

import numpy as np

from pypose_core.inertial import ImuNoise

RATE_TOLERANCE = 0.2
"""Largest relative difference between the rate that a corrector was made for and that of the IMU."""


class Corrector(Protocol):
    """What runs at the rate of the IMU, such as `pypose_core.learning.ImuStream`."""

    rate: float
    """Hz of the samples it was made for."""
    receptive_field: int
    """Samples that one output depends on."""
    density: np.ndarray
    """(6,) noise densities of the newest sample, rad/s/√Hz and m/s²/√Hz."""
    walk: np.ndarray
    """(6,) random walks of the biases, rad/s²/√Hz and m/s³/√Hz."""

    def step(self, sample: np.ndarray) -> np.ndarray: ...

    def steady(self, sample: np.ndarray) -> np.ndarray: ...

    def reset(self) -> None: ...


class ImuFrontEnd:
    """Where samples pass through a corrector, or as they are while there is none.

    The next corrector is fed beside the present one until it has seen as many samples as its output depends on;
    from then on it is `due`, and `change` puts it in the other's place.

    Args:
        noise: densities of samples that no corrector has seen.
    """

    def __init__(self, noise: ImuNoise):
        self.given = np.repeat([noise.gyroscope_noise_density, noise.accelerometer_noise_density], 3)
        """(6,) densities without a corrector."""
        self.corrector: Corrector | None = None
        """The one in use."""
        self._next: Corrector | None = None
        self._fed = 0

    @property
    def busy(self) -> bool:
        """Whether samples must pass through here."""
        return self.corrector is not None or self._next is not None

    @property
    def due(self) -> bool:
        return self._next is not None and self._fed >= self._next.receptive_field

    @property
    def density(self) -> np.ndarray:
        """(6,) of the newest sample."""
        return self.given if self.corrector is None else self.corrector.density

    @property
    def walk(self) -> tuple[float, float]:
        """Random walks of the corrector in use, mean over the axes: rad/s²/√Hz and m/s³/√Hz."""
        assert self.corrector is not None       # who asks has one in use
        gyroscope, accelerometer = np.sqrt(np.square(self.corrector.walk).reshape(2, 3).mean(axis=1)).tolist()
        return gyroscope, accelerometer

    def begin(self, corrector: Corrector, *, at_once: bool = False) -> None:
        """Let a corrector follow; one that waits already is forgotten. `at_once`: nothing was corrected yet."""
        corrector.reset()
        self._next, self._fed = corrector, 0
        if at_once:
            self.corrector, self._next = corrector, None

    def drop(self) -> None:
        """Go on without."""
        self.corrector = self._next = None

    def reset(self) -> None:
        """The samples that follow do not continue those before."""
        self._fed = 0
        for corrector in (self.corrector, self._next):
            if corrector is not None:
                corrector.reset()

    def step(self, sample: np.ndarray) -> np.ndarray:
        """The corrected sample (6,) of a finite one."""
        if self._next is not None:
            self._next.step(sample)
            self._fed += 1
        return sample if self.corrector is None else self.corrector.step(sample)

    def change(self, at_rest: np.ndarray) -> np.ndarray:
        """Put the next corrector in use; returns by how much (6,) a robot at rest is measured otherwise from now on.

        Args:
            at_rest: (6,) what the present corrector makes, or would make, of the robot standing still.
        """
        raw = at_rest.copy()
        if self.corrector is not None:
            for _ in range(3):      # the corrector is near the identity
                raw += at_rest - self.corrector.steady(raw)
        assert self._next is not None           # it is due
        self.corrector, self._next = self._next, None
        return self.corrector.steady(raw) - at_rest


def fits(corrector: Corrector, stamps_ns: np.ndarray) -> str:
    """Why a corrector is not for an IMU of these stamps (N,), or nothing; few stamps say nothing."""
    if len(stamps_ns) < 10:
        return ''
    rate = 1e9 / float(np.median(np.diff(stamps_ns)))
    if abs(rate / corrector.rate - 1) <= RATE_TOLERANCE:
        return ''
    return f'it was made for {corrector.rate:g} Hz, and the IMU gives {rate:.4g} Hz'
