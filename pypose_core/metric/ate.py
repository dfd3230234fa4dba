"""Absolute trajectory error."""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .alignment import Alignment, align
from .statistics import Statistics
from .trajectory import Trajectory


@dataclass(frozen=True)
class Ate:
    """Absolute error per pose, metres and degrees, and its statistics."""

    translation: Statistics
    rotation: Statistics
    translation_errors: NDArray[np.float64]
    rotation_errors: NDArray[np.float64]
    alignment: Alignment


def ate(estimate: Trajectory, reference: Trajectory, *, alignment: str = 'none') -> Ate:
    """Error of each pose, E_i = T_reference,i^-1 S T_estimate,i, after the alignment S.

    Args:
        estimate, reference: associated, of equal length.
        alignment: 'none', 'yaw', 'se3' or 'sim3' (see `align`).

    Returns:
        translation: |trans(E_i)|, metres; rotation: angle of rot(E_i), degrees.

    Source: Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012.
    """
    if len(estimate) != len(reference):
        raise ValueError(f'associate the trajectories first: {len(estimate)} and {len(reference)} poses')
    if len(estimate) == 0:
        raise ValueError('no poses in common: the stamps of estimate and reference do not meet')
    found = align(estimate, reference, alignment)
    aligned = found.apply(estimate)
    translation = np.linalg.norm(aligned.positions - reference.positions, axis=1)
    rotation = np.degrees((reference.rotations.inv() * aligned.rotations).magnitude())
    return Ate(Statistics.of(translation), Statistics.of(rotation), translation, rotation, found)
