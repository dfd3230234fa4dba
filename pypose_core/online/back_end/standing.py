"""What becomes of edges: whether they can be used at all, and how they stand after a solve."""
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pypose_core.online.correction import check_pose
from pypose_core.online.verdict import Verdict

from .config import BackEndConfig
from .records import EdgeInput, EdgeKind, LoopEvent
from .table import Table

MAX_INFORMATION = 1e18


def usable_edge(edge: EdgeInput, sigma: tuple[float, float]) -> EdgeInput | Verdict:
    """An edge with a symmetric information, or why it is of no use.

    Args:
        sigma: m and rad where the information is all zeros, which says that it is not known.
    """
    verdict = check_pose(edge.transform)
    information = np.asarray(edge.information, float).reshape(6, 6)
    if verdict.accepted and not np.isfinite(information).all():
        verdict = Verdict.NOT_FINITE
    if not verdict.accepted:
        return verdict
    largest = np.abs(information).max()
    if not largest:
        information = np.diag(np.repeat(sigma, 3) ** -2.0)
    elif largest > MAX_INFORMATION or np.abs(information - information.T).max() > 1e-6 * largest or np.linalg.eigvalsh(
            information)[0] < -1e-9 * largest:
        return Verdict.BAD_COVARIANCE
    return replace(edge, information=0.5 * (information + information.T))


def judge_edges(config: BackEndConfig, ids: NDArray, edges: Table, rows: NDArray, chi2s: NDArray,
                rejected: NDArray) -> Iterator[LoopEvent]:
    """Take over into the table what a solve found, and tell of loops that are new or changed their standing.

    Args:
        ids: of the keyframes, by row.
        rows: of the table, with their chi2 and whether they are left out.
    """
    fresh = (edges['kind'][rows] != EdgeKind.ODOMETRY) & (edges['chi2'][rows] == 0.0)
    changed = rows[fresh | (edges['rejected'][rows] != rejected)]
    edges['chi2'][rows] = np.maximum(chi2s, np.finfo(float).tiny)
    edges['rejected'][rows] = rejected
    width2 = config.huber_width ** 2
    for k in changed:
        chi2, wrong = float(edges['chi2'][k]), bool(edges['rejected'][k])
        reason = 'fits the graph'
        if wrong:
            reason = f'contradicted by the rest of the graph ({config.robust}): chi2 {chi2:.1f} of 6'
        elif config.robust == 'huber' and chi2 > width2:
            reason = f'down-weighted to {np.sqrt(width2 / chi2):.2f} by the robust kernel: chi2 {chi2:.1f} of 6'
        i, j = ids[edges['ends'][k]].tolist()
        yield LoopEvent(i, j, not wrong, reason, chi2)
