"""The report of a closed-loop drive: numbers, one picture, one HTML page."""
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import jinja2
import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pypose_ros.bag.plots import ESTIMATE, STYLE, TRUTH
from pypose_ros.bag.results import check_folder
from pypose_ros.sim.closed_loop import Drive

PATH, ODOMETRY, TURN, GREY = '#e07b00', '#7a5bd0', '#2a8a3c', '#98a2b3'
_TEMPLATE = Path(__file__).parent / 'templates' / 'closed_loop.html'


def metrics(drive: Drive) -> dict[str, float | int | bool | str]:
    """The numbers of a drive, by name; the names say their units."""
    cycles, gaps = 1e3 * drive.cycles[:, 1], 1e3 * np.diff(drive.commands[:, 1])
    moving = np.abs(drive.truth[:, 4]) > 0.05
    found: dict[str, float | int | bool | str] = {
        'goal_reached': drive.reached, 'collisions': drive.collisions,
        'least_clearance_m': drive.clearance, 'driven_m': float(np.abs(drive.truth[:, 4]).mean()
                                                                * np.ptp(drive.truth[:, 0])),
        'simulated_s': float(drive.truth[-1, 0]), 'wall_s': drive.wall,
        'commands': len(drive.commands), 'controller_frequency_hz': drive.config.frequency,
        'cross_track_rmse_m': float(np.sqrt(np.mean(drive.cross_track[moving] ** 2))) if moving.any() else 0.0,
        'loops_closed': drive.loops, 'cpu_share_of_one_core': drive.cpu / drive.wall,
        'cpu_withheld_share': drive.withheld}
    for name, values in (('cycle', cycles), ('command_gap', gaps)):
        if len(values):
            p50, p99 = np.percentile(values, (50, 99))
            found |= {f'{name}_p50_ms': float(p50), f'{name}_p99_ms': float(p99), f'{name}_max_ms': float(values.max())}
    for name, estimate in (('map', drive.estimate), ('odometry', drive.odometry)):
        if len(estimate):
            error = drive.error(estimate)
            found |= {f'{name}_error_rmse_m': float(np.sqrt(np.mean(error ** 2))), f'{name}_error_end_m':
                      float(error[-1])}
    return found


def draw_site(axes: Axes, drive: Drive) -> None:
    axes.add_collection(LineCollection(list(drive.course.walls.segments), colors='#475467', lw=1.3))
    axes.plot(*drive.course.path[:, :2].T, color=PATH, lw=1.2, ls='--', label='plan')
    axes.plot(*drive.truth[:, 1:3].T, color=TRUTH, lw=2.2, alpha=0.85, label='driven')
    if len(drive.estimate):
        axes.plot(*drive.estimate[::10, 1:3].T, color=ESTIMATE, lw=1.0, label='its own estimate, in the map')
    axes.plot(*drive.truth[0, 1:3], 'o', color=TRUTH, ms=5, mec='white')
    axes.set(xlabel='x, m', ylabel='y, m', title='The drive from above')
    axes.set_aspect('equal', adjustable='datalim')
    axes.legend(loc='center')


def draw_commands(axes: Axes, drive: Drive) -> None:
    t = drive.commands[:, 0]
    axes.plot(t, drive.commands[:, 2], color=ESTIMATE, label='speed, m/s')
    axes.plot(t, drive.commands[:, 3], color=TURN, lw=0.9, label='turn rate, rad/s')
    axes.plot(drive.truth[:, 0], drive.truth[:, 4], color=TRUTH, lw=0.8, ls=':', label='driven speed, m/s')
    axes.set(xlabel='time, s', title='Commands')
    axes.legend(loc='lower left', ncols=3)


def draw_cycles(axes: Axes, drive: Drive) -> None:
    ms = 1e3 * drive.cycles[:, 1]
    axes.plot(drive.cycles[:, 0], ms, '.', color=ESTIMATE, ms=2)
    axes.axhline(1e3 / drive.config.frequency, color=PATH, ls='--', lw=0.9, label='period')
    if len(ms):
        axes.axhline(np.percentile(ms, 99), color=GREY, ls=':', lw=1.0, label=f'p99 {np.percentile(ms, 99):.1f} ms')
    axes.set(xlabel='time, s', ylabel='ms', yscale='log', title='Time of a whole cycle of the controller')
    axes.legend(loc='upper right', ncols=2)


def draw_error(axes: Axes, drive: Drive) -> None:
    for estimate, colour, name in ((drive.odometry, ODOMETRY, 'odometry/imu'),
                                   (drive.estimate, ESTIMATE, 'odometry/corrected, in the map')):
        if len(estimate):
            axes.plot(estimate[::10, 0], drive.error(estimate)[::10], color=colour, label=name)
    axes.plot(drive.truth[:, 0], np.abs(drive.cross_track), color=PATH, lw=0.9, label='distance from the plan')
    axes.set(xlabel='time, s', ylabel='m', title='Errors of the estimate, and the way from the plan')
    axes.legend(loc='upper left')


DRAWINGS = (('The drive from above', (7.6, 5.2), draw_site), ('Commands', (7.6, 2.8), draw_commands),
            ('Cycles', (7.6, 2.8), draw_cycles), ('Errors', (7.6, 2.8), draw_error))


def overview(drive: Drive, title: str) -> bytes:
    """One PNG with everything."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(13.0, 6.6))
        grid = figure.add_gridspec(3, 2, width_ratios=(1.1, 1.0))
        figure.suptitle(title, fontsize=11, x=0.012, ha='left', fontweight='bold')
        for place, draw in ((grid[:, 0], draw_site), (grid[0, 1], draw_commands), (grid[1, 1], draw_cycles),
                            (grid[2, 1], draw_error)):
            draw(figure.add_subplot(place), drive)
        return _saved(figure, 'png')


def _saved(figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={'Software': None} if kind == 'png' else {'Date': None,
                                                                                           'Creator': None})
    plt.close(figure)
    return buffer.getvalue()


def write_report(folder: Path, drive: Drive) -> dict:
    """Write overview.png, report.html and metrics.json into a folder, an earlier run's replaced; the metrics.

    Raises:
        BagError: something else is there.
    """
    check_folder(folder)
    numbers = metrics(drive)
    title = f'Closed loop in simulation · seed {drive.config.seed}'
    panels = []
    for heading, size, draw in DRAWINGS:
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(figsize=size)
            draw(axes, drive)
            text = _saved(figure, 'svg').decode()
            panels.append((heading, text[text.index('<svg'):]))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)
    html = environment.from_string(_TEMPLATE.read_text(encoding='utf-8')).render(
        title=title, rows=table(numbers), panels=panels, complaints=drive.complaints)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    try:
        beside.chmod(0o755)
        (beside / 'overview.png').write_bytes(overview(drive, title))
        (beside / 'report.html').write_text(html, encoding='utf-8')
        (beside / 'metrics.json').write_text(json.dumps(numbers, indent=2) + '\n', encoding='utf-8')
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return numbers


def table(numbers: dict) -> list[tuple[str, str]]:
    """Names and values as a person reads them."""
    rows = []
    for name, value in numbers.items():
        words, _, unit = name.rpartition('_')
        if unit not in ('m', 's', 'ms', 'hz'):
            words, unit = name, ''
        text = {True: 'yes', False: 'NO'}[value] if isinstance(value, bool) else (
            str(value) if isinstance(value, int) else f'{value:.3g}')
        rows.append((words.replace('_', ' '), f'{text} {"Hz" if unit == "hz" else unit}'.strip()))
    return rows
