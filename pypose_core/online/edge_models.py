"""Networks that say how far an edge of the pose graph can be trusted, as the estimators ask them.

    way and turn of an odometry link   -> OdometryUncertainty -> its information
    what ICP says of a loop candidate  -> LoopVerifier        -> its weight
"""
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pypose_core.learning.checkpoint import CheckpointError, load_checkpoint
from pypose_core.learning.front_end import front_end_class
from pypose_core.learning.loop_verifier import LoopVerifier
from pypose_core.learning.odometry_uncertainty import OdometryUncertainty

PLANE = (0, 1, 5)
"""x, y and heading among the six of a pose's tangent [translation, rotation]."""


def odometry_features(T_a_b: NDArray, seconds: float) -> NDArray[np.float64]:
    """(..., 5) of links (..., 7) that took `seconds` (...): way m, turn rad, log s, speed m/s, and speed times turn
    rate, which is what makes wheels slip."""
    way = np.linalg.norm(T_a_b[..., :3], axis=-1)
    turn = 2 * np.arctan2(np.linalg.norm(T_a_b[..., 3:6], axis=-1), np.abs(T_a_b[..., 6]))
    time = np.maximum(seconds, 1e-3)
    return np.stack([way, turn, np.log(time), way / time, way * turn / time ** 2], -1)


def loop_features(overlap: float, rmse: float, other_overlap: float, moved: float, apart: float,
                  free: int) -> NDArray[np.float64]:
    """(6,) of a candidate.

    Args:
        overlap, rmse: share of the points that match, and m by which they differ.
        other_overlap: of the registration that was begun elsewhere and not taken.
        moved: m by which the match moves the robot, as a share of the radius searched.
        apart: m between what the two registrations found: a corridor gives as many answers as it is given guesses.
        free: directions that the scans leave free.
    """
    return np.array([overlap, np.log(rmse + 1e-3), overlap - other_overlap, min(moved, 2.0), min(apart, 3.0), free])


class OdometryModel:
    """An `OdometryUncertainty` of `odometry_features`, or another network that makes their information: (6, 6) for
    links in space, (3, 3) in the plane."""

    def __init__(self, network: nn.Module):
        self.network = network.double().eval()
        self.size = _trial(self.network, 5, 'odometry links')[-1:]
        if self.size not in ((3,), (6,)):
            raise CheckpointError(f'{type(network).__name__} makes no information (3, 3) or (6, 6) of a link')

    @torch.no_grad()
    def __call__(self, T_a_b: NDArray, seconds: float, information: NDArray) -> NDArray[np.float64]:
        """The information (6, 6) of a link; one in the plane keeps what is given of the directions out of it."""
        found = self.network(torch.from_numpy(odometry_features(T_a_b, seconds))).numpy()
        if self.size == (6,):
            return found
        out = np.diag(np.diag(information))
        out[np.ix_(PLANE, PLANE)] = found
        return out


class LoopModel:
    """A `LoopVerifier` of `loop_features`, or another network that makes a weight of them."""

    def __init__(self, network: nn.Module):
        self.network = network.double().eval()
        if _trial(self.network, 6, 'loop candidates'):
            raise CheckpointError(f'{type(network).__name__} makes no single weight of a loop candidate')

    @torch.no_grad()
    def __call__(self, features: NDArray) -> float:
        """Weight of the candidate, 0 to 1."""
        return min(1.0, max(0.0, float(self.network(torch.from_numpy(features)))))


def load_odometry_model(path: str | Path, own: str = '') -> OdometryModel:
    """A file of OdometryUncertainty, or of a class of one's own, package.module:Class. ValueError: it cannot be used,
    and why."""
    return OdometryModel(_load(path, OdometryUncertainty, own))


def load_loop_model(path: str | Path, own: str = '') -> LoopModel:
    """A file of LoopVerifier, or of a class of one's own. ValueError: the file cannot be used, and why."""
    return LoopModel(_load(path, LoopVerifier, own))


def _load(path: str | Path, cls: type[nn.Module], own: str) -> nn.Module:
    return load_checkpoint(Path(path).expanduser(), cls=front_end_class(own) if own else cls).front_end


@torch.no_grad()
def _trial(network: nn.Module, features: int, what: str) -> tuple[int, ...]:
    """Shape of what a network makes of one edge's features; it must be finite."""
    try:
        found = network(torch.zeros(features, dtype=torch.float64))
    except Exception as error:
        raise CheckpointError(f'{type(network).__name__} is none of {what}, which have {features} features: '
                              f'{str(error).splitlines()[0]}') from error
    if not bool(found.isfinite().all()):
        raise CheckpointError(f'{type(network).__name__} makes NaN or infinity of {what}')
    return tuple(found.shape)
