"""The keyframes of the fixed-lag window: inserting, solving as a job, and letting go of the oldest."""
import bisect
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pypose_core.online.config import ImuSmootherConfig
from pypose_core.online.correction import Correction
from pypose_core.online.imu_buffer import ImuBuffer
from pypose_core.online.packed import BIAS, ROW_SIZE
from pypose_core.online.propagation import integrate, predict
from pypose_core.online.window import DOF, KERNELS, WindowProblem, WindowSolution, marginalize, solve

REINTEGRATE_BIAS = np.repeat([1e-3, 1e-2], 3)
"""rad/s and m/s^2. A bias that moved further than this since a row was integrated is integrated anew;
below, the first-order correction of the row errs by less than 1e-6 of the rotation."""


@dataclass
class Keyframe:
    """One state of the window and the factors that end at it."""

    id: int
    stamp_ns: int
    state: np.ndarray
    """(16,) NavState."""
    row: np.ndarray | None
    """(296,) preintegrated samples since the keyframe before; None at the very first. At the first of the
    window it is part of the prior, and kept for those who publish it."""
    samples: int = 0
    """How many intervals between IMU samples went into `row`."""
    poses: list[Correction] = field(default_factory=list)
    relatives: list[tuple[int, Correction]] = field(default_factory=list)
    """(id of the earlier keyframe, measurement)"""
    rate: np.ndarray | None = None
    """(3,) measured angular rate, rad/s, where the body's velocity is constrained"""


@dataclass(frozen=True)
class Prior:
    """What marginalized keyframes say of the first ones that remain."""

    states: torch.Tensor
    information: torch.Tensor
    gradient: torch.Tensor


class SolveJob:
    """One solve, cut out of the window so that a worker thread can run it while samples keep coming."""

    def __init__(self, problem: WindowProblem, ids: list[int], marginalized: int):
        self.problem = problem
        self.ids = ids
        self.marginalized = marginalized
        self.solution: WindowSolution | None = None
        self.prior: Prior | None = None
        self.duration = 0.0
        """s of wall time."""
        self.done = False

    def run(self) -> None:
        """Solve, then marginalize what no longer fits; all heavy work is native and lets go of the GIL."""
        start = time.perf_counter()
        try:
            self.solution = solve(self.problem)
            if self.solution.status.success:
                problem = replace(self.problem, states=self.solution.states)
                for _ in range(self.marginalized):
                    self.prior = Prior(*marginalize(problem))
                    problem = _without_first(problem, self.prior)
        finally:
            self.duration = time.perf_counter() - start
            self.done = True


def _without_first(problem: WindowProblem, prior: Prior) -> WindowProblem:
    on_pose, on_relative = problem.pose_index > 0, problem.relative_index[:, 0] > 0
    on_velocity = problem.velocity_index > 0
    return replace(
        problem, states=problem.states[1:], imu=problem.imu[1:],
        pose_index=problem.pose_index[on_pose] - 1, pose=problem.pose[on_pose],
        pose_information=problem.pose_information[on_pose],
        relative_index=problem.relative_index[on_relative] - 1, relative=problem.relative[on_relative],
        relative_information=problem.relative_information[on_relative],
        velocity_index=problem.velocity_index[on_velocity] - 1, velocity_rate=problem.velocity_rate[on_velocity],
        velocity=problem.velocity[on_velocity], velocity_information=problem.velocity_information[on_velocity],
        prior_states=prior.states, prior_information=prior.information, prior_gradient=prior.gradient)


def _linked(keyframe: Keyframe) -> np.ndarray:
    """The row of a keyframe that has one before it."""
    assert keyframe.row is not None
    return keyframe.row


class FixedLagWindow:
    """Keyframes in time order, from the oldest that is not marginalized to the newest."""

    def __init__(self, config: ImuSmootherConfig, buffer: ImuBuffer, noise: torch.Tensor, T_imu_base: np.ndarray):
        self._config = config
        self._buffer = buffer
        self._noise = noise
        self._T_imu_base = torch.from_numpy(T_imu_base)
        sigma = np.array(config.body_velocity_sigma)
        self._velocity_information = np.diag(np.divide(1.0, sigma, out=np.zeros(3), where=sigma > 0))
        self.keyframes: list[Keyframe] = []
        self._next_id = 0

    def start(self, stamp_ns: int, state: np.ndarray, covariance: np.ndarray) -> None:
        """Begin with one keyframe and a prior on it: its NavState (16,) and covariance (15, 15)."""
        self.keyframes = [Keyframe(self._take_id(), stamp_ns, state.copy(), None)]
        # Through Cholesky, so that a covariance which is not positive definite fails here and by name.
        factor = np.linalg.inv(np.linalg.cholesky(covariance))
        self._prior = Prior(torch.from_numpy(state.copy())[None], torch.from_numpy(factor.T @ factor),
                            torch.zeros(DOF, dtype=torch.float64))

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    @property
    def first(self) -> Keyframe:
        return self.keyframes[0]

    @property
    def last(self) -> Keyframe:
        return self.keyframes[-1]

    def at(self, stamp_ns: int) -> Keyframe | None:
        """The keyframe of exactly this stamp."""
        index = bisect.bisect_left(self.keyframes, stamp_ns, key=lambda k: k.stamp_ns)
        found = self.keyframes[index] if index < len(self.keyframes) else None
        return found if found is not None and found.stamp_ns == stamp_ns else None

    def insert(self, stamp_ns: int) -> Keyframe:
        """The keyframe at a stamp from the first keyframe's on; a new one splits the IMU factor there."""
        existing = self.at(stamp_ns)
        if existing is not None:
            return existing
        index = bisect.bisect_left(self.keyframes, stamp_ns, key=lambda k: k.stamp_ns)
        before = self.keyframes[index - 1]
        row, samples = self._integrate(before.stamp_ns, stamp_ns, before.state[10:])
        state = predict(before.state, row, self._config.gravity)
        keyframe = Keyframe(self._take_id(), stamp_ns, state, row, samples)
        if self._velocity_information.any():
            keyframe.rate = self._buffer.value(stamp_ns)[:3]
        self.keyframes.insert(index, keyframe)
        if index + 1 < len(self.keyframes):
            after = self.keyframes[index + 1]
            after.row, after.samples = self._integrate(stamp_ns, after.stamp_ns, keyframe.state[10:])
        return keyframe

    def _integrate(self, from_ns: int, to_ns: int, bias: np.ndarray) -> tuple[np.ndarray, int]:
        pieces = self._buffer.interval(from_ns, to_ns)
        return integrate(pieces, bias, self._noise), len(pieces)

    def add(self, correction: Correction) -> None:
        """Attach a correction to the keyframe at its stamp; a relative one whose earlier end is gone is
        only a keyframe."""
        keyframe = self.insert(correction.stamp_ns)
        if correction.since_ns is None:
            keyframe.poses.append(correction)
        elif correction.since_ns >= self.first.stamp_ns:
            keyframe.relatives.append((self.insert(correction.since_ns).id, correction))

    def job(self) -> SolveJob:
        """The present window as a job, whose result `apply` takes."""
        self._reintegrate()
        return SolveJob(self._problem(), [k.id for k in self.keyframes],
                        max(0, len(self.keyframes) - self._config.window_size))

    def move_biases(self, change: np.ndarray) -> None:
        """Count all biases from elsewhere by (6,), as the buffer's samples are. No job may run."""
        for keyframe in self.keyframes:
            keyframe.state[10:] += change
            if keyframe.row is not None:
                keyframe.row[BIAS] += change
            if keyframe.rate is not None:
                keyframe.rate = keyframe.rate + change[:3]
        states = self._prior.states.clone()
        states[:, 10:] += torch.from_numpy(change)
        self._prior = replace(self._prior, states=states)

    def _reintegrate(self) -> None:
        for before, keyframe in zip(self.keyframes, self.keyframes[1:]):
            bias = before.state[10:]
            if (np.abs(bias - _linked(keyframe)[BIAS]) > REINTEGRATE_BIAS).any():
                keyframe.row, keyframe.samples = self._integrate(before.stamp_ns, keyframe.stamp_ns, bias)

    def _problem(self) -> WindowProblem:
        config, index = self._config, {k.id: i for i, k in enumerate(self.keyframes)}
        poses = [(index[k.id], c) for k in self.keyframes for c in k.poses]
        relatives = [(index[earlier], index[k.id], c) for k in self.keyframes for earlier, c in k.relatives
                     if earlier in index]
        swinging = [(i, k.rate) for i, k in enumerate(self.keyframes) if k.rate is not None]
        return WindowProblem(
            states=_stack([k.state for k in self.keyframes], 16),
            imu=_stack([_linked(k) for k in self.keyframes[1:]], ROW_SIZE),
            pose_index=torch.tensor([i for i, _ in poses], dtype=torch.int64),
            pose=_stack([c.pose for _, c in poses], 7),
            pose_information=_stack([c.sqrt_information for _, c in poses], 6, 6),
            relative_index=torch.tensor([(i, j) for i, j, _ in relatives], dtype=torch.int64).reshape(-1, 2),
            relative=_stack([c.pose for *_, c in relatives], 7),
            relative_information=_stack([c.sqrt_information for *_, c in relatives], 6, 6),
            velocity_index=torch.tensor([i for i, _ in swinging], dtype=torch.int64),
            velocity_rate=_stack([rate for _, rate in swinging], 3),
            velocity=torch.zeros(len(swinging), 3, dtype=torch.float64),
            velocity_information=_stack([self._velocity_information] * len(swinging), 3, 3),
            T_imu_base=self._T_imu_base,
            prior_states=self._prior.states, prior_information=self._prior.information,
            prior_gradient=self._prior.gradient, gravity=config.gravity,
            kernel=KERNELS[config.robust_kernel], kernel_width=config.robust_width,
            max_iterations=config.max_iterations, time_budget=config.time_budget)

    def apply(self, job: SolveJob) -> list[Keyframe]:
        """Take a finished, successful job's states; returns the keyframes that were marginalized."""
        assert job.solution is not None         # it is finished
        for keyframe, state in zip(self.keyframes, job.solution.states.numpy()):
            keyframe.state = state.copy()
        if job.prior is None:
            return []
        self._prior = job.prior
        gone, self.keyframes = self.keyframes[:job.marginalized], self.keyframes[job.marginalized:]
        return gone


def _stack(arrays: list[np.ndarray], *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.array(arrays, dtype=np.float64).reshape(-1, *shape))
