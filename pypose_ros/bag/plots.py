"""The pictures of a report. Drawn without a display, and to the same bytes for the same data."""
import io

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import chi2

from .estimate import Estimate
from .evaluation import ErrorSeries, Evaluation
from .replay_input import ReplayInput

ESTIMATE, TRUTH, CORRECTION, BAND = '#0b63ce', '#222222', '#e07b00', '#9ec5f0'
AXES = ('#c8372d', '#2a8a3c', '#3b5bdb')
POINTS = 3000       # a curve has no more: beyond that a picture only grows
STYLE = matplotlib.RcParams({
    'font.family': 'DejaVu Sans', 'font.size': 9, 'axes.titlesize': 10, 'axes.titleweight': 'bold',
    'axes.titlelocation': 'left', 'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True,
    'grid.color': '#e4e7ec', 'grid.linewidth': 0.6, 'axes.edgecolor': '#98a2b3', 'axes.axisbelow': True,
    'legend.frameon': False, 'legend.fontsize': 8, 'lines.linewidth': 1.1, 'xtick.color': '#475467',
    'ytick.color': '#475467', 'axes.labelcolor': '#475467', 'svg.hashsalt': 'pypose_ros',
    'figure.constrained_layout.use': True, 'savefig.dpi': 150,
})


def overview(source: ReplayInput, estimate: Estimate, evaluation: Evaluation, *, title: str) -> bytes:
    """One PNG with everything: the path from above, its height, and the errors."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(11.2, 6.4))
        grid = figure.add_gridspec(3, 2, width_ratios=(1.0, 1.15))
        figure.suptitle(title, fontsize=11, x=0.012, ha='left', fontweight='bold')
        draw_path(figure.add_subplot(grid[:2, 0]), source, estimate, evaluation)
        draw_height(figure.add_subplot(grid[2, 0]), source, estimate, evaluation)
        if evaluation.errors is not None:
            draw_position_error(figure.add_subplot(grid[0, 1]), source, evaluation.errors)
            draw_rotation_error(figure.add_subplot(grid[1, 1]), source, evaluation.errors)
        else:
            draw_sigma(figure.add_subplot(grid[0, 1]), source, estimate)
            draw_speed(figure.add_subplot(grid[1, 1]), source, estimate)
        draw_bias(figure.add_subplot(grid[2, 1]), source, estimate)
        return png(figure)


def panels(source: ReplayInput, estimate: Estimate, evaluation: Evaluation,
           latency_ms: tuple[NDArray, NDArray] | None = None) -> list[tuple[str, str]]:
    """(heading, SVG) of each picture of the HTML report."""
    drawings = [('Path', (6.4, 5.6), lambda axes: draw_path(axes, source, estimate, evaluation)),
                ('Height', (6.4, 2.7), lambda axes: draw_height(axes, source, estimate, evaluation)),
                ('Speed', (6.4, 2.7), lambda axes: draw_speed(axes, source, estimate))]
    errors = evaluation.errors
    if errors is not None:
        drawings += [('Position error', (6.4, 2.9), lambda axes: draw_position_error(axes, source, errors)),
                     ('Attitude error', (6.4, 2.9), lambda axes: draw_rotation_error(axes, source, errors))]
        if errors.velocity is not None:
            drawings.append(('Velocity error', (6.4, 2.9),
                             lambda axes: draw_velocity_error(axes, source, errors)))
        if errors.pose_nees is not None:
            drawings.append(('Consistency', (6.4, 2.9), lambda axes: draw_nees(axes, source, errors)))
    else:
        drawings.append(('Standard deviation', (6.4, 2.9), lambda axes: draw_sigma(axes, source, estimate)))
    drawings += [('Gyroscope bias', (6.4, 2.6), lambda axes: draw_bias(axes, source, estimate, first=0)),
                 ('Accelerometer bias', (6.4, 2.6), lambda axes: draw_bias(axes, source, estimate, first=3))]
    if latency_ms is not None:
        drawings.append(('Latency', (6.4, 2.9), lambda axes: draw_latency(axes, *latency_ms)))
    result = []
    for heading, size, draw in drawings:
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(figsize=size)
            draw(axes)
            result.append((heading, _svg(figure)))
    return result


def draw_path(axes: Axes, source: ReplayInput, estimate: Estimate, evaluation: Evaluation) -> None:
    """From above: truth, corrections, estimate."""
    absolute = [c for c in source.corrections if c.kind == 'pose']
    if absolute:
        dots = np.vstack([c.poses for c in absolute])
        axes.plot(*_thin(dots[:, :2]).T, '.', color=CORRECTION, ms=3, alpha=0.6, zorder=1,
                  label='corrections')
    if source.truth is not None:
        axes.plot(*_thin(source.truth.trajectory.positions[:, :2]).T, color=TRUTH, lw=2.0, alpha=0.85,
                  label='ground truth', zorder=2)
    axes.plot(*_thin(estimate.poses[:, :2]).T, color=ESTIMATE, lw=1.0, label='estimate', zorder=3)
    axes.plot(*estimate.poses[0, :2], 'o', color=ESTIMATE, ms=5, mec='white', zorder=4)
    axes.set(xlabel='x, m', ylabel='y, m', title='Path from above')
    axes.set_aspect('equal', adjustable='datalim')
    axes.legend(loc='best')


def draw_height(axes: Axes, source: ReplayInput, estimate: Estimate, evaluation: Evaluation) -> None:
    origin = _origin(source)
    if source.truth is not None:
        t, z = source.truth.trajectory.seconds(origin), source.truth.trajectory.positions[:, 2:]
        axes.plot(*_thin(np.hstack([t[:, None], z])).T, color=TRUTH, lw=2.0, alpha=0.85)
    seconds = (estimate.stamps_ns - origin) * 1e-9
    axes.plot(*_thin(np.stack([seconds, estimate.poses[:, 2]], axis=1)).T, color=ESTIMATE)
    axes.set(xlabel='time, s', ylabel='z, m', title='Height')


def draw_position_error(axes: Axes, source: ReplayInput, errors: ErrorSeries) -> None:
    sigma = 100 * errors.pose_sigma[:, :3]
    _draw_errors(axes, errors.estimate.seconds(_origin(source)), 100 * errors.position, sigma)
    axes.set(ylabel='cm', title='Position error (shaded: 3σ as the estimator claims it)')


def draw_rotation_error(axes: Axes, source: ReplayInput, errors: ErrorSeries) -> None:
    _draw_errors(axes, errors.estimate.seconds(_origin(source)), np.degrees(errors.rotation),
                 np.degrees(errors.pose_sigma[:, 3:]))
    axes.set(ylabel='degrees', title='Attitude error (shaded: 3σ)')


def draw_velocity_error(axes: Axes, source: ReplayInput, errors: ErrorSeries) -> None:
    if errors.velocity is None or errors.velocity_sigma is None:
        return      # the truth has none
    _draw_errors(axes, errors.estimate.seconds(_origin(source)), errors.velocity, errors.velocity_sigma)
    axes.set(xlabel='time, s', ylabel='m/s', title='Velocity error in base_link (shaded: 3σ)')


def draw_nees(axes: Axes, source: ReplayInput, errors: ErrorSeries) -> None:
    t = errors.estimate.seconds(_origin(source))
    for found, colour, name in ((errors.pose_nees, ESTIMATE, 'pose'),
                                (errors.velocity_nees, CORRECTION, 'velocity')):
        if found is not None:
            axes.plot(*_thin(np.stack([t, found.values], axis=1)).T, color=colour, lw=0.8, alpha=0.9,
                      label=f'{name}: mean {found.mean:.2f} of {found.dof}')
            axes.axhline(chi2.ppf(0.975, found.dof), color=colour, ls='--', lw=0.9)
    axes.set_yscale('log')
    axes.set_ylim(bottom=0.05)
    axes.set(xlabel='time, s', title='NEES; dashed: 97.5 % of a consistent one lies below')
    axes.legend(loc='lower right', ncols=2)


def draw_sigma(axes: Axes, source: ReplayInput, estimate: Estimate) -> None:
    sigma = np.sqrt(np.maximum(np.einsum('nii->ni', estimate.pose_covariances), 0))
    t = (estimate.stamps_ns - _origin(source)) * 1e-9
    for k, name in enumerate('xyz'):
        axes.plot(*_thin(np.stack([t, sigma[:, k]], axis=1)).T, color=AXES[k], label=name)
    axes.set(ylabel='m', title='Standard deviation of the position, as the estimator claims it')
    axes.legend(loc='upper right', ncols=3)


def draw_speed(axes: Axes, source: ReplayInput, estimate: Estimate) -> None:
    t = (estimate.stamps_ns - _origin(source)) * 1e-9
    speed = np.linalg.norm(estimate.velocities, axis=1)
    axes.plot(*_thin(np.stack([t, speed], axis=1)).T, color=ESTIMATE)
    axes.set(xlabel='time, s', ylabel='m/s', title='Speed')


def draw_bias(axes: Axes, source: ReplayInput, estimate: Estimate, *, first: int = 3) -> None:
    """Three axes of a bias and, dashed, their truth; first = 0 is the gyroscope's, 3 the accelerometer's."""
    origin, truth = _origin(source), source.truth
    t = (estimate.bias_stamps_ns - origin) * 1e-9
    for k, name in enumerate('xyz'):
        curve = np.stack([t, estimate.biases[:, first + k]], axis=1)
        axes.plot(*_thin(curve).T, color=AXES[k], label=name)
        if truth is not None and truth.bias is not None and truth.bias_stamps_ns is not None:
            known = (truth.bias_stamps_ns - origin) * 1e-9
            true = np.stack([known, truth.bias[:, first + k]], axis=1)
            axes.plot(*_thin(true).T, color=AXES[k], ls='--', lw=0.9, alpha=0.8)
    dashed = ' (dashed: true)' if truth is not None and truth.bias is not None else ''
    sensor, unit = (('gyroscope', 'rad/s'), ('accelerometer', 'm/s²'))[first // 3]
    axes.set(xlabel='time, s', ylabel=unit, title=f'Bias of the {sensor}{dashed}')
    axes.legend(loc='best', ncols=3)


def draw_latency(axes: Axes, output_ms: NDArray, received_ms: NDArray) -> None:
    """Share of the outputs that were later than a given time."""
    for values, colour, name in ((output_ms, ESTIMATE, 'published by the node'),
                                 (received_ms, CORRECTION, 'received by a subscriber')):
        ordered = np.sort(values)
        share = 1 - np.arange(len(ordered)) / len(ordered)
        curve = np.stack([ordered, share], axis=1)
        axes.step(*_thin_ends(curve).T, where='post', color=colour,
                  label=f'{name}: p50 {np.median(values):.2f}, p99 {np.quantile(values, 0.99):.2f} ms')
    axes.axhline(0.01, color='#98a2b3', lw=0.8, ls='--')
    axes.set(xscale='log', yscale='log', xlabel='ms after the sample was published', ylabel='share later '
                                                                                            'than that',
             title='Latency (dashed: p99)')
    axes.legend(loc='lower left')


def _draw_errors(axes: Axes, t: NDArray, errors: NDArray, sigma: NDArray) -> None:
    bound = _thin(np.hstack([t[:, None], 3 * sigma.max(axis=1, keepdims=True)]))
    axes.fill_between(bound[:, 0], -bound[:, 1], bound[:, 1], color=BAND, alpha=0.35, lw=0)
    for k, name in enumerate('xyz'):
        axes.plot(*_thin(np.stack([t, errors[:, k]], axis=1)).T, color=AXES[k], lw=0.9, label=name)
    reach = max(np.quantile(np.abs(errors), 0.999) * 1.25, np.quantile(3 * sigma.max(axis=1), 0.9) * 1.1)
    if np.isfinite(reach) and reach > 0:
        axes.set_ylim(-reach, reach)
    axes.set_xlim(t[0], t[-1])
    axes.legend(loc='upper right', ncols=3)


def _origin(source: ReplayInput) -> int:
    return int(source.imu.stamps_ns[0])


def _thin(points: NDArray) -> NDArray:
    """Every n-th row, and the last."""
    stride = -(-len(points) // POINTS)
    return points if stride <= 1 else np.vstack([points[::stride], points[-1:]])


def _thin_ends(points: NDArray) -> NDArray:
    """As `_thin`, but the last hundred rows stay: the tail of a distribution is in them."""
    return points if len(points) <= POINTS else np.vstack([_thin(points[:-100]), points[-100:]])


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', metadata={'Software': None})
    plt.close(figure)
    return buffer.getvalue()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', metadata={'Date': None, 'Creator': None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index('<svg'):]
