"""Absolute and relative pose error in PyPose's form: stamps and poses as tensors.

`ate` and `relative_error` of this package take trajectories with integer stamps, interpolate, and align in more ways.
"""
from __future__ import annotations

import warnings

import torch
from torch import Tensor

from pypose_core.geometry.alignment import svdstf
from pypose_core.lie.groups import SE3

ERRORS = ('translation', 'rotation', 'pose', 'radian', 'degree')
STATISTICS = {
    'Max': lambda e: e.max(), 'Min': lambda e: e.min(), 'Mean': lambda e: e.mean(), 'Median': lambda e: e.median(),
    'RMSE': lambda e: e.square().mean().sqrt(), 'SSE': lambda e: e.square().sum(), 'STD': lambda e: e.std(),
}


def ape(rstamp: Tensor | None, rpose: SE3, estamp: Tensor | None, epose: SE3, etype: str = 'translation',
        diff: float = 0.01, offset: float = 0.0, align: bool = False, scale: bool = False, nposes: int = -1,
        origin: bool = False, thresh: float = 0.3, otype: str = 'All') -> dict[str, Tensor] | Tensor:
    """Absolute pose error of an estimated trajectory, E_i = T_e,i⁻¹ T_r,i.

    Args:
        rstamp, estamp: (N,), (M,) seconds, ascending; None for 0, 1, 2, ... Stamps of today need float64.
        rpose, epose: reference (N, 7) and estimate (M, 7).
        etype: 'translation': |t_e - t_r|; 'rotation': |R_E - I|; 'pose': |E - I|, Frobenius norms; 'radian' and
            'degree': the angle of R_E.
        diff: seconds that poses of one pair may lie apart.
        offset: seconds, added to the estimate's stamps.
        align: lay the estimate over the reference by the best rotation and translation.
        scale: and by the best scale.
        nposes: the first so many pairs decide the alignment; -1 for all.
        origin: lay the first estimated pose over the first of the reference.
        thresh: warn where fewer than this share of poses finds a partner.
        otype: one of Max, Min, Mean, Median, RMSE, SSE, STD, or All.

    Returns:
        a float64 tensor, or a dictionary of all.
    """
    reference, estimate = _prepared(rstamp, rpose, estamp, epose, diff, offset, align, scale, nposes, origin, thresh)
    if etype == 'translation':
        return _statistics((estimate.translation() - reference.translation()).norm(dim=-1), otype)
    return _statistics(_error(estimate.Inv() @ reference, etype), otype)


def rpe(rstamp: Tensor | None, rpose: SE3, estamp: Tensor | None, epose: SE3, etype: str = 'translation',
        diff: float = 0.01, offset: float = 0.0, align: bool = False, scale: bool = False, nposes: int = -1,
        origin: bool = False, associate: str = 'frame', delta: float = 1.0, rtol: float = 0.1, all: bool = False,
        thresh: float = 0.3, rpair: bool = False, otype: str = 'All') -> dict[str, Tensor] | Tensor:
    """Relative pose error of an estimated trajectory, E_ij = (T_r,i⁻¹ T_r,j)⁻¹ (T_e,i⁻¹ T_e,j).

    Args, beyond those of ape():
        associate: 'frame': pairs are `delta` poses apart; 'distance': `delta` metres along the trajectory.
        delta: see associate.
        rtol: with `all` and 'distance', how far a pair's distance may be from delta, relative to it.
        all: pairs from each pose, instead of end to end.
        rpair: take the pairs from the reference instead of the estimate.

    Raises:
        ValueError: no pair is that far apart.
    """
    reference, estimate = _prepared(rstamp, rpose, estamp, epose, diff, offset, align, scale, nposes, origin, thresh)
    i, j = _pairs(reference if rpair else estimate, delta, associate, rtol, all)
    E = reference[i].between(reference[j]).Inv() @ estimate[i].between(estimate[j])
    return _statistics(_error(E, etype), otype)


def _prepared(rstamp, rpose: SE3, estamp, epose: SE3, diff, offset, align, scale, nposes, origin, thresh):
    """Associated and aligned poses in float64."""
    stamps = []
    for name, stamp, pose in (('reference', rstamp, rpose), ('estimate', estamp, epose)):
        if pose.dim() != 2 or len(pose) == 0:
            raise ValueError(f'the {name} must be poses (N, 7), N >= 1, got {tuple(pose.shape)}')
        stamp = torch.arange(len(pose), device=pose.device) if stamp is None else stamp
        stamp = stamp.to(device=pose.device, dtype=torch.float64)
        if stamp.shape != (len(pose),) or bool((stamp.diff() < 0).any()):
            raise ValueError(f'the stamps of the {name} must be {len(pose)} ascending numbers')
        stamps.append(stamp)
    r, e = _matched(stamps[0], stamps[1] + offset, diff, thresh)
    reference, estimate = SE3(rpose.to(torch.float64)[r]), SE3(epose.to(torch.float64)[e])
    if align or scale:
        some = len(estimate) if nposes == -1 else nposes
        S = svdstf(estimate.translation()[:some], reference.translation()[:some], scale)
        position = S.unsqueeze(0) @ estimate.translation()
        estimate = SE3(torch.cat([position, (S.rotation() @ estimate.rotation()).tensor()], -1))
    elif origin:
        estimate = reference[0] @ estimate[0].Inv() @ estimate
    return reference, estimate


def _matched(reference: Tensor, estimate: Tensor, diff: float, thresh: float) -> tuple[Tensor, Tensor]:
    """Indices of pairs: for each pose of the shorter trajectory the nearest in time of the other one."""
    short, long = (reference, estimate) if len(estimate) > len(reference) else (estimate, reference)
    right = torch.searchsorted(long, short).clamp(max=len(long) - 1)
    left = (right - 1).clamp(min=0)
    nearest = torch.where((short - long[left]).abs() <= (short - long[right]).abs(), left, right)
    nearest = torch.searchsorted(long, long[nearest])       # of equal stamps the first
    kept = ((short - long[nearest]).abs() < diff).nonzero()[:, 0]
    if len(kept) == 0:
        raise ValueError(f'no stamps of reference and estimate lie within {diff} s of each other')
    if len(kept) < thresh * len(short):
        warnings.warn(f'only {len(kept)} of {len(short)} poses have a partner within {diff} s', stacklevel=4)
    return (kept, nearest[kept]) if short is reference else (nearest[kept], kept)


def _pairs(poses: SE3, delta: float, associate: str, rtol: float, all: bool) -> tuple[Tensor, Tensor]:
    n = len(poses)
    if associate == 'frame':
        step = int(delta)
        if step < 1:
            raise ValueError(f'delta must be at least one frame, got {delta}')
        i = torch.arange(0, n - step, 1 if all else step, device=poses.device)
        j = i + step
    elif associate == 'distance':
        path = torch.nn.functional.pad(poses.translation().diff(dim=0).norm(dim=-1).cumsum(0), (1, 0))
        if all:
            i = torch.arange(n - 1, device=poses.device)
            right = torch.searchsorted(path, path[:-1] + delta).clamp(max=n - 1)
            left = torch.maximum(right - 1, i + 1)
            off = [(path[k] - path[:-1] - delta).abs() for k in (left, right)]
            j = torch.where(off[0] <= off[1], left, right).maximum(i + 1)
            near = (path[j] - path[i] - delta).abs() <= delta * rtol
            i, j = i[near], j[near]
        else:
            passed, start = [], 0.0
            for k, travelled in enumerate(path.tolist()):
                if travelled - start >= delta:
                    passed.append(k)
                    start = travelled
            ends = torch.tensor(passed, dtype=torch.long, device=poses.device)
            i, j = ends[:-1], ends[1:]
    else:
        raise ValueError(f"associate must be 'frame' or 'distance', not {associate!r}")
    if len(i) == 0:
        raise ValueError(f'no two poses are delta = {delta} apart by {associate}; try a smaller delta')
    return i, j


def _error(E: SE3, etype: str) -> Tensor:
    if etype == 'translation':
        return E.translation().norm(dim=-1)
    if etype == 'rotation':
        return (E.rotation().matrix() - torch.eye(3, dtype=E.dtype, device=E.device)).norm(dim=(-2, -1))
    if etype == 'pose':
        return (E.matrix() - torch.eye(4, dtype=E.dtype, device=E.device)).norm(dim=(-2, -1))
    if etype in ('radian', 'degree'):
        angle = E.rotation().Log().tensor().norm(dim=-1)
        return angle if etype == 'radian' else angle.rad2deg()
    raise ValueError(f'etype must be one of {", ".join(ERRORS)}, not {etype!r}')


def _statistics(error: Tensor, otype: str) -> dict[str, Tensor] | Tensor:
    if otype == 'All':
        return {name: statistic(error) for name, statistic in STATISTICS.items()}
    if otype not in STATISTICS:
        raise ValueError(f'otype must be All or one of {", ".join(STATISTICS)}, not {otype!r}')
    return STATISTICS[otype](error)
