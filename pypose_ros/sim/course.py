"""A course to drive: the corridors of the offices, with boxes in the way that no plan knows of."""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pypose_ros.sim.walls import Walls, offices

START = np.array([3.6, 2.0, 0.0])
RADIUS = 1.6      # m, of the corners
CORNERS = np.array([(2.0, 2.0), (22.0, 2.0), (22.0, 14.0), (2.0, 14.0)])


@dataclass(frozen=True)
class Course:
    """Walls and the way through them, in the frame that begins where the robot stands."""

    walls: Walls
    path: NDArray[np.float64]
    """(N, 3) x, y, heading, every 0.1 m."""


def office_patrol(seed: int = 0, *, boxes: int = 4, laps: float = 1.0, pillars: bool = True) -> Course:
    """Once round the corridors, along their middle; `boxes` of 0.3 m to 0.5 m stand on it or beside it.

    Args:
        seed: of the boxes.
        boxes: how many.
        laps: of 61 m; beyond one, the way overlaps itself, so that loops can be closed.
        pillars: leave those of the offices where they are, some of them in the way too.
    """
    generator = np.random.default_rng((seed, 11))
    path = _rounded(CORNERS, RADIUS, 0.1)
    length = len(path)
    walls = offices(pillars=pillars)
    places: list[NDArray] = []
    while len(places) < boxes:
        k = int(generator.integers(int(0.08 * length), int(0.92 * length)))
        x, y, heading = path[k]
        side = generator.uniform(-0.5, 0.5)
        centre = np.array([x - side * np.sin(heading), y + side * np.cos(heading)])
        half = generator.uniform(0.15, 0.25)
        # A robot of half a metre must fit through on one side at least.
        if walls.distance(centre) < half + 0.9 or any(np.linalg.norm(centre - other) < 4 for other in places):
            continue
        places.append(centre)
        turned = generator.uniform(0, np.pi / 2)
        corners = half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        c, s = np.cos(turned), np.sin(turned)
        walls = walls + Walls.polygon(centre + corners @ np.array([[c, s], [-s, c]]))
    count = round(laps * length)
    way = np.concatenate([path + [0, 0, 2 * np.pi * lap] for lap in range(-(-count // length))])[:count]
    c, s = np.cos(START[2]), np.sin(START[2])
    way[:, :2] = (way[:, :2] - START[:2]) @ np.array([[c, -s], [s, c]])
    way[:, 2] -= START[2]
    return Course(walls.seen_from(START), way)


def _rounded(corners: NDArray, radius: float, spacing: float) -> NDArray[np.float64]:
    """A closed way (N, 3) along a polygon that is driven counter-clockwise, with arcs for corners."""
    pieces = []
    count = len(corners)
    for i in range(count):
        before, at, after = corners[i - 1], corners[i], corners[(i + 1) % count]
        into, out = (at - before) / np.linalg.norm(at - before), (after - at) / np.linalg.norm(after - at)
        turn = np.arctan2(into[0] * out[1] - into[1] * out[0], into @ out)
        cut = radius * np.tan(abs(turn) / 2)
        heading = np.arctan2(into[1], into[0])
        centre = at - cut * into + radius * np.sign(turn) * np.array([-into[1], into[0]])
        angles = np.linspace(0, turn, max(2, int(radius * abs(turn) / 0.02)))
        arc = centre + radius * np.sign(turn) * np.stack([np.sin(heading + angles), -np.cos(heading + angles)], 1)
        pieces.append(arc)
    outline = np.concatenate(pieces)
    outline = np.concatenate([outline, outline[:1]])
    # Begin after the first corner, where the robot stands.
    s = np.concatenate([[0], np.linalg.norm(np.diff(outline, axis=0), axis=1).cumsum()])
    grid = np.arange(0, s[-1], spacing)
    points = np.stack([np.interp(grid, s, outline[:, k]) for k in (0, 1)], 1)
    step = np.diff(np.concatenate([points, points[:1]]), axis=0)
    first = int(np.argmin(np.linalg.norm(points - (corners[0] + [radius, 0]), axis=1)))
    way = np.concatenate([points, np.arctan2(step[:, 1], step[:, 0])[:, None]], 1)
    way = np.roll(way, -first, 0)
    way[:, 2] = np.unwrap(way[:, 2])
    return way
