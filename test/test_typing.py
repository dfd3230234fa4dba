"""The program that the type checker looks at does what it says it does."""
import typed_program

import pypose_core


def test_the_typed_program_runs():
    assert typed_program.poses().shape == (3, 3)
    assert typed_program.optimization().shape == ()
    assert typed_program.graph() >= 0
    assert 'torch.Size([6, 6])' in typed_program.estimation()
    assert typed_program.planning().success


def test_the_package_says_that_it_is_typed():
    from pathlib import Path
    assert (Path(pypose_core.__file__).parent / 'py.typed').exists()
