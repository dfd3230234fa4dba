"""Every public name of PyPose 0.9.5 is there under the same path, with arguments that its programs can pass.

The list is made from the installed package.
"""
import importlib
import inspect
import pkgutil
import subprocess
import sys
import types
import warnings

import pytest
import torch

import pypose_core as pp

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')
    importlib.import_module('pypose.utils')

#: The namespaces that PyPose documents.  Its other modules hold what these import.
NAMESPACES = ['', 'autograd', 'autograd.function', 'basics', 'func', 'function', 'metric', 'module', 'optim',
              'optim.functional', 'optim.solver', 'optim.kernel', 'optim.corrector', 'optim.strategy',
              'optim.scheduler', 'sparse', 'sparse.ops', 'testing', 'utils']
#: What a module of PyPose only imports from another one of it is counted there.
BORROWED = {('', 'name'), ('function', 'LieTensor'), ('function', 'mat2SE3'), ('function', 'mat2Sim3'),
            ('function', 'pm'), ('optim.functional', 'hasnan')}


def at(library, path):
    for part in filter(None, path.split('.')):
        library = getattr(library, part)
    return library


def names():
    for path in NAMESPACES:
        module = importlib.import_module('.'.join(filter(None, ('pypose', path))))
        listed = list(vars(module)) + list(getattr(module, '__all__', ()))
        for name in sorted(set(listed)):
            member = getattr(module, name)
            home = getattr(member, '__module__', None) or ''
            ours = (home.startswith('pypose') or name in getattr(module, '__all__', ())
                    or isinstance(member, torch.jit.ScriptFunction))
            leave = name.startswith('_') or isinstance(member, types.ModuleType) or (path, name) in BORROWED
            if ours and not leave:
                yield path, name


@pytest.mark.parametrize('path, name', list(names()))
def test_the_name_resolves_with_compatible_arguments(path, name):
    theirs, ours = getattr(at(pypose, path), name), getattr(at(pp, path), name)
    assert callable(theirs) == callable(ours)
    try:
        wanted, given = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_POSITIONAL for p in given.values()):
        return
    positional = [p for p in given.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in wanted.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert len(positional) >= len(needed)
    for i, p in enumerate(needed):
        same = positional[i].name == p.name
        # What everybody passes by position may have another name: the LieTensors that a function is of.
        assert same or i < 2 and p.default is p.empty, (p.name, positional[i].name)
        assert (positional[i].default is p.empty) <= (p.default is p.empty), p.name
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    more = [p for p in list(given.values())[len(needed):] if p.kind in kinds and p.name not in wanted]
    assert all(p.default is not p.empty for p in more)


#: What PyPose has for itself: its own docstrings call it internal, or it is the autograd function behind a method.
INTERNAL = {
    'metric.ape_rpe': {'StampedSE3', 'matching_time_indices', 'associate_traj', 'compute_error', 'pairs_by_frames',
                       'pairs_by_dist', 'pair_id'},
    'module.pnp': {'BetaObjective'}, 'optim.optimizer': {'Trivial', 'RobustModel'},
    'lietensor.utils': {'assert_ltype'}, 'lietensor.operation': {'broadcast_inputs'}}
MODULES = [m.name.partition('.')[2] for m in pkgutil.walk_packages(pypose.__path__, 'pypose.')
           if m.name not in ('pypose._version', 'pypose.utils.collect_env')]


@pytest.mark.parametrize('path', MODULES)
def test_every_module_can_be_imported_by_its_path_and_has_what_it_defines(path):
    theirs, ours = (importlib.import_module(f'{package}.{path}') for package in ('pypose', 'pypose_core'))
    assert at(pp, path) is ours     # also without an import of its own
    for name, member in vars(theirs).items():
        own = getattr(member, '__module__', None) == theirs.__name__ and not name.startswith('_')
        function = inspect.isclass(member) and issubclass(member, torch.autograd.Function)
        if own and not function and name not in INTERNAL.get(path, ()):
            assert hasattr(ours, name), name


def test_the_report_of_the_environment_says_whether_kernels_are_there():
    report = importlib.import_module('pypose_core.utils.collect_env').get_pretty_env_info()
    assert 'PyTorch version' in report and str(pp.native.status) in report


CLASSES = [n for n in names() if inspect.isclass(getattr(at(pypose, n[0]), n[1]))]


@pytest.mark.parametrize('path, name', CLASSES)
def test_the_methods_of_classes_are_there(path, name):
    theirs, ours = getattr(at(pypose, path), name), getattr(at(pp, path), name)
    if name == 'LieTensor':
        ours = pp.SE3     # methods belong to the types
    for method, member in vars(theirs).items():
        public = callable(member) or isinstance(member, (property, classmethod, staticmethod))
        if public and not method.startswith('_'):
            assert hasattr(ours, method) or hasattr(pp.se3, method), method


def test_marks_for_sparse_jacobians_change_nothing():
    @pp.autograd.psjac
    def error(a, b):
        return a - b
    assert error(3, 1) == 2 and pp.autograd.function.psjac is pp.autograd.psjac
    assert pp.autograd.function.parallel_for_sparse_jacobian is not None
    assert pp.Parameter(pp.randn_SE3(2), sjac=True).shape == (2, 7)


def test_importing_is_quick_and_leaves_scipy_out():
    code = ('import sys, torch, pypose_core as pp; print("scipy" in sys.modules); pp.metric.ape; '
            'print("scipy" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['False', 'True']
