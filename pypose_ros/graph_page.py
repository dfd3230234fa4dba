"""A pose graph as one HTML file that needs no network: trajectory before and after, loops, chi2 of edges, solves."""
import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pypose_core import chi_square
from pypose_core.online.back_end import EdgeKind, PoseGraphBackEnd
from pypose_core.online.back_end.graph_factors import edge_chi2
from pypose_core.online.correction import compose, inverse

_TEMPLATE = Path(__file__).with_name('templates') / 'pose_graph.html'
_PLACE = '/*DATA*/'
MAX_ODOMETRY = 20_000       # edges of odometry that are shown; of longer sessions an even choice


def write_page(path: Path, back_end: PoseGraphBackEnd, *, title: str = 'pose_graph', lead: str = '',
               truth: NDArray | None = None) -> None:
    """Write the page; the file appears whole or not at all.

    Args:
        truth: (M, 3) positions in the map, where they are known.

    Raises:
        OSError: it cannot be written.
        ValueError: there are no keyframes.
    """
    if not len(back_end.keyframes):
        raise ValueError('there are no keyframes to show')
    # What browsers take for the end of the script must not stand in it.
    data = json.dumps(page_data(back_end, title, lead, truth), allow_nan=False).replace('</', '<\\/')
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        beside.write_text(_TEMPLATE.read_text(encoding='utf-8').replace(_PLACE, data), encoding='utf-8')
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def page_data(back_end: PoseGraphBackEnd, title: str, lead: str, truth: NDArray | None) -> dict:
    """What the page's script draws."""
    k, e, solves = back_end.keyframes, back_end.edges, back_end.solves
    # Odometry laid on the map where both begin.
    T_map_odom = compose(k['pose'][0], inverse(k['odom'][0]))
    before = np.array([compose(T_map_odom, pose)[:3] for pose in k['odom']])
    chi2, loop = edge_chi2(k['pose'], e), e['kind'] != EdgeKind.ODOMETRY
    kind = np.where(loop, np.where(e['rejected'], 2, 1), 0)
    links = (~loop).nonzero()[0]
    links = links[::max(1, -(-len(links) // MAX_ODOMETRY))]
    shown = np.sort(np.concatenate([links, loop.nonzero()[0]]))
    seconds = (k['stamp_ns'] - k['stamp_ns'][0]) * 1e-9
    first_ns = int(k['stamp_ns'][0])
    way = float(np.linalg.norm(np.diff(k['pose'][:, :3], axis=0), axis=1).sum())
    durations = solves['duration']
    solved = 'No solve in this session.' if not len(solves) else (
        f'{len(solves)} solves, median {1e3 * np.median(durations):.2f} ms, 99 % below '
        f'{1e3 * np.percentile(durations, 99):.2f} ms; a red point is one that failed.')
    return {
        'title': title, 'lead': lead, 'limit': float(chi_square.quantile(0.999, 6)), 'solved': solved,
        'facts': [['keyframes', len(k)], ['m of way', f'{way:.1f}'], ['loops kept', int((kind == 1).sum())],
                  ['loops rejected', int((kind == 2).sum())], ['absolute measurements', len(back_end.priors)],
                  ['chi2 of the edges kept', f'{chi2[kind < 2].sum():.1f}'],
                  ['m moved by the map, at most', f'{np.linalg.norm(before - k["pose"][:, :3], axis=1).max():.2f}']],
        'ids': k['id'].tolist(), 'seconds': np.round(seconds, 3).tolist(), 'sources': list(back_end.sources),
        'before': np.round(before, 3).tolist(), 'after': np.round(k['pose'][:, :3], 3).tolist(),
        'truth': [] if truth is None else np.round(truth, 3).tolist(),
        'edges': [[*ends, of, float(f'{c:.4g}'), source] for ends, of, c, source in zip(
            e['ends'][shown].tolist(), kind[shown].tolist(), chi2[shown].tolist(), e['source'][shown].tolist())],
        'solves': [[round((stamp - first_ns) * 1e-9, 3), round(duration, 6), *size, good, _cost(*cost)]
                   for stamp, duration, size, good, cost in zip(
                       solves['stamp_ns'].tolist(), durations.tolist(), solves['size'].tolist(),
                       solves['success'].tolist(), solves['cost'].tolist())]}


def _cost(initial: float, final: float) -> str:
    return f'cost {initial:.4g} → {final:.4g}' if np.isfinite(final) else 'failed'
