"""The samples that a learner remembers, and windows of them between keyframes of the pose graph."""
import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.learning import KeyframeWindow
from pypose_core.lie import se3

MIN_KEYFRAMES = 4


class ImuHistory:
    """Raw samples of the last seconds, in a ring.

    Args:
        seconds: that are kept.
        rate: Hz, an upper bound of what comes.
        width: numbers of a sample.
    """

    def __init__(self, seconds: float, rate: float = 1000.0, *, width: int = 6):
        self._span_ns = round(seconds * 1e9)
        self._limit, self._width = int(seconds * rate), width
        self.clear()

    def clear(self) -> None:
        self._stamps, self._samples = np.zeros(4096, np.int64), np.zeros((4096, self._width))
        self._begin = self._end = 0

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def newest_ns(self) -> int:
        return int(self._stamps[self._end - 1]) if len(self) else 0

    def append(self, stamp_ns: int, sample: NDArray) -> bool:
        """Add a sample (width,); False, and nothing is done, where it is not later than the last or not finite."""
        if stamp_ns <= self.newest_ns or not np.isfinite(sample).all():
            return False
        if self._end == len(self._stamps):
            self._make_room()
        self._stamps[self._end], self._samples[self._end] = stamp_ns, sample
        self._end += 1
        return True

    def _make_room(self) -> None:
        oldest = int(np.searchsorted(self._stamps[:self._end], self.newest_ns - self._span_ns))
        begin = max(self._begin, oldest, self._end - self._limit)
        stamps, samples = self._stamps[begin:self._end].copy(), self._samples[begin:self._end].copy()
        count = len(stamps)
        if 2 * count > len(self._stamps):
            size = 2 * len(self._stamps)
            self._stamps, self._samples = np.zeros(size, np.int64), np.zeros((size, self._width))
        self._stamps[:count], self._samples[:count] = stamps, samples
        self._begin, self._end = 0, count

    def snapshot(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Copies of stamps (N,) and samples (N, width), for another thread."""
        return self._stamps[self._begin:self._end].copy(), self._samples[self._begin:self._end].copy()


def cut(stamps_ns: NDArray[np.int64], samples: NDArray[np.float64], keyframes_ns: NDArray[np.int64],
        poses: NDArray[np.float64], *, seconds: float, observed: float, context: int,
        max_gap: float) -> tuple[list[KeyframeWindow], list[int]]:
    """Windows between keyframes, end to end, and the number of each: of the piece of time that it begins in, counted
    by `seconds`. So a piece of the past keeps its number, however often the graph is estimated anew.

    Args:
        stamps_ns, samples: (N,), (N, 6).
        keyframes_ns, poses: (M,) and T_world_imu (M, 7) of the keyframes.
        context: samples before the first keyframe.
    """
    windows: list[KeyframeWindow] = []
    numbers: list[int] = []
    if len(stamps_ns) < context + 2 or len(keyframes_ns) < MIN_KEYFRAMES:
        return windows, numbers
    period = round(seconds * 1e9)
    number = keyframes_ns // period
    for piece in np.unique(number):
        members = np.flatnonzero(number == piece)
        if members[-1] + 1 < len(keyframes_ns):
            members = np.append(members, members[-1] + 1)
        chosen = keyframes_ns[members]
        first = int(np.searchsorted(stamps_ns, chosen[0], side='right')) - 1 - context
        last = int(np.searchsorted(stamps_ns, chosen[-1], side='right'))
        if len(members) < MIN_KEYFRAMES or first < 0 or last >= len(stamps_ns) \
                or chosen[-1] - chosen[0] < 0.6 * period or chosen[-1] - chosen[0] > 2 * period \
                or np.diff(stamps_ns[first:last + 1]).max() > max_gap * 1e9:
            continue
        windows.append(_window(stamps_ns[first:last + 1], samples[first:last + 1], chosen, poses[members], observed))
        numbers.append(int(piece))
    return windows, numbers


def _window(stamps, samples, keyframes, poses, observed: float) -> KeyframeWindow:
    begins = np.searchsorted(stamps, keyframes[:-1], side='right') - 1
    ends = np.searchsorted(stamps, keyframes[1:], side='left')
    width = int((ends - begins).max())
    rows = np.minimum(begins[:, None] + np.arange(width + 1), ends[:, None])
    # The first and last pieces reach from and to the keyframes' own stamps; pieces beyond the end last 0 s.
    times = np.clip(stamps[rows], keyframes[:-1, None], keyframes[1:, None])
    dt = np.diff(times - keyframes[0], axis=1) * 1e-9
    span = (keyframes - keyframes[0]) * 1e-9
    states = np.zeros((len(keyframes), 16))
    states[:, :7], states[:, 7:10] = poses, np.gradient(poses[:, :3], span, axis=0)
    used = span <= observed * span[-1]
    used[:2], used[-1] = True, False
    return KeyframeWindow(torch.from_numpy(samples.copy()), torch.from_numpy(rows), torch.from_numpy(dt),
                          torch.from_numpy(states), torch.from_numpy(poses.copy()), torch.from_numpy(used))


def at_imu(T_world_base: NDArray, T_base_imu: NDArray) -> NDArray[np.float64]:
    """(N, 7) T_world_imu."""
    moved = se3.mul(torch.from_numpy(np.array(T_world_base)), torch.from_numpy(np.array(T_base_imu))[None])
    moved[:, 3:] /= moved[:, 3:].norm(dim=1, keepdim=True)
    return moved.numpy()
