"""The form of every benchmark: ours and a peer in turn on the same input, and whether they agree.

A benchmark file has a function `records(quick)` that yields Records, and ends with `main(records, __doc__)`:

    .venv/bin/python benchmarks/NAME.py [--quick] [--json FILE]

The machines that this runs on are shared and their speed drifts, so single times mean little: the two sides
alternate, and the ratio reported is the median of the ratios of neighbours. Both sides have one torch thread,
which on shared cores is the faster choice for either, and compare() counts this process's CPU seconds, which
other programs lengthen less than they do the time on the wall.
"""
import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pypose_core import native


@dataclass(frozen=True)
class Record:
    """One line of a benchmark."""

    case: str
    """What was computed, with its sizes."""
    peer: str
    """Whom we are compared with: name and version."""
    ours_s: float
    """Median seconds of ours."""
    peer_s: float | None
    """Median seconds of the peer's; None where there is no peer to measure."""
    ratio: float | None
    """peer / ours: how many times faster ours is."""
    agree: bool
    """Whether the results match within the tolerance that the note states."""
    target: float | None
    """The ratio asked for, if one is."""
    note: str = ''
    """What agreement means here, and measured values other than times."""
    floor_s: float | None = None
    """Median seconds, in the same run, of what ours cannot do without and the note names."""


def seconds(call: Callable[[], Any], count: int) -> float:
    """CPU seconds of one call, over `count` calls in a row."""
    start = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - start) / count


def first_call(call: Callable[[], Any], least: float) -> tuple[Any, int]:
    """The result of one call, and how many calls in a row take at least `least` seconds."""
    start = time.process_time()
    result = call()
    taken = time.process_time() - start
    if taken < least:       # the first call may have been slow only because it was the first
        taken = seconds(call, 1)
    return result, max(1, math.ceil(least / max(taken, 1e-9)))


def compare(case: str, *, peer: str, ours: Callable[[], Any], theirs: Callable[[], Any],
            agree: Callable[[Any, Any], bool], target: float | None = None, rounds: int = 7,
            least: float = 0.02, note: str = '', floor: Callable[[], Any] | None = None) -> Record:
    """Run both once for their results and to warm up, then time them in turn.

    Args:
        agree: of ours' and the peer's result.
        least: seconds that one timing lasts at least; short calls are repeated.
        floor: the least that ours has to do, timed along with them.
    """
    (result, count), (expected, peer_count) = first_call(ours, least), first_call(theirs, least)
    same = bool(agree(result, expected))
    floor_count = 0 if floor is None else first_call(floor, least)[1]
    times = [(seconds(ours, count), seconds(theirs, peer_count), seconds(floor, floor_count) if floor else None)
             for _ in range(rounds)]
    return Record(case, peer, median(t[0] for t in times), median(t[1] for t in times),
                  median(t[1] / t[0] for t in times), same, target, note,
                  median(t[2] for t in times) if floor else None)


def machine() -> str:
    """Processor, threads and versions, in one line."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        names = [line.split(':', 1)[1].strip() for line in cpuinfo.read_text().splitlines()
                 if line.startswith('model name')]
        name = names[0] if names else name
    return (f'{name}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads, '
            f'Python {platform.python_version()}, torch {torch.__version__}')


def _time(value: float | None) -> str:
    if value is None:
        return ''
    for scale, unit in ((1, 's'), (1e3, 'ms'), (1e6, 'us')):
        if value * scale >= 1:
            return f'{value * scale:.3g} {unit}'
    return f'{value * 1e9:.3g} ns'


HEADER = ('case', 'peer', 'ours', 'peer', 'ratio', 'asked', 'agree', 'note')


def most(record: dict) -> float | None:
    """The ratio that no implementation exceeds, where less is reached than asked and no more can be; else None."""
    if not record.get('floor_s') or record['ratio'] >= record['target']:
        return None
    possible = record['peer_s'] / record['floor_s']
    return possible if possible < record['target'] else None


def cells(record: dict) -> tuple[str, ...]:
    """A record as the cells of a table, in the order of HEADER."""
    ratio, target, possible = record['ratio'], record['target'], most(record)
    asked = '' if target is None else f'{target:g}' if possible is None else f'{target:g}, bounded by {possible:.3g}'
    return (record['case'], record['peer'], _time(record['ours_s']), _time(record['peer_s']),
            '' if ratio is None else f'{ratio:.3g}', asked, 'yes' if record['agree'] else 'NO', record.get('note', ''))


def main(records: Callable[[bool], Iterable[Record]], description: str | None) -> None:
    """Command line of one benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='smaller inputs and fewer rounds: seconds')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the records there')
    options = parser.parse_args()
    if not native.available:
        sys.exit(native.status)
    torch.set_num_threads(1)
    print(machine())
    done = []
    for record in records(options.quick):
        done.append(asdict(record) | {'machine': machine(), 'quick': options.quick,
                                      'date': datetime.now(timezone.utc).strftime('%Y-%m-%d')})
        print('  '.join(f'{name}: {cell};' for name, cell in zip(HEADER, cells(done[-1])) if cell))
        sys.stdout.flush()
        if options.json:    # after each record: a run that is cut short keeps what it has measured
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(done, indent=1) + '\n')
