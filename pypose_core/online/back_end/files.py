"""Sessions as files.

A session is a g2o file: VERTEX_SE3:QUAT and EDGE_SE3:QUAT, which any tool reads. What g2o has no tag for stands in
comment lines before them, one JSON object each, so that a session is one file and `rename` makes it appear whole:

    # pypose_ros session {"version": 1, ...}        counts, names of the sources, datum
    # pypose_ros keyframe [id, stamp_ns, odometry pose (7), odometry covariance (36) or null]
    # pypose_ros edge [kind, source, rejected, chi2]                 in the order of the EDGE lines
    # pypose_ros prior [kind, keyframe id, measured (7), offset (3), information (36), rejected, chi2]

Beside it `NAME.stamps.csv` lists id and stamp for other tools; it is not read.
"""
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pypose_core.graph import G2oError, read_g2o
from pypose_core.graph.factors.base import Measured

from .records import edge_table, keyframe_table, prior_table
from .table import Table

MARK = '# pypose_ros '
VERSION = 1


class SessionError(ValueError):
    """A file that is not a session; the message names file, line and fault."""


@dataclass
class SessionFile:
    """What a session file holds: tables as in records.py."""

    keyframes: Table
    edges: Table
    priors: Table
    sources: list[str]
    datum: tuple[float, float, float] | None


def write_session(path: Path, session: SessionFile) -> None:
    """A .tum trajectory or a session. The folder is made where it is missing.

    Raises:
        OSError: it cannot be written.
        ValueError: there are no keyframes.
    """
    if not len(session.keyframes):
        raise ValueError('there are no keyframes to save')
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.tum':
        _replace(path, _tum(session.keyframes))
        return
    k = session.keyframes
    stamps = ''.join(f'{number},{stamp}\n' for number, stamp in zip(k['id'].tolist(), k['stamp_ns'].tolist()))
    _replace(path.with_name(path.stem + '.stamps.csv'), 'id,stamp_ns\n' + stamps)
    _replace(path, '\n'.join(_lines(session)) + '\n')


def _replace(path: Path, text: str) -> None:
    """Write beside, make it durable, then rename: a crash leaves the old file or the new one."""
    beside = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with beside.open('w', encoding='utf-8') as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _tum(keyframes: Table) -> str:
    rows = zip(keyframes['stamp_ns'].tolist(), keyframes['pose'].tolist())
    return ''.join(f'{ns // 10 ** 9}.{ns % 10 ** 9:09d} {_numbers(pose)}\n' for ns, pose in rows)


def _numbers(values) -> str:
    return ' '.join(map(repr, values))


def _lines(session: SessionFile) -> list[str]:
    k, e, p = session.keyframes, session.edges, session.priors
    header = {'version': VERSION, 'keyframes': len(k), 'edges': len(e), 'priors': len(p), 'sources': session.sources,
              'datum': session.datum}
    lines = [f'{MARK}session {json.dumps(header)}']
    ids = k['id'].tolist()
    for number, stamp, odom, covariance in zip(ids, k['stamp_ns'].tolist(), k['odom'].tolist(), k['odom_covariance']):
        known = covariance.ravel().tolist() if np.isfinite(covariance).all() else None
        lines.append(f'{MARK}keyframe {json.dumps([number, stamp, odom, known])}')
    for row in zip(e['kind'].tolist(), e['source'].tolist(), e['rejected'].tolist(), e['chi2'].tolist()):
        lines.append(f'{MARK}edge {json.dumps(row)}')
    for kind, at, measured, offset, information, rejected, chi2 in zip(*(p[name].tolist() for name in (
            'kind', 'keyframe', 'measured', 'offset', 'information', 'rejected', 'chi2'))):
        lines.append(f'{MARK}prior {json.dumps([kind, ids[at], measured, offset, information, rejected, chi2])}')
    lines += [f'VERTEX_SE3:QUAT {number} {_numbers(pose)}' for number, pose in zip(ids, k['pose'].tolist())]
    upper = np.triu_indices(6)
    for (i, j), measured, information in zip(e['ends'].tolist(), e['measured'].tolist(), e['information']):
        lines.append(f'EDGE_SE3:QUAT {ids[i]} {ids[j]} {_numbers(measured)} {_numbers(information[upper].tolist())}')
    return lines


def read_session(path: Path) -> SessionFile:
    """Read a session, or a g2o file of another tool: then ids are stamps of 1 s each, and all edges but those from a
    keyframe to the next are loops.

    Raises:
        SessionError: unreadable, not g2o, cut off, or its comments do not fit its lines.
    """
    try:
        file = read_g2o(path)
    except G2oError as error:
        raise SessionError(str(error)) from None
    if 'SE3' not in file.ids or 'SE2' in file.ids:
        raise SessionError(f'{path}: wants VERTEX_SE3:QUAT and no other vertices')
    ids, poses = file.ids['SE3'].numpy(), file.graph.values['SE3'].numpy()
    batches = file.graph.factors
    ends = batches[0].index.numpy() if batches else np.empty((0, 2), int)
    notes = _notes(path)
    if notes['session']:
        return _with_notes(path, ids, poses, ends, batches, notes)
    keyframes, edges = keyframe_table(), edge_table()
    for number, pose in zip(ids.tolist(), poses):
        keyframes.append(id=number, stamp_ns=(number + 1) * 10 ** 9, odom=pose, odom_covariance=np.nan, pose=pose)
    for k, (i, j) in enumerate(ends.tolist()):
        between = batches[0]
        assert isinstance(between, Measured) and between.information is not None        # as read_g2o() makes them
        edges.append(kind=0 if j == i + 1 else 1, ends=(i, j), measured=between.measured[k],
                     information=between.information[k], rejected=False, chi2=0.0, source=0)
    return SessionFile(keyframes, edges, prior_table(), ['', str(path.name)], None)


def _notes(path: Path) -> dict[str, list]:
    """The comment lines by kind, as (line number, value)."""
    notes: dict[str, list] = {'session': [], 'keyframe': [], 'edge': [], 'prior': []}
    with path.open(encoding='utf-8', errors='replace') as lines:
        for number, line in enumerate(lines, 1):
            if not line.startswith(MARK):
                continue
            kind, _, text = line[len(MARK):].partition(' ')
            try:
                notes[kind].append((number, json.loads(text)))
            except (KeyError, ValueError):
                raise SessionError(f'{path}:{number}: no such comment of a session') from None
    return notes


@contextmanager
def _blamed(path: Path, line: int):
    """What goes wrong inside is that line's fault."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise SessionError(f'{path}:{line}: {error!r}') from None


def _with_notes(path: Path, ids, poses, ends, batches, notes: dict[str, list]) -> SessionFile:
    line, header = notes['session'][0]
    found = {'keyframes': len(ids), 'edges': len(ends), 'priors': len(notes['prior'])}
    if not isinstance(header, dict) or header.get('version') != VERSION:
        raise SessionError(f'{path}:{line}: wants a session of version {VERSION}')
    for name, count in found.items():
        if header.get(name) != count or (name != 'priors' and len(notes[name[:-1]]) != count):
            raise SessionError(f'{path}:{line}: the session has {header.get(name)} {name}, the file {count}: it was '
                               'cut off or edited')
    keyframes, edges, priors = keyframe_table(), edge_table(), prior_table()
    at = {number: row for row, number in enumerate(ids.tolist())}
    with _blamed(path, line):
        datum: Any = None if header['datum'] is None else tuple(map(float, header['datum']))
        sources = list(map(str, header['sources']))
    for line, note in notes['keyframe']:
        with _blamed(path, line):
            number, stamp, odom, covariance = note
            keyframes.append(id=number, stamp_ns=stamp, odom=odom, pose=poses[at[number]],
                             odom_covariance=np.nan if covariance is None else np.reshape(covariance, (6, 6)))
    for k, (line, note) in enumerate(notes['edge']):
        with _blamed(path, line):
            kind, source, rejected, chi2 = note
            edges.append(kind=kind, ends=ends[k], measured=batches[0].measured[k], chi2=chi2, source=source,
                         information=batches[0].information[k], rejected=rejected)
    for line, note in notes['prior']:
        with _blamed(path, line):
            kind, number, measured, offset, information, rejected, chi2 = note
            priors.append(kind=kind, keyframe=at[number], measured=measured, offset=offset, information=information,
                          rejected=rejected, chi2=chi2)
    if (np.diff(keyframes['id']) <= 0).any() or (np.diff(keyframes['stamp_ns']) <= 0).any():
        raise SessionError(f'{path}: ids or stamps of the keyframes do not ascend')
    if not np.isfinite(keyframes['odom']).all() or not np.isfinite(priors['measured']).all():
        raise SessionError(f'{path}: a number is not finite')
    if len(edges) and not 0 <= edges['source'].min() <= edges['source'].max() < len(sources):
        raise SessionError(f'{path}: an edge names a source that is not listed')
    return SessionFile(keyframes, edges, priors, sources, datum)
