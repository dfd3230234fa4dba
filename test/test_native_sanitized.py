"""The native sources that need no torch, under sanitizers; see sanitized.cpp. Minutes: `make test-slow`."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parent / 'pypose_core' / 'csrc'


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sanitizers_find_nothing(tmp_path):
    compiler = os.environ.get('CXX') or shutil.which('c++') or shutil.which('g++')
    if compiler is None:
        pytest.skip('no C++ compiler')
    sources = [CSRC / 'graph' / 'g2o.cpp', *(path for path in sorted((CSRC / 'linalg').glob('*.cpp'))
                                             if 'ATen' not in (text := path.read_text()) and 'torch/' not in text)]
    program = tmp_path / 'sanitized'
    subprocess.run([compiler, '-std=c++20', '-O1', '-g1', '-fno-omit-frame-pointer', '-fsanitize=address,undefined',
                    '-fno-sanitize-recover=all', f'-I{CSRC}', HERE / 'sanitized.cpp', *sources, '-o', program],
                   check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert '300 systems solved' in done.stdout and 'damaged files refused' in done.stdout
