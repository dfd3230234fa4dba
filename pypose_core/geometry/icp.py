"""Iterative closest points, in PyPose's form."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pypose_core.control.stepper import ReduceToBason
from pypose_core.geometry.alignment import svdtf
from pypose_core.geometry.neighbors import TREE_FROM, PointTree, knn
from pypose_core.lie.checking import is_SE3
from pypose_core.lie.groups import SE3


class ICP(nn.Module):
    """The rigid transformation between two point clouds: match each point to its nearest one, align, repeat.

    Args:
        init: the transformation to start from, SE3 (..., 7); default the identity.
        stepper: ends the iterations at the latest, `ReduceToBason(steps=200)` by default; used as a copy. They end
            by themselves when no match changes.

    Finds the minimum next to `init`. `register()` has planes, distributions, robust kernels and a covariance.

    Source: Besl and McKay, A method for registration of 3-D shapes, PAMI 1992.
    """

    def __init__(self, init: SE3 | None = None, stepper=None):
        super().__init__()
        self.stepper = copy.copy(stepper) if stepper is not None else ReduceToBason(steps=200)
        if init is not None and not is_SE3(init):
            raise TypeError('init must be an SE3 LieTensor')
        self.init = init

    def forward(self, source: Tensor, target: Tensor, ord: int | float = 2, dim: int = -1,
                init: SE3 | None = None) -> SE3:
        """The transformation from source to target.

        Args:
            source: (..., N, 3).
            target: (..., M, 3), leading dimensions broadcast.
            ord: order of the norm that says which point is nearest.
            dim: where the coordinates are; the last dimension.
            init: goes before the constructor's.

        Returns:
            SE3 (..., 7), differentiable by both clouds with the last matches held.
        """
        init = self.init if init is None else init
        if init is not None and not is_SE3(init):
            raise TypeError('init must be an SE3 LieTensor')
        batch = torch.broadcast_shapes(source.shape[:-2], target.shape[:-2], () if init is None else init.lshape)
        source, target = source.expand(*batch, *source.shape[-2:]), target.expand(*batch, *target.shape[-2:])
        fixed_source, fixed_target = source.detach(), target.detach()
        flat = fixed_target.reshape(-1, *target.shape[-2:])
        matcher = [Matcher(z, ord) for z in flat]
        moved = fixed_source if init is None else init.detach().unsqueeze(-2) @ fixed_source
        self.stepper.reset()
        matches: Any = None
        with torch.no_grad():
            while self.stepper.continual():
                points = moved.reshape(-1, *moved.shape[-2:])
                found = torch.stack([m(z) for m, z in zip(matcher, points)]).view(*batch, -1)
                chosen = _at(fixed_target, found)
                error = torch.linalg.vector_norm(moved - chosen, ord=ord, dim=dim).mean(-1)
                same, matches = matches is not None and bool((found == matches).all()), found
                moved = svdtf(fixed_source, chosen).unsqueeze(-2) @ fixed_source
                self.stepper.step(error)
                if same:
                    break
        return svdtf(source, _at(target, matches))


def _at(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(-2, index.unsqueeze(-1).expand(*index.shape, points.shape[-1]))


class Matcher:
    """Nearest points of one cloud (M, 3) for a cloud that moves a little from call to call.

    A point whose nearest neighbour was d₁ away and the second nearest d₂, and which has moved by m since, still has
    the same nearest neighbour while that one is nearer than d₂ - m. Only the others are looked up again.
    """

    def __init__(self, target: Tensor, ord: int | float = 2):
        self.target, self.ord = target, ord
        self.tree = PointTree(target) if target.device.type == 'cpu' and len(target) >= TREE_FROM and ord >= 1 else None
        self.known: Tensor | None = None

    def __call__(self, points: Tensor) -> Tensor:
        """Index (N,) of the nearest target of each point (N, 3)."""
        if self.tree is None:
            return knn(points, self.target, 1, self.ord).indices[:, 0]
        if self.known is None:
            self.known = torch.empty(len(points), dtype=torch.long)
            self.second, self.place = torch.zeros(len(points), dtype=points.dtype), points.clone()
            stale = torch.arange(len(points))
        else:
            moved = torch.linalg.vector_norm(points - self.place, ord=self.ord, dim=-1)
            near = torch.linalg.vector_norm(points - self.target[self.known], ord=self.ord, dim=-1)
            stale = (near >= self.second - moved).nonzero()[:, 0]
        if len(stale):
            asked = points[stale]
            two = self.tree.query(asked, 2, self.ord)
            self.known[stale] = two[:, 0]
            self.second[stale] = torch.linalg.vector_norm(asked - self.target[two[:, 1]], ord=self.ord, dim=-1)
            self.place[stale] = asked
        return self.known.clone()
