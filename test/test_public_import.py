"""What `import pypose_core` loads, and that what it leaves out is there when it is asked for."""
import subprocess
import sys

import pytest

LATER = ('svdtf', 'knn', 'point2pixel', 'bspline', 'bsr_bsc_matmul', 'optim', 'module', 'function', 'sparse', 'utils',
         'geometry', 'metric')


def said(program: str) -> str:
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', program], capture_output=True, text=True,
                          check=True).stdout


def test_importing_loads_the_groups_and_not_what_is_made_of_them():
    loaded = said('import sys, pypose_core as pp; pp.randn_SE3(2).Log().Exp() @ pp.randn_SE3(2); print(*sys.modules)')
    assert 'pypose_core.lie.groups' in loaded.split()
    assert not {f'pypose_core.{n}' for n in ('optim', 'geometry', 'control', 'filter', 'graph')} & {*loaded.split()}


@pytest.mark.parametrize('how', ['pp.{0}', 'getattr(pp, "{0}")', 'exec("from pypose_core import {0}") or {0}',
                                 'exec("from pypose_core import *") or {0}'])
def test_what_is_loaded_later_is_found_however_it_is_asked_for(how):
    lines = [f'print({how.format(name)!s}.__name__)' for name in LATER]
    names = said('\n'.join(['import pypose_core as pp', *lines])).split()
    assert [n.rpartition('.')[2] for n in names] == list(LATER)


def test_dir_lists_it_and_no_other_name_resolves():
    listed, found = said('import pypose_core as pp; print(*dir(pp)); print(hasattr(pp, "no_such_name"))').splitlines()
    assert {*LATER, 'SE3', 'Exp'} <= {*listed.split()}
    assert found == 'False'
