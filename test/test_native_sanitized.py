"""The native sources under the address and undefined-behaviour sanitizers. Minutes: `make test-slow`.

Once as a program of their own, those that need no torch (sanitized.cpp); and all of them as the library that Python
loads, with the tests of every family of operators.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
CSRC = ROOT / 'pypose_core' / 'csrc'
FLAGS = ('-std=c++20', '-O1', '-g1', '-fno-omit-frame-pointer', '-fsanitize=address,undefined',
         '-fno-sanitize-recover=all')
OF_FAMILY = {
    'control': ('test_control_ocp.py', 'test_control_lqr.py', 'test_control_lookup.py', 'test_control_batched.py',
                'test_convex_quadratic.py'),
    'filter': ('test_filter_vectors.py', 'test_filter_manifold.py'),
    'graph': ('test_graph_g2o.py', 'test_graph_small_parts.py', 'test_graph_incremental.py',
              'test_graph_incremental_faults.py', 'test_graph_landmark_files.py', 'test_fuzz_text_files.py'),
    'inertial': ('test_inertial_streaming.py', 'test_inertial_batched.py', 'test_inertial_preintegrate.py'),
    'lie': ('test_lie_native.py', 'test_lie_so3.py', 'test_lie_differences.py'),
    'linalg': ('test_linalg_cholesky.py', 'test_linalg_schur.py', 'test_convex_conic.py'),
    'planning': ('test_planning.py',),
    'online': ('test_online_window.py', 'test_online_smoother.py', 'test_online_propagation.py')}

# nvcc does not bear libasan before it; rounding without optimization takes another number of iterations.
BUT_FOR = 'not compile_for_cuda and not dynamics_by_torch_and_costs_by_tapes'


@pytest.fixture(scope='module')
def compiler() -> str:
    found = os.environ.get('CXX') or shutil.which('c++') or shutil.which('g++')
    if found is None:
        pytest.skip('no C++ compiler')
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sanitizers_find_nothing_in_what_needs_no_torch(compiler, tmp_path):
    sources = [CSRC / 'graph' / 'g2o.cpp', *(path for path in sorted((CSRC / 'linalg').glob('*.cpp'))
                                             if 'ATen' not in (text := path.read_text()) and 'torch/' not in text)]
    program = tmp_path / 'sanitized'
    subprocess.run([compiler, *FLAGS, f'-I{CSRC}', HERE / 'sanitized.cpp', *sources, '-o', program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert '300 systems solved' in done.stdout and 'damaged files refused' in done.stdout


@pytest.fixture(scope='module')
def environment(compiler) -> dict[str, str]:
    """Of a Python that loads the whole library with the sanitizers; built where it is not yet (ten minutes)."""
    def of_compiler(name: str) -> str:
        return subprocess.run([compiler, f'-print-file-name={name}'], capture_output=True, text=True,
                              check=True).stdout.strip()

    if not Path(of_compiler('libasan.so')).is_absolute():
        pytest.skip('the compiler has no libasan.so to preload')
    build = ROOT / 'build' / 'sanitized'
    tools = os.environ | {'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    subprocess.run(['cmake', '-S', CSRC, '-B', build, '-G', 'Ninja', f'-DPython3_EXECUTABLE={sys.executable}',
                    '-DPYPOSE_SANITIZE=ON'], env=tools, check=True, stdout=subprocess.PIPE)
    subprocess.run(['cmake', '--build', build], env=tools, check=True, stdout=subprocess.PIPE)
    # Python itself has neither; libstdc++ must be there before libasan looks for what throws exceptions.
    return os.environ | {
        'PYPOSE_NATIVE': str(build / '_native.so'), 'OMP_NUM_THREADS': '2',
        'LD_PRELOAD': f'{of_compiler("libasan.so")} {of_compiler("libstdc++.so")}',
        # Python and torch leave to the system what they hold at their end.
        'ASAN_OPTIONS': 'detect_leaks=0:abort_on_error=0', 'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1'}


def test_every_family_of_native_sources_has_its_tests_under_the_sanitizers():
    assert set(OF_FAMILY) == {path.parent.name for path in CSRC.glob('*/*.cpp')}
    assert all((HERE / name).exists() for names in OF_FAMILY.values() for name in names)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize('family', sorted(OF_FAMILY))
def test_sanitizers_find_nothing_in_the_library(environment, family):
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-m', 'not slow', '-o', 'timeout=1500', '-k', BUT_FOR,
         *(str(HERE / name) for name in OF_FAMILY[family])],
        env=environment, cwd=ROOT, capture_output=True, text=True)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and 'Sanitizer' not in told and 'runtime error' not in told, told[-6000:]
    assert int(re.search(r'(\d+) passed', told)[1]) > 5
