"""The recent IMU samples, so that any interval of the past can be integrated again."""
import numpy as np
import torch


class ImuBuffer:
    """Stamped samples in time order in one block of memory that native code reads without copies.

    Samples are rows [gyroscope (3) rad/s, accelerometer (3) m/s^2]; between two of them the signal
    is taken as linear. Where samples have noise densities of their own (6,), in the same units per √Hz, they are
    kept beside them.
    """

    def __init__(self, capacity: int = 4096):
        self._densities: np.ndarray | None = None
        self._allocate(capacity)
        self._begin = self._end = 0

    def _allocate(self, capacity: int) -> None:
        self._stamps = torch.zeros(capacity, dtype=torch.int64)
        self._samples = torch.zeros(capacity, 6, dtype=torch.float64)
        self._stamps_np = self._stamps.numpy()
        self._samples_np = self._samples.numpy()
        if self._densities is not None:
            self._densities = np.zeros((capacity, 6))

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def stamps(self) -> np.ndarray:
        """Stamps in ns, oldest first; a view."""
        return self._stamps_np[self._begin:self._end]

    @property
    def samples(self) -> np.ndarray:
        """Samples (N, 6), oldest first; a view."""
        return self._samples_np[self._begin:self._end]

    def keep_densities(self, before: np.ndarray) -> None:
        """From now on every sample has densities; those there are have `before` (6,)."""
        if self._densities is None:
            self._densities = np.zeros((len(self._stamps_np), 6))
            self._densities[self._begin:self._end] = before

    def append(self, stamp_ns: int, sample: np.ndarray, density: np.ndarray | None = None) -> None:
        """Add the newest sample; amortized constant time."""
        if self._end == len(self._stamps_np):
            self._make_room()
        self._stamps_np[self._end] = stamp_ns
        self._samples_np[self._end] = sample
        if density is not None:
            self._densities[self._end] = density    # type: ignore[index]   # at each sample: keep_densities() came before
        self._end += 1

    def _make_room(self) -> None:
        stamps, samples, count = self.stamps.copy(), self.samples.copy(), len(self)
        densities = None if self._densities is None else self._densities[self._begin:self._end].copy()
        if 2 * count > len(self._stamps_np):
            self._allocate(2 * len(self._stamps_np))
        self._stamps_np[:count] = stamps
        self._samples_np[:count] = samples
        if densities is not None and self._densities is not None:
            self._densities[:count] = densities
        self._begin, self._end = 0, count

    def forget_before(self, stamp_ns: int) -> None:
        """Drop samples that no interval from `stamp_ns` on needs (the one just before it is kept)."""
        keep = int(np.searchsorted(self.stamps, stamp_ns, side='right')) - 1
        self._begin += max(keep, 0)

    def clear(self) -> None:
        self._begin = self._end = 0

    def scale_accelerometer(self, factor: float) -> None:
        """Apply a unit that was recognized only after samples had arrived."""
        self.samples[:, 3:] *= factor

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
            (N, 7) rows [dt (s), gyroscope (3), accelerometer (3)], or (N, 13) with the mean squared densities (6).
        """
        stamps, samples = self.stamps, self.samples
        first = int(np.searchsorted(stamps, from_ns, side='right'))      # first sample after from_ns
        last = int(np.searchsorted(stamps, to_ns, side='left'))          # first sample at or after to_ns
        inner = slice(first, last)
        # dt from integers: differences of stamps in float seconds would lose 100 ns.
        times = np.concatenate(([from_ns], stamps[inner], [to_ns]))
        columns = [np.diff(times)[:, None] * 1e-9, self._means(samples, from_ns, to_ns, first, last)]
        if self._densities is not None:
            columns.append(self._means(self._densities[self._begin:self._end] ** 2, from_ns, to_ns, first, last))
        pieces = np.hstack(columns)
        return torch.from_numpy(pieces[pieces[:, 0] > 0])

    def _means(self, signal: np.ndarray, from_ns: int, to_ns: int, first: int, last: int) -> np.ndarray:
        """Of a signal (N, 6) over the pieces between two stamps, with the samples first … last - 1 between."""
        values = np.concatenate(([self._value(from_ns, first, signal)], signal[first:last],
                                 [self._value(to_ns, last, signal)]))
        return 0.5 * (values[1:] + values[:-1])

    def value(self, stamp_ns: int) -> np.ndarray:
        """The signal (6,) at a stamp that the buffer covers."""
        return self._value(stamp_ns, int(np.searchsorted(self.stamps, stamp_ns, side='right')), self.samples)

    def _value(self, stamp_ns: int, after: int, signal: np.ndarray) -> np.ndarray:
        """A signal (6,) at `stamp_ns`, which lies between the samples `after` - 1 and `after`."""
        stamps = self.stamps
        if after == 0:
            return signal[0]
        if after == len(stamps):
            return signal[-1]
        before_ns, after_ns = int(stamps[after - 1]), int(stamps[after])
        weight = (stamp_ns - before_ns) / (after_ns - before_ns)
        return (1 - weight) * signal[after - 1] + weight * signal[after]
