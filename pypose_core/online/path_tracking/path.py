"""A path with its arc length: where on it the robot is, and what lies ahead."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def wrapped(angle):
    """The same angle in (-π, π]."""
    return np.pi - np.mod(np.pi - angle, 2 * np.pi)


class ReferencePath:
    """A polyline in the plane.

    Args:
        poses: (N, 3) x, y, heading. Only the last heading is a wish, the others follow from the way.
    """

    def __init__(self, poses: NDArray):
        poses = np.asarray(poses, float).reshape(-1, 3)
        keep = np.concatenate([[True], np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1) > 1e-6])
        points = poses[keep, :2]
        if len(points) == 1:        # a goal without a way: a short one that ends there, along its heading
            end, heading = points[0], poses[-1, 2]
            points = np.stack([end - 1e-3 * np.array([np.cos(heading), np.sin(heading)]), end])
        step = np.diff(points, axis=0)
        self.points = points
        self.lengths = np.linalg.norm(step, axis=1)
        self.s = np.concatenate([[0.0], self.lengths.cumsum()])
        """(N,) m from the beginning, at each point."""
        self.direction = step / self.lengths[:, None]
        headings = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
        self.goal = np.array([*points[-1], poses[-1, 2]])
        # Headings and curvatures at the points, smoothed over the steps beside them.
        self.headings = np.concatenate([headings[:1], 0.5 * (headings[1:] + headings[:-1]), headings[-1:]])
        self.curvature = self._curvature()

    @property
    def length(self) -> float:
        """m."""
        return float(self.s[-1])

    def _curvature(self) -> NDArray:
        """(N,) 1/m, over 0.3 m about each point: planners' grids make zigzags that are none."""
        before, after = np.clip(self.s - 0.15, 0, None), np.clip(self.s + 0.15, None, self.s[-1])
        turned = np.interp(after, self.s, self.headings) - np.interp(before, self.s, self.headings)
        return turned / np.maximum(after - before, 1e-3)

    def moved(self, x: float, y: float, heading: float) -> ReferencePath:
        """The same path in the frame in which its own lies at x, y, heading; arc lengths stay."""
        c, s = np.cos(heading), np.sin(heading)
        turn = np.array([[c, s], [-s, c]])
        other = object.__new__(ReferencePath)
        other.points, other.direction = self.points @ turn + [x, y], self.direction @ turn
        other.lengths, other.s, other.curvature = self.lengths, self.s, self.curvature
        other.headings = self.headings + heading
        other.goal = np.array([*other.points[-1], self.goal[2] + heading])
        return other

    def project(self, position: NDArray, begin: float = 0.0, end: float = np.inf) -> tuple[float, float]:
        """(s, signed distance to the left of the path) of the nearest point between two arc lengths."""
        first = max(int(np.searchsorted(self.s, begin, 'right')) - 1, 0)
        last = min(max(int(np.searchsorted(self.s, end, 'left')), first + 1), len(self.lengths))
        to, along, length = position - self.points[first:last], self.direction[first:last], self.lengths[first:last]
        t = np.clip((to * along).sum(1), 0.0, length)
        t = np.clip(t, begin - self.s[first:last], np.maximum(end - self.s[first:last], 0.0))
        offset = to - t[:, None] * along
        k = int(np.argmin((offset * offset).sum(1)))
        side = along[k, 0] * offset[k, 1] - along[k, 1] * offset[k, 0]
        return float(self.s[first + k] + t[k]), float(np.copysign(np.linalg.norm(offset[k]), side))

    def sample(self, s: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Points (K, 2), headings (K,) and curvatures (K,) at arc lengths (K,); the ends beyond the ends."""
        return (np.stack([np.interp(s, self.s, self.points[:, k]) for k in (0, 1)], 1),
                np.interp(s, self.s, self.headings), np.interp(s, self.s, self.curvature))
