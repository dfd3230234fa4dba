"""A local costmap as a navigation stack's obstacle layer would make it of a lidar: it stands in for Nav2's in a
simulation."""
from collections import deque

import numpy as np
from numpy.typing import NDArray

LETHAL = 100


class LocalCostmap:
    """A square grid about the robot in which what the lidar hit of late is occupied.

    Args:
        size: m, edge of the square.
        resolution: m, edge of a cell.
        memory: scans that are remembered.
    """

    def __init__(self, *, size: float = 7.0, resolution: float = 0.05, memory: int = 40):
        self.resolution, self.cells = resolution, round(size / resolution)
        self._scans: deque[NDArray[np.float64]] = deque(maxlen=memory)

    def add(self, T_odom_base: NDArray, points: NDArray) -> None:
        """Take in hits (N, 2) of a base at x, y, heading (3,)."""
        c, s = np.cos(T_odom_base[2]), np.sin(T_odom_base[2])
        self._scans.append(points @ np.array([[c, s], [-s, c]]) + T_odom_base[:2])

    def grid(self, centre: NDArray) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        """Cells (Y, X), 0 or LETHAL, about a point (2,), and the corner (2,) of the first."""
        corner = np.floor((centre - 0.5 * self.cells * self.resolution) / self.resolution) * self.resolution
        cells = np.zeros((self.cells, self.cells), np.int8)
        if self._scans:
            places = np.floor((np.concatenate(self._scans) - corner) / self.resolution).astype(int)
            inside = ((places >= 0) & (places < self.cells)).all(1)
            cells[places[inside, 1], places[inside, 0]] = LETHAL
        return cells, corner
