"""A learned IMU corrector before the smoother, and its exchange while samples keep coming."""
import numpy as np
import torch

from pypose_core.learning import ImuCorrector
from pypose_core.online.imu_buffer import ImuBuffer


class ImuFrontEnd:
    """Corrects samples one by one.

    Args:
        corrector: its weights as they are now.
    """

    def __init__(self, corrector: ImuCorrector):
        self._stream = corrector.stream()
        self.walk = root_mean_square(self._stream.walk)
        """(2,) drift of the biases that it leaves, rad/s^2/sqrt(Hz) and m/s^3/sqrt(Hz)."""
        self.density = np.zeros(2)
        """(2,) noise of the newest sample, mean over the axes, rad/s/sqrt(Hz) and m/s^2/sqrt(Hz)."""
        self.reset()

    def reset(self) -> None:
        """Forget the samples so far: what comes next does not follow them."""
        self._stream.reset()

    def step(self, sample: np.ndarray) -> np.ndarray:
        """The corrected sample (6,) of a raw, finite one."""
        corrected = self._stream.step(sample)
        density = self._stream.density
        np.multiply(density, density, out=density)
        self.density[0] = np.sqrt(density[:3].sum() / 3)
        self.density[1] = np.sqrt(density[3:].sum() / 3)
        return corrected

    def run(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corrected samples (N, 6) and noise (N, 2) of those (N, 6) that follow."""
        corrected, densities = np.empty((len(samples), 6)), np.empty((len(samples), 2))
        for k, sample in enumerate(samples):
            corrected[k] = self.step(sample)
            densities[k] = self.density
        return corrected, densities


class FrontEndSwap:
    """Prepares a corrector for the samples of the window, in any thread; the smoother takes it up when it is done.

    Args:
        corrector: None to go back to raw samples.
        buffer: copied here and now.
    """

    def __init__(self, corrector: ImuCorrector | None, buffer: ImuBuffer):
        self._corrector = corrector
        self._stamps, self._raw = buffer.stamps.copy(), buffer.raw.copy()
        self._corrected, self._densities = self._raw, np.zeros((len(self._raw), 2))
        self.front_end: ImuFrontEnd | None = None
        self.done = False

    def run(self) -> None:
        """Correct the past samples at once; most of it is done with the GIL released."""
        if self._corrector is not None:
            self.front_end = ImuFrontEnd(self._corrector)
            self.front_end.run(self._raw[-self._corrector.receptive_field:])
        if self._corrector is not None and len(self._raw):
            with torch.no_grad():
                found = self._corrector(torch.from_numpy(self._raw))
            self._corrected = torch.cat([found.gyro, found.accel], -1).numpy()
            self._densities = found.density.square().unflatten(-1, (2, 3)).mean(-1).sqrt().numpy()
        self.done = True

    def take_up(self, buffer: ImuBuffer) -> np.ndarray:
        """Exchange the buffer's samples, those that came meanwhile too; returns the mean change (6,)."""
        stamps, before = buffer.stamps, buffer.samples.copy()
        new = int(np.searchsorted(stamps, self._stamps[-1], side='right')) if len(self._stamps) else 0
        old = len(self._stamps) - new
        if old < 0 or not np.array_equal(self._stamps[old:], stamps[:new]):
            new, old = 0, len(self._stamps)         # the smoother has begun anew since
            if self.front_end is not None:
                self.front_end.reset()
        late = buffer.raw[new:], np.zeros((len(stamps) - new, 2))
        if self.front_end is not None:
            late = self.front_end.run(late[0])
        buffer.replace(np.concatenate([self._corrected[old:], late[0]]),
                       None if self.front_end is None else np.concatenate([self._densities[old:], late[1]]))
        return (buffer.samples - before).mean(axis=0) if len(before) else np.zeros(6)


def root_mean_square(x: np.ndarray) -> np.ndarray:
    """(2,) of the three axes of either sensor (6,)."""
    return np.sqrt((x.reshape(2, 3) ** 2).mean(axis=1))
