"""The similarity that best lays one trajectory's positions over another's."""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .trajectory import Trajectory

ALIGNMENTS = ('none', 'yaw', 'se3', 'sim3')


@dataclass(frozen=True)
class Alignment:
    """target ~ scale * rotation * source + translation; `degenerate` says why it is not unique."""

    rotation: Rotation
    translation: NDArray[np.float64]
    scale: float = 1.0
    degenerate: str = ''

    def apply(self, trajectory: Trajectory) -> Trajectory:
        return trajectory.transformed(self.rotation, self.translation, self.scale)


def umeyama(source: NDArray, target: NDArray, *, with_scale: bool = False) -> Alignment:
    """The least-squares rotation, translation and (optionally) scale between two point sets.

    min over s, R, t of sum_i |y_i - s R x_i - t|^2 with R a proper rotation: from the singular
    values of the cross-covariance, U D V' = 1/N sum (y - mean y)(x - mean x)', R = U S V' with
    S = diag(1, 1, det(U) det(V)): the sign goes to the smallest singular value, so a reflection is
    never returned, not for planar sets either.

    Args:
        source, target: (N, 3), N >= 1, metres; row i belongs to row i.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 1991, equations 34 to 43.
    """
    source, target = _checked(source, target)
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    centred = source - mean_source
    covariance = (target - mean_target).T @ centred / len(source)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.ones(3)
    sign[2] = 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0
    rotation = (u * sign) @ vt
    variance = (centred ** 2).sum() / len(source)
    degenerate = 'all points on one line: the rotation about it is arbitrary' if d[1] <= 1e-9 * d[0] else ''
    scale = float(d @ sign / variance) if with_scale and variance > 0 else 1.0
    return Alignment(Rotation.from_matrix(rotation), mean_target - scale * rotation @ mean_source, scale,
                     degenerate)


def yaw_alignment(source: NDArray, target: NDArray) -> Alignment:
    """The best rotation about z and translation: what a visual-inertial estimate leaves free.

    Gravity is observed, so roll and pitch are not aligned away. With centred points the optimum is
    yaw = atan2(sum x_i y'_i - y_i x'_i, sum x_i x'_i + y_i y'_i).

    Source: Zhang and Scaramuzza, "A tutorial on quantitative trajectory evaluation", IROS 2018, IV.B.
    """
    source, target = _checked(source, target)
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    x, y = source - mean_source, target - mean_target
    sine = (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()
    cosine = (x[:, :2] * y[:, :2]).sum()
    rotation = Rotation.from_euler('z', np.arctan2(sine, cosine))
    degenerate = 'no horizontal motion: the yaw is arbitrary' if np.hypot(sine, cosine) < 1e-12 else ''
    return Alignment(rotation, mean_target - rotation.apply(mean_source), 1.0, degenerate)


def align(estimate: Trajectory, reference: Trajectory, method: str) -> Alignment:
    """The alignment of associated trajectories: 'none', 'yaw' (4 DoF), 'se3' or 'sim3'."""
    if method == 'none':
        return Alignment(Rotation.identity(), np.zeros(3))
    if method == 'yaw':
        return yaw_alignment(estimate.positions, reference.positions)
    if method in ('se3', 'sim3'):
        return umeyama(estimate.positions, reference.positions, with_scale=method == 'sim3')
    raise ValueError(f'alignment {method!r} is not known; choose one of {", ".join(ALIGNMENTS)}')


def _checked(source: NDArray, target: NDArray) -> tuple[NDArray, NDArray]:
    source, target = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 3 or len(source) == 0:
        raise ValueError(f'alignment needs two sets of N >= 1 points, got {source.shape} and {target.shape}')
    return source, target
