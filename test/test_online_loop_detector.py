"""Loops from scans in a known world: found where the robot was before, refused where it was not."""
import numpy as np
import torch

from pypose_core.lie import se3
from pypose_core.online.correction import compose, inverse
from pypose_core.online.loop_detector import LoopDetector, LoopDetectorConfig, best_turn, describe
from pypose_ros.sim.walls import Walls, offices

ANGLES = np.linspace(-np.pi, np.pi, 360, endpoint=False)
CORNERS = np.array([(2.0, 2.0), (22.0, 2.0), (22.0, 14.0), (2.0, 14.0)])


def pose7(x: float, y: float, heading: float) -> np.ndarray:
    return np.array([x, y, 0, 0, 0, np.sin(heading / 2), np.cos(heading / 2)])


def corridor(laps: int, step: float = 0.5) -> np.ndarray:
    """(N, 3) x, y, heading along the ring of corridors."""
    poses = []
    for lap in range(laps):
        for k in range(4):
            a, b = CORNERS[k], CORNERS[(k + 1) % 4]
            count = int(np.linalg.norm(b - a) / step)
            heading = np.arctan2(*(b - a)[::-1])
            poses += [(*(a + (b - a) * s / count + 0.2 * lap), heading) for s in range(count)]
    return np.array(poses)


def points(world: Walls, pose: np.ndarray, rng) -> np.ndarray:
    ranges = world.ranges(pose, ANGLES, limit=15.0) + 0.01 * rng.standard_normal(len(ANGLES))
    hit = np.isfinite(ranges)
    ranges, angles = ranges[hit], ANGLES[hit]
    return np.stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(len(ranges))], 1)


def run(way: np.ndarray, drift: float = 0.002):
    """(candidates, true poses by id of the kept scan) of a drive with drifting odometry."""
    rng, detector = np.random.default_rng(1), LoopDetector(LoopDetectorConfig(distance=1.0, search_radius=2.0))
    odometry, candidates, truth = pose7(*way[0]), [], {}
    for k, pose in enumerate(way):
        if k:
            step = compose(inverse(pose7(*way[k - 1])), pose7(*pose))
            odometry = compose(odometry, compose(step, pose7(0, 0, drift * rng.standard_normal())))
        before = len(detector.scans)
        candidates += detector.add((k + 1) * 10 ** 8, odometry, points(offices(), pose, rng), planar=True)
        if len(detector.scans) > before:
            truth[before] = pose7(*pose)
    return candidates, truth


def test_loops_are_found_where_the_robot_was_and_are_as_exact_as_they_say():
    candidates, truth = run(corridor(2))
    loops = [c for c in candidates if c.accepted]
    assert len(loops) >= 15
    squared = []
    for c in loops:
        true = compose(inverse(truth[c.earlier.id]), truth[c.later.id])
        error = se3.log(se3.mul(se3.inv(torch.from_numpy(true)), torch.from_numpy(c.T_earlier_later))).numpy()
        assert np.abs(error[[0, 1]]).max() < 0.15 and abs(error[5]) < 0.03
        squared.append(error[[0, 1, 5]] @ np.linalg.inv(np.linalg.inv(c.information)[np.ix_([0, 1, 5], [0, 1, 5])])
                       @ error[[0, 1, 5]])
    assert np.mean(squared) < 6.0       # 3 expected


def test_a_place_that_looks_otherwise_is_refused_with_the_reason():
    config = LoopDetectorConfig(distance=0.5, min_way=5.0, search_radius=100.0, descriptor_limit=1.0)
    detector, rng = LoopDetector(config), np.random.default_rng(2)
    room = Walls.polygon([(-3, -2), (3, -2), (3, 2), (-3, 2)])
    hall = Walls.polygon([(-2.2, -6), (2.8, -6), (2.8, 9), (-2.2, 9)], [(0.5, 3), (1.5, 3), (1, 4)])
    detector.add(1, pose7(0, 0, 0), points(room, np.zeros(3), rng), planar=True)
    for k in range(1, 8):
        detector.add(k + 1, pose7(k, 0, 0), points(room, np.zeros(3), rng), planar=True)
    found = detector.add(100, pose7(8, 0, 0), points(hall, np.zeros(3), rng), planar=True)
    assert found and not any(c.accepted for c in found)
    assert all(any(word in c.reason for word in ('overlap', 'differ', 'free')) for c in found)


def test_a_heading_that_odometry_does_not_know_is_found_by_the_descriptor():
    rng, world = np.random.default_rng(3), offices()
    here = np.array([2.0, 2.0, 0.0])
    for turn in (-2.5, -1.0, 0.7, 3.0):
        a, b = (describe(points(world, p, rng), 20.0) for p in (here, here + [0, 0, turn]))
        assert abs((best_turn(a, b) - turn + np.pi) % (2 * np.pi) - np.pi) < 0.15


def test_too_few_points_and_no_points_are_no_scan():
    detector = LoopDetector()
    assert detector.add(1, pose7(0, 0, 0), np.empty((0, 3)), planar=True) == []
    assert detector.add(2, pose7(0, 0, 0), np.full((400, 3), np.nan), planar=True) == [] and not detector.scans


def test_the_estimate_of_a_back_end_is_followed_between_its_keyframes():
    """The map is the odometry turned: so must be every kept scan's estimate, whatever keyframes it came from."""
    rng, detector = np.random.default_rng(4), LoopDetector(LoopDetectorConfig(distance=0.5))
    T_map_odom = np.array([5.0, 1, 0, 0, 0, np.sin(0.4), np.cos(0.4)])
    way = [pose7(0.6 * k, 0, 0) for k in range(12)]
    for k, pose in enumerate(way):
        detector.add((k + 1) * 10 ** 9, pose, points(offices(), np.array([2 + 0.6 * k, 2.0, 0.0]), rng), planar=True)
    stamps = np.array([1.2, 3.5, 6.1, 11.9]) * 1e9
    at = [pose7(0.6 * (s * 1e-9 - 1), 0, 0) for s in stamps]
    detector.follow(stamps.astype(np.int64), np.array([compose(T_map_odom, pose) for pose in at]))
    for scan in detector.scans:
        np.testing.assert_allclose(detector._estimate(scan), compose(T_map_odom, scan.T_odom_base), atol=1e-9)
