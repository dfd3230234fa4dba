"""Relative pose error: the drift over a given stretch."""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .statistics import Statistics
from .trajectory import Trajectory


@dataclass(frozen=True)
class Rpe:
    """Relative error per pair of poses, metres and degrees, and its statistics."""

    translation: Statistics
    rotation: Statistics
    translation_errors: NDArray[np.float64]
    rotation_errors: NDArray[np.float64]
    pairs: NDArray[np.int64]


def pairs_at_frames(count: int, delta: int, *, overlapping: bool = True) -> NDArray[np.int64]:
    """(M, 2) indices (i, i + delta), from every i or end to end."""
    if delta < 1:
        raise ValueError(f'delta must be at least one frame, got {delta}')
    first = np.arange(0, count - delta, 1 if overlapping else delta)
    return np.stack([first, first + delta], axis=1)


def pairs_at_seconds(trajectory: Trajectory, delta: float, *, tolerance: float = 0.1) -> NDArray[np.int64]:
    """(M, 2): from every pose the one nearest to `delta` seconds later, within tolerance * delta.

    Poses less than `delta` before the end have none: their pairs would all be too short.
    """
    pairs = _pairs(trajectory.seconds(), delta, tolerance)
    return pairs[trajectory.stamps_ns[pairs[:, 0]] + round(delta * 1e9) <= trajectory.stamps_ns[-1:]]


def pairs_at_distance(trajectory: Trajectory, delta: float, *, tolerance: float = 0.1) -> NDArray[np.int64]:
    """(M, 2): from every pose the one nearest to `delta` metres further along the path, likewise."""
    return _pairs(trajectory.distances, delta, tolerance)


def _pairs(progress: NDArray, delta: float, tolerance: float) -> NDArray[np.int64]:
    if not delta > 0:
        raise ValueError(f'delta must be positive, got {delta}')
    first = np.arange(len(progress))
    if len(first) < 2:
        return np.empty((0, 2), dtype=np.int64)
    wanted = progress + delta
    right = np.searchsorted(progress, wanted).clip(1, len(progress) - 1)
    left = right - 1
    second = np.where(np.abs(progress[left] - wanted) <= np.abs(progress[right] - wanted), left, right)
    good = (second > first) & (np.abs(progress[second] - wanted) <= tolerance * delta + 1e-9)
    return np.stack([first[good], second[good]], axis=1)


def relative_error(estimate: Trajectory, reference: Trajectory, *, delta: float = 1.0, unit: str = 'seconds',
        overlapping: bool = True) -> Rpe:
    """Error of the motion between two poses, E = (Q_i^-1 Q_j)^-1 (P_i^-1 P_j).

    Q is the reference, P the estimate; no alignment takes part. Pairs are chosen on the reference.

    Args:
        delta, unit: how far apart i and j are: 'frames', 'seconds' or 'metres' (along the path).
        overlapping: frames only: from every pose, or end to end.

    Returns:
        translation: |trans(E)|, metres per delta; rotation: angle of rot(E), degrees per delta.

    Source: Sturm et al., IROS 2012; Zhang and Scaramuzza, IROS 2018.
    """
    if len(estimate) != len(reference):
        raise ValueError(f'associate the trajectories first: {len(estimate)} and {len(reference)} poses')
    if unit == 'frames':
        pairs = pairs_at_frames(len(reference), int(delta), overlapping=overlapping)
    elif unit == 'seconds':
        pairs = pairs_at_seconds(reference, delta)
    elif unit == 'metres':
        pairs = pairs_at_distance(reference, delta)
    else:
        raise ValueError(f"unit {unit!r} is not known; choose 'frames', 'seconds' or 'metres'")
    if len(pairs) == 0:
        raise ValueError(f'no two poses are {delta:g} {unit} apart')
    i, j = pairs.T

    def motion(trajectory):
        start = trajectory.rotations[i].inv()
        return start.apply(trajectory.positions[j] - trajectory.positions[i]), start * trajectory.rotations[j]

    t_ref, r_ref = motion(reference)
    t_est, r_est = motion(estimate)
    translation = np.linalg.norm(t_est - t_ref, axis=1)     # rotating by r_ref^-1 keeps the length
    rotation = np.degrees((r_ref.inv() * r_est).magnitude())
    return Rpe(Statistics.of(translation), Statistics.of(rotation), translation, rotation, pairs)
