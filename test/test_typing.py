"""The program that the type checker looks at does what it says it does."""
import re
from pathlib import Path

import pytest
import typed_program

import pypose_core
import pypose_ros


def test_the_typed_program_runs():
    assert typed_program.poses().shape == (3, 3)
    assert typed_program.optimization().shape == ()
    assert typed_program.graph() >= 0
    assert 'torch.Size([6, 6])' in typed_program.estimation()
    assert typed_program.planning().success


@pytest.mark.parametrize('package', [pypose_core, pypose_ros])
def test_the_packages_say_that_they_are_typed_and_what_is_beside_their_modules_is_shipped(package):
    folder = Path(package.__file__).parent
    assert (folder / 'py.typed').exists()
    project = (folder.parent / 'pyproject.toml').read_text(encoding='utf-8')
    shipped = re.findall(r'"([^"]+)"', re.search(rf'^{package.__name__} = \[(.*)\]', project, re.M)[1])
    matched = {path for pattern in shipped for path in folder.glob(pattern)}
    assert matched == {folder / 'py.typed', *(path for path in folder.glob('**/templates/*') if path.is_file())}
