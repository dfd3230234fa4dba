"""Run every benchmark and rewrite docs/performance.md from their records: `make bench`.

    .venv/bin/python -m benchmarks [--quick] [NAME ...]      run (all of) them, then rewrite the page
    .venv/bin/python -m benchmarks --page                    only rewrite the page from the stored records
"""
import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import HEADER, cells

HERE = Path(__file__).parent
RESULTS = HERE / 'results'
PAGE = HERE.parent / 'docs' / 'performance.md'


INTRODUCTION = """# Performance

Written by `make bench` from the records in `benchmarks/results/`; not edited by hand. In each line, ours and
the peer ran in turn on the same input. `ratio` is peer / ours, the median over neighbouring runs: above 1,
ours is faster. `asked` is the ratio that the project set out to reach; where it is bounded, what ours cannot do
without (the note names it) took so long by itself in the same run that no ratio above the bound is possible. `agree`
says whether both results match, as the note states. Times of computations are CPU seconds on one thread. Ratios
carry over to other machines; times do not."""


def benchmarks() -> list[Path]:
    """The files of this folder that run as a benchmark: those that call main(records, ...)."""
    return [path for path in sorted(HERE.glob('*.py')) if '\n    main(records' in path.read_text()]


def section(path: Path) -> str:
    """One benchmark's records as a table in Markdown, under the first line of its docstring."""
    records = json.loads((RESULTS / f'{path.stem}.json').read_text())
    title = (ast.get_docstring(ast.parse(path.read_text())) or path.stem).splitlines()[0]
    lines = [f'## {title}', '', f'`benchmarks/{path.name}`, {records[0]["date"]}'
             + (', quick' if records[0]['quick'] else '') + f': {records[0]["machine"]}', '',
             '| ' + ' | '.join(HEADER) + ' |', '|' + ' --- |' * len(HEADER)]
    for record in records:
        lines.append('| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells(record)) + ' |')
    return '\n'.join(lines)


def write_page() -> None:
    """docs/performance.md from the stored records of the benchmarks that have any."""
    sections = [section(path) for path in benchmarks() if (RESULTS / f'{path.stem}.json').exists()]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text('\n\n'.join([INTRODUCTION, *sections]) + '\n')


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help='benchmarks to run; all by default')
    parser.add_argument('--quick', action='store_true', help='smaller inputs and fewer rounds; not stored')
    parser.add_argument('--page', action='store_true', help='run nothing')
    options = parser.parse_args()
    known = {path.stem: path for path in benchmarks()}
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f'no benchmark {", ".join(sorted(unknown))}; there are {", ".join(known)}')
    failed = []
    for name in [] if options.page else options.names or known:
        print(f'\n== {name}')
        # A process each: peers bring thread pools and allocators that would slow down the next one.
        command = [sys.executable, str(known[name])]
        command += ['--quick'] if options.quick else ['--json', str(RESULTS / f'{name}.json')]
        if subprocess.run(command, cwd=HERE.parent).returncode:
            failed.append(name)
    if not options.quick:
        write_page()
    if failed:
        print(f'failed: {", ".join(failed)}', file=sys.stderr)
    return 1 if failed else 0


sys.exit(run())
