"""Windows of raw IMU samples between two known navigation states: what an IMU front-end is trained and judged on."""
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pypose_core.metric import Trajectory


@dataclass(frozen=True)
class ImuWindows:
    """N windows of F intervals, with C samples of context before each. All float64."""

    samples: Tensor
    """(N, C + F + 1, 6) raw angular rate rad/s and specific force m/s²."""
    dt: Tensor
    """(N, F) s from each of the last F + 1 samples to the next."""
    start: Tensor
    """(N, 16) NavState at sample C; its biases are not looked at."""
    end: Tensor
    """(N, 16) NavState at the last sample."""
    stamps_ns: Tensor
    """(N,) of the start."""

    def __len__(self) -> int:
        return len(self.dt)

    def __getitem__(self, index) -> 'ImuWindows':
        """The windows selected by a slice, a mask or indices."""
        return ImuWindows(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def seconds(self) -> float:
        """Length of the first window, s."""
        return float(self.dt[0].sum()) if len(self) else 0.0

    @staticmethod
    def joined(parts: list['ImuWindows']) -> 'ImuWindows':
        """Windows of one length from several recordings."""
        return ImuWindows(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(ImuWindows)))


def cut_windows(stamps_ns: NDArray[np.int64], imu: NDArray[np.float64], states: 'KnownStates', *, seconds: float,
                every: float, context: int, span: tuple[float, float] = (0.0, np.inf),
                max_gap: float = 0.05) -> ImuWindows:
    """Cut a recording into windows.

    Args:
        stamps_ns, imu: (N,) and (N, 6) samples.
        states: truth, or an estimate to learn from.
        seconds, every: length of a window, and from one's start to the next one's.
        context: samples before each.
        span: s since the first known state within which whole windows lie, context included.
        max_gap: s; windows over a longer gap between samples are left out.
    """
    stamps_ns = np.asarray(stamps_ns, dtype=np.int64)
    begin = max(int(states.stamps_ns[0]), int(states.stamps_ns[0]) + round(span[0] * 1e9))
    finish = int(states.stamps_ns[-1]) if np.isinf(span[1]) else min(
        int(states.stamps_ns[-1]), int(states.stamps_ns[0]) + round(span[1] * 1e9))
    first = np.searchsorted(stamps_ns, begin) + context
    rate = 1e9 / np.median(np.diff(stamps_ns))
    intervals, step = round(seconds * rate), max(1, round(every * rate))
    # At the first sample from a known state on: between sparse ones truth is interpolated, which costs accuracy.
    known = states.stamps_ns[np.searchsorted(states.stamps_ns, stamps_ns[first:]).clip(max=len(states.stamps_ns) - 1)]
    candidates = np.searchsorted(stamps_ns, known[::step])
    begins = [k for k in candidates.tolist() if k + intervals < len(stamps_ns) and stamps_ns[k + intervals] <= finish
              and np.diff(stamps_ns[k - context:k + intervals + 1]).max() <= max_gap * 1e9]
    starts = np.array(begins, dtype=np.int64)
    if not len(starts):
        raise ValueError(f'no window of {seconds} s lies whole within the span {span} of the known states')
    rows = starts[:, None] + np.arange(-context, intervals + 1)
    dt = np.diff(stamps_ns[rows[:, context:]], axis=1) * 1e-9
    return ImuWindows(torch.from_numpy(imu[rows]), torch.from_numpy(dt),
                      torch.from_numpy(states.at(stamps_ns[starts])),
                      torch.from_numpy(states.at(stamps_ns[starts + intervals])), torch.from_numpy(stamps_ns[starts]))


@dataclass(frozen=True)
class KnownStates:
    """NavStates at stamps, from a motion-capture system or an estimator."""

    stamps_ns: NDArray[np.int64]
    """(M,) increasing."""
    states: NDArray[np.float64]
    """(M, 16) of the IMU in a frame whose z axis points up."""

    @staticmethod
    def from_poses(trajectory: Trajectory, *, window: float = 0.15) -> 'KnownStates':
        """Where velocities are not given: the slope of cubics fitted to `window` seconds of positions."""
        from scipy.signal import savgol_filter  # half a second to import, for this alone
        poses, step = trajectory.poses, float(np.median(np.diff(trajectory.stamps_ns))) * 1e-9
        length = max(5, 2 * round(window / step / 2) + 1)
        if len(poses) < length:
            raise ValueError(f'{len(poses)} poses are too few for velocities from {length} each')
        velocity = savgol_filter(poses[:, :3], length, 3, deriv=1, delta=step, axis=0)
        return KnownStates(trajectory.stamps_ns, np.hstack([poses, velocity, np.zeros((len(poses), 6))]))

    def at(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, 16) between the stamps: geodesics of attitudes, straight lines of the rest."""
        poses = Trajectory(self.stamps_ns, self.states[:, :7]).interpolated(stamps_ns).poses
        known = (self.stamps_ns - self.stamps_ns[0]) * 1e-9
        wanted = (np.asarray(stamps_ns) - self.stamps_ns[0]) * 1e-9
        rest = np.stack([np.interp(wanted, known, column) for column in self.states[:, 7:].T], axis=1)
        return np.hstack([poses, rest])
