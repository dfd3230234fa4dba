"""Replay without any middleware: the estimator is driven directly, in the order of arrival.

One thread, no clock: two runs give the same bytes.
"""
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pypose_core.online import ImuSmoother
from pypose_ros.nodes.imu_preintegration_params import ImuPreintegrationParams, smoother_config

from .errors import BagError
from .estimate import Estimate
from .replay_input import ReplayInput

_CHUNK = 2000       # events between two signs of progress


@dataclass(frozen=True)
class OfflineTiming:
    """How long it took, on this machine: never part of the results, which must not vary."""

    wall: float
    """Seconds for the whole replay."""
    call: NDArray[np.float64]
    """(N,) seconds of each `add_imu`."""


def replay_offline(source: ReplayInput, params: ImuPreintegrationParams, *,
                   progress: Callable[[int], None] = lambda count: None) -> tuple[Estimate, OfflineTiming]:
    """Feed everything to an `ImuSmoother` and solve after each measurement.

    Args:
        progress: called now and then with the number of events since the last call.
    """
    if params.time_budget > 0:
        raise BagError('time_budget must be 0 in an offline replay: a budget makes results depend on the '
                       'machine')
    smoother = ImuSmoother(smoother_config(params), T_base_imu=source.T_base_imu)
    if params.model != 'none':
        from pypose_ros.nodes.imu_preintegration_model import load_model
        try:
            refused = smoother.use_corrector(load_model(params.model).stream)
        except ValueError as error:
            refused = str(error)
        if refused:
            raise BagError(f'model: {refused}')
    imu, corrections = source.imu, source.corrections
    count = len(imu.stamps_ns)
    columns = [np.empty((count, width)) for width in (7, 3, 3, 36, 36, 6, 36)]
    stamps, calls = np.empty(count, np.int64), np.empty(count)
    events: list[str] = []
    imu_stamps = imu.stamps_ns.tolist()
    orientations = imu.orientation if imu.has_orientation else [None] * count
    add = [*(smoother.add_pose if c.kind == 'pose' else smoother.add_odometry for c in corrections)]
    out, last_ns, done = 0, 0, 0
    begin = time.perf_counter()
    for done, (_, kind, k) in enumerate(source.schedule(), start=1):
        if kind:
            c = corrections[kind - 1]
            add[kind - 1](int(c.stamps_ns[k]), c.poses[k], c.covariances[k])
        else:
            before = time.perf_counter()
            verdict = smoother.add_imu(imu_stamps[k], imu.samples[k], orientations[k])
            calls[k] = time.perf_counter() - before
            output = smoother.output
            if verdict.accepted and output is not None:
                stamps[out] = last_ns = output.stamp_ns
                for column, value in zip(columns, (
                        output.T_odom_base, output.velocity_base, output.angular_velocity_base,
                        output.pose_covariance, output.twist_covariance, output.bias,
                        output.bias_covariance)):
                    column[out] = value.reshape(-1)
                out += 1
        smoother.solve()
        events += [f'{severity}: {sentence}' for severity, sentence in smoother.take_events()]
        if done % _CHUNK == 0:
            progress(_CHUNK)
    progress(done % _CHUNK)
    wall = time.perf_counter() - begin
    if out == 0:
        raise BagError(f'{source.bag}: the estimator gave no output: {smoother.status}'
                       + _hint(source, params, last_ns))
    poses, velocity, angular, pose_covariance, twist_covariance, bias, bias_covariance = (
        column[:out] for column in columns)
    estimate = Estimate(
        stamps[:out], poses, velocity, angular, pose_covariance.reshape(-1, 6, 6),
        twist_covariance.reshape(-1, 6, 6), stamps[:out], bias, bias_covariance.reshape(-1, 6, 6),
        dict(sorted(smoother.counters.items())), events)
    return estimate, OfflineTiming(wall, calls)


def _hint(source: ReplayInput, params: ImuPreintegrationParams, last_ns: int) -> str:
    if params.init.mode == 'pose' and not any(c.kind == 'pose' for c in source.corrections):
        return ('; init.mode is pose, and there is no pose topic: give --corrections-from, --pose-topic or '
                '-p init.mode:=static')
    if params.init.mode == 'static':
        return '; the recording has no second at rest: try -p init.mode:=zero or orientation'
    return ''
