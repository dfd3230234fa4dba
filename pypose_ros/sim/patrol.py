"""A robot that patrols a hilly site: laps over the same ways, odometry that drifts, loops that may be wrong."""
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pypose_core.lie import se3, so3


@dataclass(frozen=True)
class PatrolConfig:
    """Sizes in m, s and rad; sigmas are of one odometry step and of one loop closure, per axis."""

    laps: int = 3
    steps_per_lap: int = 400
    period: float = 0.1
    size: float = 20.0
    hills: float = 2.0
    odometry_sigma: tuple[float, float] = (0.004, 0.0008)
    loop_sigma: tuple[float, float] = (0.05, 0.01)
    loop_every: int = 20
    """Steps between looks for a loop."""
    outliers: float = 0.0
    """Share of loops that name a wrong place."""
    seed: int = 0


@dataclass(frozen=True)
class Patrol:
    """What happened and what was measured; N steps, L loops."""

    stamps_ns: NDArray[np.int64]
    truth: NDArray[np.float64]
    """(N, 7) T_map_base."""
    odometry: NDArray[np.float64]
    """(N, 7) T_odom_base, drifting from the truth."""
    loop_steps: NDArray[np.int64]
    """(L, 2) earlier and later step."""
    loops: NDArray[np.float64]
    """(L, 7) measured T_earlier_later."""
    loop_information: NDArray[np.float64]
    """(6, 6)."""
    wrong: NDArray[np.bool_]
    """(L,) which loops name a wrong place."""


def patrol(config: PatrolConfig | None = None) -> Patrol:
    """Drive; the same configuration gives the same numbers."""
    config = config or PatrolConfig()
    generator = torch.Generator().manual_seed(config.seed)
    truth = _way(config)
    steps = se3.mul(se3.inv(truth[:-1]), truth[1:])
    sigma = torch.tensor(np.repeat(config.odometry_sigma, 3))
    noise = torch.randn(len(steps), 6, dtype=torch.float64, generator=generator) * sigma
    measured = se3.mul(steps, se3.exp(noise))
    odometry = truth.clone()
    for k in range(len(steps)):
        odometry[k + 1] = se3.mul(odometry[k], measured[k])
        odometry[k + 1, 3:] /= odometry[k + 1, 3:].norm()
    ends, wrong = _loops(config, len(truth), generator)
    seen = torch.from_numpy(ends).clone()
    elsewhere = torch.randint(0, len(truth), (len(ends),), generator=generator)
    seen[torch.from_numpy(wrong), 0] = elsewhere[torch.from_numpy(wrong)]
    sigma = torch.tensor(np.repeat(config.loop_sigma, 3))
    noise = torch.randn(len(ends), 6, dtype=torch.float64, generator=generator) * sigma
    loops = se3.mul(se3.mul(se3.inv(truth[seen[:, 0]]), truth[seen[:, 1]]), se3.exp(noise))
    stamps = (1_700_000_000 * 10 ** 9 + np.arange(len(truth)) * round(config.period * 1e9)).astype(np.int64)
    return Patrol(stamps, truth.numpy(), odometry.numpy(), ends, loops.numpy(), torch.diag(sigma ** -2).numpy(), wrong)


def _way(config: PatrolConfig) -> torch.Tensor:
    """(N, 7) a figure of eight over hills, ahead along x, each lap a little beside the last; it begins at identity."""
    count = config.laps * config.steps_per_lap
    s = torch.arange(count + 1, dtype=torch.float64) * (2 * torch.pi / config.steps_per_lap)
    beside = 0.3 * torch.sin(0.37 * s)
    position = torch.stack([config.size * torch.sin(s), 0.5 * config.size * torch.sin(2 * s) + beside,
                            config.hills * torch.sin(s + 0.5) * torch.cos(0.5 * s)], 1)
    step = position.diff(dim=0)
    heading, slope = torch.atan2(step[:, 1], step[:, 0]), torch.atan2(step[:, 2], step[:, :2].norm(dim=1))
    zero = torch.zeros_like(heading)
    q = so3.mul(so3.exp(torch.stack([zero, zero, heading], 1)), so3.exp(torch.stack([zero, -slope, zero], 1)))
    poses = torch.cat([position[:-1], q], 1)
    return se3.mul(se3.inv(poses[:1]), poses)


def _loops(config: PatrolConfig, count: int, generator: torch.Generator) -> tuple[NDArray, NDArray]:
    """Steps (L, 2) a lap or more apart at the same place of the way, and which will name a wrong one."""
    later = np.arange(config.steps_per_lap, count, config.loop_every)
    laps_back = 1 + (torch.rand(len(later), generator=generator).numpy() * (later // config.steps_per_lap)).astype(int)
    earlier = later - laps_back * config.steps_per_lap
    wrong = torch.rand(len(later), generator=generator).numpy() < config.outliers
    return np.stack([earlier, later], 1), wrong
