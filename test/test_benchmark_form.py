"""Benchmarks: stored records have the agreed form, and the page shows them."""
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STORED = sorted((ROOT / 'benchmarks' / 'results').glob('*.json'))
BENCHMARK = '''"""A sum beside a sum."""
from harness import compare, main


def records(quick):
    numbers = range(10 if quick else 1000)
    for wrong in (0, 1):
        yield compare('sum', peer='loop', ours=lambda: sum(numbers), theirs=lambda: wrong + sum(x for x in numbers),
                      agree=lambda a, b: a == b, target=2, rounds=3, least=1e-4, note='equal')


if __name__ == '__main__':
    main(records, __doc__)
'''


def test_a_benchmark_writes_one_record_for_each_case(tmp_path):
    (tmp_path / 'sums.py').write_text(BENCHMARK)
    done = subprocess.run([sys.executable, tmp_path / 'sums.py', '--quick', '--json', tmp_path / 'out' / 'sums.json'],
                          env={'PYTHONPATH': f'{ROOT / "benchmarks"}:{ROOT}'}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    right, wrong = json.loads((tmp_path / 'out' / 'sums.json').read_text())
    assert {'case', 'peer', 'ours_s', 'peer_s', 'ratio', 'agree', 'target'} <= right.keys()
    assert right['agree'] and not wrong['agree'] and right['target'] == 2 and right['ratio'] > 0
    assert 'agree: yes' in done.stdout and 'agree: NO' in done.stdout


def test_what_is_asked_is_bounded_only_where_the_floor_alone_takes_longer():
    spec = importlib.util.spec_from_file_location('harness', ROOT / 'benchmarks' / 'harness.py')
    harness = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(harness)
    record = dict(case='c', peer='p', ours_s=3e-6, peer_s=6e-6, ratio=2, target=10, agree=True, note='')
    shown = [harness.cells(record | changed)[5] for changed in (
        {}, {'floor_s': None}, {'floor_s': 2e-6}, {'floor_s': 5e-7}, {'floor_s': 2e-6, 'target': 1.5})]
    assert shown == ['10', '10', '10, bounded by 3', '10', '1.5']


@pytest.mark.parametrize('path', STORED, ids=lambda path: path.stem)
def test_stored_records_agree_with_their_peers_and_are_of_full_size(path):
    records = json.loads(path.read_text())
    assert records and all(record['agree'] and not record['quick'] for record in records)


@pytest.mark.parametrize('path', STORED, ids=lambda path: path.stem)
def test_the_page_shows_the_stored_records(path):
    page = (ROOT / 'docs' / 'performance.md').read_text()
    for record in json.loads(path.read_text()):
        assert f'| {record["case"]} |' in page, 'rewrite it: .venv/bin/python -m benchmarks --page'
