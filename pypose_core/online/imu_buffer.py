"""The recent IMU samples, so that any interval of the past can be integrated again."""
import numpy as np
import torch


class ImuBuffer:
    """Stamped samples in time order in one block of memory.

    Samples are rows [gyroscope (3) rad/s, accelerometer (3) m/s^2]; between two of them the signal is taken as linear.
    Where a learned front-end corrects them, the raw ones and the noise of each are kept beside them.
    """

    def __init__(self, capacity: int = 4096):
        self._allocate(capacity)
        self._begin = self._end = 0
        self.learned = False
        """Whether `samples` come from a front-end."""

    def _allocate(self, capacity: int) -> None:
        self._stamps = np.zeros(capacity, dtype=np.int64)
        self._rows = np.zeros((capacity, 14))      # sample (6), raw sample (6), noise density of either sensor (2)

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def stamps(self) -> np.ndarray:
        """Stamps in ns, oldest first; a view."""
        return self._stamps[self._begin:self._end]

    @property
    def samples(self) -> np.ndarray:
        """Samples (N, 6), oldest first; a view."""
        return self._rows[self._begin:self._end, :6]

    @property
    def raw(self) -> np.ndarray:
        """(N, 6) as they came from the sensor, in SI units; a view."""
        return self._rows[self._begin:self._end, 6:12] if self.learned else self.samples

    def append(self, stamp_ns: int, sample: np.ndarray, raw: np.ndarray | None = None,
               density: np.ndarray | None = None) -> None:
        """Add the newest sample; amortized constant time.

        Args:
            raw: (6,) what a front-end made the sample of.
            density: (2,) its noise, rad/s/sqrt(Hz) and m/s^2/sqrt(Hz).
        """
        if self._end == len(self._stamps):
            self._make_room()
        self._stamps[self._end] = stamp_ns
        row = self._rows[self._end]
        row[:6] = sample
        if raw is not None:
            row[6:12], row[12:] = raw, density
        self._end += 1

    def _make_room(self) -> None:
        stamps, rows, count = self.stamps.copy(), self._rows[self._begin:self._end].copy(), len(self)
        if 2 * count > len(self._stamps):
            self._allocate(2 * len(self._stamps))
        self._stamps[:count] = stamps
        self._rows[:count] = rows
        self._begin, self._end = 0, count

    def forget_before(self, stamp_ns: int) -> None:
        """Drop samples that no interval from `stamp_ns` on needs (the one just before it is kept)."""
        keep = int(np.searchsorted(self.stamps, stamp_ns, side='right')) - 1
        self._begin += max(keep, 0)

    def clear(self) -> None:
        self._begin = self._end = 0

    def scale_accelerometer(self, factor: float) -> None:
        """Apply a unit that was recognized only after samples had arrived."""
        self._rows[self._begin:self._end, 3:6] *= factor
        self._rows[self._begin:self._end, 9:12] *= factor

    def replace(self, samples: np.ndarray, densities: np.ndarray | None) -> None:
        """Take (N, 6) instead of the samples, and (N, 2) noise of each; without noise they count as raw ones."""
        rows = self._rows[self._begin:self._end]
        rows[:, 6:12] = self.raw
        rows[:, :6] = samples
        self.learned = densities is not None
        if densities is not None:
            rows[:, 12:] = densities

    def density(self, from_ns: int, to_ns: int) -> np.ndarray:
        """(2,) root mean square noise of the learned samples between two stamps."""
        first = max(0, int(np.searchsorted(self.stamps, from_ns, side='right')) - 1)
        last = int(np.searchsorted(self.stamps, to_ns, side='left')) + 1
        return np.sqrt((self._rows[self._begin:self._end, 12:][first:last] ** 2).mean(axis=0))

    def covers(self, stamp_ns: int) -> bool:
        """Whether an interval that starts at `stamp_ns` can be integrated."""
        return len(self) > 0 and int(self.stamps[0]) <= stamp_ns <= int(self.stamps[-1])

    def interval(self, from_ns: int, to_ns: int) -> torch.Tensor:
        """Piecewise-constant measurements between two stamps that the buffer covers.

        Each piece spans two neighbouring samples (or a part of that span at either end) and carries
        the mean of the signal over it, which integrates a linear signal to second order.

        Args:
            from_ns, to_ns: ns, from_ns <= to_ns, both covered.
        Returns:
            (N, 7) rows [dt (s), gyroscope (3), accelerometer (3)].
        """
        stamps, samples = self.stamps, self.samples
        first = int(np.searchsorted(stamps, from_ns, side='right'))      # first sample after from_ns
        last = int(np.searchsorted(stamps, to_ns, side='left'))          # first sample at or after to_ns
        inner = slice(first, last)
        # dt from integers: differences of stamps in float seconds would lose 100 ns.
        times = np.concatenate(([from_ns], stamps[inner], [to_ns]))
        values = np.concatenate(([self._value(from_ns, first)], samples[inner], [self._value(to_ns, last)]))
        pieces = np.empty((len(times) - 1, 7))
        pieces[:, 0] = np.diff(times) * 1e-9
        pieces[:, 1:] = 0.5 * (values[1:] + values[:-1])
        return torch.from_numpy(pieces[pieces[:, 0] > 0])

    def value(self, stamp_ns: int) -> np.ndarray:
        """The signal (6,) at a stamp that the buffer covers."""
        return self._value(stamp_ns, int(np.searchsorted(self.stamps, stamp_ns, side='right')))

    def _value(self, stamp_ns: int, after: int) -> np.ndarray:
        """The signal at `stamp_ns`, which lies between the samples `after` - 1 and `after`."""
        stamps, samples = self.stamps, self.samples
        if after == 0:
            return samples[0]
        if after == len(stamps):
            return samples[-1]
        before_ns, after_ns = int(stamps[after - 1]), int(stamps[after])
        weight = (stamp_ns - before_ns) / (after_ns - before_ns)
        return (1 - weight) * samples[after - 1] + weight * samples[after]
