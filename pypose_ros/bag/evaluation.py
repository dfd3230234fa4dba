"""The numbers of a replay: errors against the truth, consistency, rates and drops."""
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pypose_core.metric import Nees, Trajectory, associate_interpolated, ate, nees, relative_error, rmse

from .estimate import Estimate
from .ground_truth import GroundTruth
from .replay_input import ReplayInput

ALIGNED = ('none', 'yaw', 'se3')
NOTICEABLE_WITHHELD = 0.01


@dataclass(frozen=True)
class ErrorSeries:
    """Errors over the M outputs that the truth covers, for plots; and the matched trajectories.

    position (M, 3) and rotation (M, 3) rad along odom's fixed axes, with their standard deviations;
    velocity (M, 3) in base_link, likewise, or None.
    """

    estimate: Trajectory
    truth: Trajectory
    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    pose_sigma: NDArray[np.float64]
    velocity: NDArray[np.float64] | None
    velocity_sigma: NDArray[np.float64] | None
    pose_nees: Nees | None = None
    velocity_nees: Nees | None = None


@dataclass(frozen=True)
class Evaluation:
    """`metrics` is what metrics.json holds; `errors` is None without truth."""

    metrics: dict[str, Any]
    errors: ErrorSeries | None = None
    rows: list[tuple[str, str]] = field(default_factory=list)


def evaluate(source: ReplayInput, estimate: Estimate, *, mode: str) -> Evaluation:
    """Compare every output with the truth at its stamp (interpolated between the truth's)."""
    span = float(np.ptp(estimate.stamps_ns)) * 1e-9
    metrics: dict[str, Any] = {
        'bag': source.bag.name,
        'mode': mode,
        'imu': {'topic': source.imu.topic, 'samples': len(source.imu.stamps_ns),
                'rate_hz': _rate(source.imu.stamps_ns)},
        'corrections': [{'source': c.source, 'kind': c.kind, 'count': len(c), 'rate_hz': _rate(c.stamps_ns)}
                        for c in source.corrections],
        'output': {'samples': len(estimate), 'rate_hz': _rate(estimate.stamps_ns), 'duration_s': span},
        'measurements': estimate.counters,
        'events': estimate.events,
    }
    errors = None
    if source.truth is not None:
        errors = _errors(estimate, source.truth)
        if len(errors.estimate) < 3:
            errors = None
            metrics['ground_truth'] = {'source': source.truth.source, 'compared': 0}
    if errors is not None and source.truth is not None:
        metrics |= _against_truth(estimate, source.truth, errors)
    return Evaluation(metrics, errors)


def _rate(stamps_ns: NDArray) -> float | None:
    steps = np.diff(stamps_ns)
    return round(1e9 / float(np.median(steps)), 6) if len(steps) and np.median(steps) > 0 else None


def _errors(estimate: Estimate, truth: GroundTruth) -> ErrorSeries:
    a, b = associate_interpolated(estimate.trajectory, truth.trajectory)
    # Each output that was compared, in the arrays of the estimate.
    rows = np.searchsorted(estimate.stamps_ns, a.stamps_ns) if _sorted(estimate.stamps_ns) else np.array(
        [np.flatnonzero(estimate.stamps_ns == stamp)[0] for stamp in a.stamps_ns], dtype=int)
    position = a.positions - b.positions
    rotation = (a.rotations * b.rotations.inv()).as_rotvec() if len(a) else np.empty((0, 3))
    covariance = estimate.pose_covariances[rows]
    velocity = velocity_sigma = velocity_nees = None
    v_world = truth.velocity_at(a.stamps_ns) if len(a) else None
    if v_world is not None:
        velocity = estimate.velocities[rows] - b.rotations.inv().apply(v_world)
        twist = estimate.twist_covariances[rows][:, :3, :3]
        velocity_sigma = _sigma(twist)
        velocity_nees = _nees(velocity, twist)
    return ErrorSeries(a, b, position, rotation, _sigma(covariance), velocity, velocity_sigma,
                       _nees(np.hstack([position, rotation]), covariance), velocity_nees)


def _against_truth(estimate: Estimate, truth: GroundTruth, errors: ErrorSeries) -> dict[str, Any]:
    a, b = errors.estimate, errors.truth
    result: dict[str, Any] = {'ground_truth': {
        'source': truth.source, 'compared': len(a), 'path_length_m': float(b.distances[-1])}}
    result['ate'] = {}
    for alignment in ALIGNED:
        found = ate(a, b, alignment=alignment)
        result['ate'][alignment] = {'translation_m': found.translation.as_dict(),
                                    'rotation_deg': found.rotation.as_dict()}
    if b.duration > 1:
        # Ten pairs a second are enough, and the pairs of every 5 ms would only repeat them.
        stride = max(round(len(a) / (10 * b.duration)), 1)
        drift = relative_error(a[::stride], b[::stride], delta=1.0, unit='seconds')
        result['rpe_1s'] = {'translation_m': drift.translation.as_dict(),
                            'rotation_deg': drift.rotation.as_dict()}
    if errors.velocity is not None and (v_true := truth.velocity_at(a.stamps_ns)) is not None:
        v_odom = a.rotations.apply(errors.velocity + b.rotations.inv().apply(v_true))
        result['velocity'] = {'rmse_m_s': rmse(v_odom, v_true)}
    bias = truth.bias_at(estimate.bias_stamps_ns) if len(estimate.bias_stamps_ns) else None
    if bias is not None and truth.bias_stamps_ns is not None:
        covered = (estimate.bias_stamps_ns >= truth.bias_stamps_ns[0]) & (
            estimate.bias_stamps_ns <= truth.bias_stamps_ns[-1])
        if covered.any():
            difference = (estimate.biases - bias)[covered]
            zero = np.zeros_like(difference[:, :3])
            result['bias'] = {'gyroscope_rmse_rad_s': rmse(difference[:, :3], zero),
                              'accelerometer_rmse_m_s2': rmse(difference[:, 3:], zero)}
    result['nees'] = {name: _nees_dict(found) for name, found in (
        ('pose', errors.pose_nees), ('velocity', errors.velocity_nees)) if found is not None}
    return result


def _nees_dict(found: Nees) -> dict[str, Any]:
    return {'mean': found.mean, 'dof': found.dof, 'band_95': list(found.band), 'consistent': found.consistent,
            'independent_samples': found.independent, 'share_within_sample_band': found.inside}


def _nees(errors: NDArray, covariances: NDArray) -> Nees | None:
    if len(errors) < 4 or not np.isfinite(covariances).all():
        return None
    if (np.linalg.eigvalsh(covariances)[:, 0] <= 0).any():
        return None
    return nees(errors, covariances)


def _sigma(covariances: NDArray) -> NDArray:
    return np.sqrt(np.maximum(np.einsum('nii->ni', covariances), 0))


def _sorted(stamps_ns: NDArray) -> bool:
    return bool((np.diff(stamps_ns) > 0).all())


def table(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, value) rows of what a person wants to see, as the terminal and the report print them."""
    rows = [('bag', f'{metrics["bag"]}, {metrics["mode"]}'),
            ('IMU', f'{metrics["imu"]["samples"]} samples at {metrics["imu"]["rate_hz"]:.1f} Hz '
                    f'({metrics["imu"]["topic"]})')]
    for c in metrics['corrections']:
        rate = f' at {c["rate_hz"]:.1f} Hz' if c['rate_hz'] else ''
        rows.append((f'corrections ({c["kind"]})', f'{c["count"]}{rate} ({c["source"]})'))
    output = metrics['output']
    rows.append(('output', f'{output["samples"]} poses'
                 + (f' at {output["rate_hz"]:.1f} Hz' if output['rate_hz'] else '')
                 + f', {output["duration_s"]:.1f} s'))
    names = {'none': 'ATE', 'yaw': 'ATE, aligned in yaw', 'se3': 'ATE, aligned in SE(3)'}
    for alignment, found in metrics.get('ate', {}).items():
        rows.append((names[alignment], _error(found)))
    if 'rpe_1s' in metrics:
        rows.append(('RPE over 1 s', _error(metrics['rpe_1s'])))
    if 'velocity' in metrics:
        rows.append(('velocity error', f'{metrics["velocity"]["rmse_m_s"]:.4f} m/s'))
    if 'bias' in metrics:
        rows.append(('bias error', f'{metrics["bias"]["gyroscope_rmse_rad_s"]:.2e} rad/s, '
                                   f'{metrics["bias"]["accelerometer_rmse_m_s2"]:.3f} m/s²'))
    for name, found in metrics.get('nees', {}).items():
        low, high = found['band_95']
        rows.append((f'NEES of the {name}', f'{found["mean"]:.2f} of {found["dof"]}, 95 % band {low:.2f} to '
                     f'{high:.2f}: {"consistent" if found["consistent"] else "NOT consistent"}'))
    live = metrics.get('live')
    if live:
        latency = live['latency_ms']
        rows.append(('latency p50 / p99', f'{latency["p50"]:.2f} / {latency["p99"]:.2f} ms '
                     f'(at the subscriber {latency["received_p50"]:.2f} / {latency["received_p99"]:.2f} ms)'))
        rows.append(('CPU of the node', f'{100 * live["node_cpu_share"]:.1f} % of a core, '
                     f'{live["node_cpu_us_per_sample"]:.0f} µs per sample'))
        if live['cpu_withheld_share'] >= NOTICEABLE_WITHHELD:
            rows.append(('CPU withheld', f'{100 * live["cpu_withheld_share"]:.0f} % of the machine by its host: '
                         'the longest latencies are not the node\'s'))
        rows.append(('lost samples', f'{live["lost"]} of {live["expected"]}'))
    rejected = {name: count for name, count in metrics['measurements'].items()
                if name not in ('accepted', 'queued')}
    drops = ', '.join(f'{name} {count}' for name, count in rejected.items()) or 'none'
    rows.append(('drops', drops))
    return rows


def _error(found: dict) -> str:
    return f'{found["translation_m"]["rmse"]:.4f} m, {found["rotation_deg"]["rmse"]:.3f}°'
