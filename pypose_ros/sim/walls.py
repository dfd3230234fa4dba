"""A flat world of walls and what a lidar sees of it."""
import numpy as np
from numpy.typing import ArrayLike, NDArray


class Walls:
    """Line segments in the plane.

    Args:
        segments: (M, 2, 2) ends of each wall, m.
    """

    def __init__(self, segments: NDArray):
        self.segments = np.asarray(segments, float)

    @classmethod
    def polygon(cls, *outlines: ArrayLike) -> 'Walls':
        """Closed outlines, (K, 2) corners each."""
        return cls(np.concatenate([np.stack([corners, np.roll(corners, -1, 0)], 1)
                                   for corners in (np.asarray(o, float) for o in outlines)]))

    def ranges(self, pose: NDArray, angles: NDArray, *, limit: float) -> NDArray[np.float64]:
        """(B,) m to the first wall along each beam, inf where there is none within `limit`.

        Args:
            pose: (3,) x, y, heading of the lidar.
            angles: (B,) of the beams against the heading, rad.
        """
        begin, along = self.segments[:, 0], self.segments[:, 1] - self.segments[:, 0]
        heading = pose[2] + angles
        beam = np.stack([np.cos(heading), np.sin(heading)], -1)[:, None]
        to = begin[None] - pose[:2]
        # Along the beam by r and along the wall by s in [0, 1]: r b = to + s a.
        cross = beam[..., 0] * along[None, :, 1] - beam[..., 1] * along[None, :, 0]
        with np.errstate(divide='ignore', invalid='ignore'):
            r = (to[..., 0] * along[None, :, 1] - to[..., 1] * along[None, :, 0]) / cross
            s = (to[..., 0] * beam[..., 1] - to[..., 1] * beam[..., 0]) / cross
        r = np.where((s >= 0) & (s <= 1) & (r > 0), r, np.inf).min(1)
        return np.where(r <= limit, r, np.inf)

    def distance(self, points: NDArray) -> NDArray[np.float64]:
        """(...,) m from points (..., 2) to the nearest wall."""
        begin, along = self.segments[:, 0], self.segments[:, 1] - self.segments[:, 0]
        to = np.asarray(points, float)[..., None, :] - begin
        s = np.clip((to * along).sum(-1) / (along * along).sum(-1), 0, 1)
        return np.linalg.norm(to - s[..., None] * along, axis=-1).min(-1)

    def grid(self, resolution: float, margin: float = 0.5) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which cells (Y, X) a wall runs through, and the corner (2,) of the first.

        Args:
            resolution: m, edge of a cell.
            margin: m around the walls.
        """
        ends = self.segments.reshape(-1, 2)
        corner = np.floor((ends.min(0) - margin) / resolution) * resolution
        cells = np.zeros(np.ceil((ends.max(0) + margin - corner) / resolution).astype(int)[::-1], bool)
        for begin, end in self.segments:
            count = int(4 * np.linalg.norm(end - begin) / resolution) + 2
            along = begin + np.linspace(0, 1, count)[:, None] * (end - begin)
            x, y = np.floor((along - corner) / resolution).astype(int).T
            cells[y, x] = True
        return cells, corner

    def seen_from(self, pose: NDArray) -> 'Walls':
        """The same walls in the frame of a pose (3,) x, y, heading."""
        c, s = np.cos(pose[2]), np.sin(pose[2])
        return Walls((self.segments - pose[:2]) @ np.array([[c, -s], [s, c]]))

    def __add__(self, other: 'Walls') -> 'Walls':
        return Walls(np.concatenate([self.segments, other.segments]))


def offices(*, pillars: bool = True) -> Walls:
    """Rooms of different shape around a ring of corridors, 24 m by 16 m."""
    outer = [(0, 0), (24, 0), (24, 16), (0, 16)]
    block = [(4, 4), (20, 4), (20, 12), (4, 12)]
    stand = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in (
        (1.0, 7.0, 0.6, 0.6), (9.0, 0.8, 1.2, 0.4), (15.0, 1.0, 0.5, 0.9), (22.4, 5.0, 0.5, 1.5),
        (21.5, 12.6, 0.4, 0.4), (12.0, 14.6, 2.0, 0.5), (5.5, 13.2, 0.5, 0.5), (0.8, 12.5, 0.5, 1.8))]
    return Walls.polygon(outer, block, *(stand if pillars else ()))
