"""The back-end's tables as factors of a graph over one set of SE3 variables, 'pose'."""
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.graph import SE3, Between, Factors, FrameBetween, FramePrior, Gnss, Prior, RobustKernel
from pypose_core.lie import se3, so3

from .config import BackEndConfig
from .records import EdgeKind, PriorKind
from .table import Table

TIGHT_SIGMA = 1e-4                  # m and rad: the first keyframe while it is the map's origin
LOOSE_SIGMA = (1e3, 0.05, 10.0)     # m, rad of roll and pitch, rad of yaw: the first keyframe of a map from outside
EDGE_COLUMNS = ('kind', 'ends', 'measured', 'information', 'rejected')
PRIOR_COLUMNS = ('kind', 'keyframe', 'measured', 'offset', 'information', 'rejected')
JUDGES = ('gnc', 'pcm')
"""Ways of being robust that look at all suspects at each solve."""
SUSPECTS = ('loops', 'poses', 'positions')
"""Names of the factors that may be wrong."""


def make_factors(config: BackEndConfig, edges: dict[str, NDArray], priors: dict[str, NDArray], *,
                 body_frame: torch.Tensor | None = None) -> dict[str, tuple[Factors, NDArray]]:
    """Factors by name, and which rows of the given columns each one stands for.

    Variables are poses of the base; with `body_frame`, the base's pose (7,) in the body, navigation states of that.
    Robust kernels are those of `config`. Where it judges the rows anew each time (gnc, pcm), rejected ones are factors
    like others; else they are left out.
    """
    huber = config.robust == 'huber'
    kernel: dict[str, Any] = {'kernel': RobustKernel.HUBER, 'width': config.huber_width} if huber else {}
    found: dict[str, tuple[Factors, NDArray]] = {}
    between = Between if body_frame is None else partial(FrameBetween, frame=body_frame)
    odometry = edges['kind'] == EdgeKind.ODOMETRY
    used, used_priors = (~table['rejected'] | (config.robust in JUDGES) for table in (edges, priors))
    for name, of, options in (('odometry', odometry, {}), ('loops', ~odometry & used, kernel)):
        rows = of.nonzero()[0]
        if len(rows):
            found[name] = between('pose', *(torch.from_numpy(edges[column][rows]) for column in ('ends', 'measured')),
                                  information=torch.from_numpy(edges['information'][rows]), **options), rows
    position = priors['kind'] == PriorKind.POSITION
    if (rows := (~position & used_priors).nonzero()[0]).size:
        found['poses'] = _pose_priors(priors, rows, kernel, body_frame), rows
    if (rows := (position & used_priors).nonzero()[0]).size:
        index, measured, offset, information = (
            torch.from_numpy(priors[name][rows]) for name in ('keyframe', 'measured', 'offset', 'information'))
        offset = offset if body_frame is None else se3.act(body_frame, offset)
        found['positions'] = Gnss('pose', index, measured[:, :3], lever_arm=offset,
                                  information=information[:, :3, :3], **kernel), rows
    return found


def edge_chi2(poses: NDArray, edges: Table | dict[str, NDArray]) -> NDArray:
    """(E,) chi2 of each row of the edge table at poses (N, 7) of the keyframes."""
    if not len(edges['kind']):
        return np.empty(0)
    factors = Between('pose', *(torch.tensor(edges[name]) for name in ('ends', 'measured')),
                      information=torch.tensor(edges['information']))
    factors.check({'pose': SE3})
    return factors.squared({'pose': torch.tensor(poses)}).numpy()


def _pose_priors(priors: dict[str, NDArray], rows: NDArray, kernel: dict,
                 body_frame: torch.Tensor | None) -> Prior | FramePrior:
    """The table has information about the map's axes, a Prior about those of the measured pose."""
    index, measured, information = (
        torch.from_numpy(priors[name][rows]) for name in ('keyframe', 'measured', 'information'))
    R = so3.matrix(measured[:, 3:])
    axes = torch.zeros(len(rows), 6, 6, dtype=torch.float64)
    axes[:, :3, :3] = axes[:, 3:, 3:] = R
    prior = Prior if body_frame is None else partial(FramePrior, frame=body_frame)
    return prior('pose', index, measured, information=axes.mT @ information @ axes, **kernel)


def tight_anchor(pose: NDArray) -> Prior:
    """The first keyframe as the map's origin."""
    return Prior('pose', torch.tensor([0]), torch.from_numpy(pose.copy()),
                 information=torch.eye(6, dtype=torch.float64) * TIGHT_SIGMA ** -2)


def loose_anchor(pose: NDArray) -> Prior:
    """Roll and pitch of the first keyframe as the start found them: positions along a line leave them open."""
    measured = torch.from_numpy(pose.copy())
    position, level, heading = LOOSE_SIGMA
    axes = torch.block_diag(torch.eye(3, dtype=torch.float64), so3.matrix(measured[3:]))
    weights = torch.tensor([position] * 3 + [level, level, heading], dtype=torch.float64) ** -2
    return Prior('pose', torch.tensor([0]), measured, information=axes.mT @ torch.diag(weights) @ axes)


def about_map_axes(covariance: torch.Tensor, pose: torch.Tensor) -> NDArray:
    """A pose's covariance (6, 6) from its own axes to ROS' order about the map's."""
    R = so3.matrix(pose[3:])
    axes = torch.block_diag(R, R)
    return (axes @ covariance @ axes.mT).numpy()
