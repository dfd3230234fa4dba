"""Loop closures from range scans: where has the robot been before?

A scan is kept where the robot has moved. Candidates for a new one are kept scans near enough by the present estimate
and its uncertainty, ranked by a compact descriptor; the best are laid over each other by ICP, from the estimate and
from the heading at which the descriptors agree best. What does not fit is refused, with the reason.
"""
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.geometry import register, voxel_filter
from pypose_core.lie import se3, so3
from pypose_core.lie.groups import SE3
from pypose_core.online.back_end.odometry import compose, interpolate
from pypose_core.online.correction import inverse
from pypose_core.online.edge_models import LoopModel, loop_features
from pypose_core.optim.kernel import Huber

RINGS, SECTORS = 12, 60
FREE = 1e4      # m^2 or rad^2 along directions that the scans leave free


@dataclass(frozen=True)
class LoopDetectorConfig:
    """Sizes in m and rad."""

    distance: float = 0.5
    """between scans that are kept."""
    angle: float = 0.5
    search_radius: float = 3.0
    """around the present estimate; it grows by `drift` per metre driven since."""
    drift: float = 0.02
    min_way: float = 10.0
    """driven between the two ends of a loop."""
    max_candidates: int = 3
    """laid over a new scan."""
    max_range: float = 20.0
    voxel: float = 0.1
    """The clouds are thinned to one point in each."""
    max_points: int = 2000
    descriptor_limit: float = 0.45
    """Largest difference of descriptors, 0 to 1, that is looked into."""
    max_distance: float = 0.5
    """between matched points."""
    min_overlap: float = 0.6
    """Share of points that must find a match."""
    max_rmse: float = 0.12
    sigma: tuple[float, float] = (0.03, 0.01)
    """m and rad that are added to what ICP says of itself, which is too good."""
    min_weight: float = 0.1
    """that a verifier must give a candidate."""


@dataclass(frozen=True)
class Scan:
    """One that is kept."""

    id: int
    stamp_ns: int
    T_odom_base: NDArray[np.float64]
    way: float
    """m driven until then."""
    points: torch.Tensor
    """(N, 3) in the base frame."""
    descriptor: NDArray[np.float64]
    ring_key: NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A pair that was looked into. `reason` is empty where it is a loop."""

    earlier: Scan
    later: Scan
    T_earlier_later: NDArray[np.float64]
    information: NDArray[np.float64]
    """(6, 6) of [translation, rotation] in the axes of the later one."""
    reason: str = ''
    features: NDArray[np.float64] | None = None
    """(6,) as in `loop_features`."""

    @property
    def accepted(self) -> bool:
        return not self.reason


class LoopDetector:
    """Fed with scans and poses; finds loops.

        for candidate in detector.add(stamp_ns, T_odom_base, points, planar=True):
            if candidate.accepted: ...

    Args:
        config: sizes and limits.
        verifier: weighs what the limits let through: it multiplies the information.
    """

    def __init__(self, config: LoopDetectorConfig | None = None, verifier: LoopModel | None = None):
        self.config, self.verifier = config or LoopDetectorConfig(), verifier
        self.scans: list[Scan] = []
        self._estimates: dict[int, NDArray] = {}
        self._way = 0.0
        self._last: NDArray | None = None

    def reset(self) -> None:
        """Forget all scans: the clock jumped back, or the map began anew."""
        self.scans.clear()
        self._estimates.clear()
        self._way, self._last = 0.0, None

    def follow(self, stamps_ns: NDArray[np.int64], poses: NDArray) -> None:
        """Take over a back-end's estimate of where the robot was; without it odometry serves.

        Args:
            stamps_ns: (N,) ascending.
            poses: (N, 7) T_map_base.
        """
        if not len(self.scans) or not len(stamps_ns):
            return
        seen = np.array([scan.stamp_ns for scan in self.scans])
        nearest = np.clip(np.searchsorted(stamps_ns, seen), 1, max(1, len(stamps_ns) - 1))
        nearest -= (seen - stamps_ns[nearest - 1] < stamps_ns[np.minimum(nearest, len(stamps_ns) - 1)] - seen)
        corrections: dict[int, NDArray] = {}
        for scan, k in zip(self.scans, np.clip(nearest, 0, len(stamps_ns) - 1).tolist()):
            if k not in corrections:
                corrections[k] = compose(poses[k], inverse(self._odometry_at(int(stamps_ns[k]), seen)))
            self._estimates[scan.id] = compose(corrections[k], scan.T_odom_base)

    def _odometry_at(self, stamp_ns: int, seen: NDArray) -> NDArray:
        """T_odom_base between the kept scans, which are near enough to each other."""
        k = int(np.clip(np.searchsorted(seen, stamp_ns), 1, max(1, len(seen) - 1)))
        if len(seen) == 1:
            return self.scans[0].T_odom_base
        share = np.clip((stamp_ns - seen[k - 1]) / (seen[k] - seen[k - 1]), 0.0, 1.0)
        return interpolate(self.scans[k - 1].T_odom_base, self.scans[k].T_odom_base, float(share))

    def add(self, stamp_ns: int, T_odom_base: NDArray, points: NDArray, *, planar: bool) -> list[Candidate]:
        """Look whether a scan closes loops, and keep it, if the robot has moved since the last one.

        Args:
            points: (N, 3) in the base frame; not finite ones are left out.
            planar: they are those of a lidar that sees one plane.
        """
        config = self.config
        if self._last is not None:
            step = compose(inverse(self._last), T_odom_base)
            way, turn = np.linalg.norm(step[:3]), 2 * np.arctan2(np.linalg.norm(step[3:6]), abs(step[6]))
            if way < config.distance and turn < config.angle:
                return []
            self._way += float(way)
        cloud = self._thinned(points, planar)
        if len(cloud) < 50:
            return []
        self._last = np.array(T_odom_base, float)
        descriptor = describe(cloud.numpy(), config.max_range)
        scan = Scan(len(self.scans), stamp_ns, self._last, self._way, cloud, descriptor, descriptor.mean(1))
        found = [self._verify(earlier, scan, guess, planar) for earlier, guess in self._candidates(scan)]
        self.scans.append(scan)
        return found

    def _thinned(self, points: NDArray, planar: bool) -> torch.Tensor:
        points = np.asarray(points, float)
        reach = np.linalg.norm(points, axis=1)
        near = torch.from_numpy(points[np.isfinite(reach) & (reach < self.config.max_range) & (reach > 1e-3)])
        if len(near) == 0:
            return near
        near = voxel_filter(near, [self.config.voxel] * 3)
        if len(near) > self.config.max_points:
            near = near[torch.linspace(0, len(near) - 1, self.config.max_points).long()]
        if not planar:
            return near
        # Walls, so that there are surfaces to have normals.
        up = torch.tensor([0.0, 0.0, 1.5 * self.config.voxel], dtype=near.dtype)
        return torch.cat([near - up, near, near + up])

    def _estimate(self, scan: Scan) -> NDArray:
        """T_map_base of a kept scan, or of a new one by the correction of the last one that has an estimate."""
        if scan.id in self._estimates:
            return self._estimates[scan.id]
        if not self._estimates:
            return scan.T_odom_base
        known = max(k for k in self._estimates)
        return compose(compose(self._estimates[known], inverse(self.scans[known].T_odom_base)), scan.T_odom_base)

    def _candidates(self, scan: Scan) -> list[tuple[Scan, NDArray]]:
        """Earlier scans with the guess of T_earlier_later, the most alike first."""
        config, here = self.config, self._estimate(scan)
        found = []
        for earlier in self.scans:
            way = scan.way - earlier.way
            if way < config.min_way:
                break           # later ones are nearer yet
            guess = compose(inverse(self._estimate(earlier)), here)
            if np.linalg.norm(guess[:3]) > config.search_radius + config.drift * way:
                continue
            difference = float(np.abs(earlier.ring_key - scan.ring_key).sum()
                               / max(1e-9, (earlier.ring_key + scan.ring_key).sum()))
            if difference <= config.descriptor_limit:
                found.append((difference, earlier.id, guess))
        found.sort(key=lambda entry: entry[:2])
        return [(self.scans[number], guess) for _, number, guess in found[:config.max_candidates]]

    def _verify(self, earlier: Scan, later: Scan, guess: NDArray, planar: bool) -> Candidate:
        yaw = best_turn(earlier.descriptor, later.descriptor)
        turned = np.array([*guess[:3], 0, 0, np.sin(yaw / 2), np.cos(yaw / 2)])
        config = self.config
        results = []
        for start in (guess, turned):
            init = SE3(torch.from_numpy(start))
            # Widely first: the guess may be off by metres; then only what truly matches.
            for reach in (4 * config.max_distance, config.max_distance):
                result = register(later.points, earlier.points, method='plane', init=init, kernel=Huber(config.voxel),
                                  max_distance=reach, iterations=20, tolerance=1e-4)
                init = result.T_target_source
            results.append(result)
        best, other = sorted(results, key=lambda result: -result.matched / (1e-3 + result.rmse))
        T = best.T_target_source.tensor().numpy()
        overlap = best.matched / len(later.points)
        allowed = 1 if planar else 0
        moved = float(np.linalg.norm(T[:3] - guess[:3]))
        radius = config.search_radius + config.drift * (later.way - earlier.way)
        apart = float(np.linalg.norm(other.T_target_source.tensor().numpy()[:3] - T[:3]))
        features = loop_features(overlap, float(best.rmse), other.matched / len(later.points), moved / radius, apart,
                                 max(0, len(best.degenerate) - allowed))
        reason, weight = '', 1.0
        if overlap < config.min_overlap:
            reason = f'only {100 * overlap:.0f} % of the points overlap'
        elif best.rmse > config.max_rmse:
            reason = f'the scans differ by {best.rmse:.2f} m'
        elif len(best.degenerate) > allowed:
            reason = f'the scans leave {len(best.degenerate)} directions free'
        elif moved > radius:
            reason = f'it would move the robot by {moved:.1f} m, more than its uncertainty'
        elif self.verifier is not None and (weight := self.verifier(features)) < config.min_weight:
            reason = f'the verifier gives it the weight {weight:.2f}'
        if reason:
            return Candidate(earlier, later, T, np.zeros((6, 6)), reason, features)
        return Candidate(earlier, later, T, weight * self._information(T, best), '', features)

    def _information(self, T: NDArray, result) -> NDArray:
        """ICP's covariance, of Exp(d) T, as information of T Exp(d'), which perturbs in the later scan's axes."""
        covariance = result.covariance + torch.diag(torch.tensor(np.repeat(self.config.sigma, 3) ** 2.0))
        free = result.degenerate
        covariance = covariance + FREE * free.mT @ free
        adjoint = adjoint_matrix(se3.inv(torch.from_numpy(T)))
        return torch.linalg.inv(adjoint @ covariance @ adjoint.mT).numpy()


def adjoint_matrix(T: torch.Tensor) -> torch.Tensor:
    """(6, 6) Ad(T) of [ρ, φ]: T Exp(d) = Exp(Ad(T) d) T."""
    R = so3.matrix(T[3:])
    out = torch.zeros(6, 6, dtype=T.dtype)
    out[:3, :3] = out[3:, 3:] = R
    out[:3, 3:] = so3.hat(T[:3]) @ R
    return out


def describe(points: NDArray, max_range: float) -> NDArray[np.float64]:
    """(RINGS, SECTORS) share of the cloud in each cell of a polar grid about the vertical."""
    radius = np.hypot(points[:, 0], points[:, 1])
    ring = np.minimum((radius / max_range * RINGS).astype(int), RINGS - 1)
    sector = ((np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    grid = np.zeros((RINGS, SECTORS))
    np.add.at(grid, (ring, sector), 1.0)
    return grid / len(points)


def best_turn(earlier: NDArray, later: NDArray) -> float:
    """Heading of the later scan in the earlier one, rad: where the circular correlation of descriptors is largest."""
    spectra = np.fft.rfft(earlier, axis=1) * np.conj(np.fft.rfft(later, axis=1))
    correlation = np.fft.irfft(spectra.sum(0), SECTORS)
    turn = int(correlation.argmax()) * 2 * np.pi / SECTORS
    return float((turn + np.pi) % (2 * np.pi) - np.pi)
