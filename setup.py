"""Build for environments in which ROS 2 comes from the wheels on PyPI.

Runs the CMakeLists.txt that colcon uses and takes its output:
  pypose_ros/{msg,srv}/, pypose_ros/*.so  generated messages, into the package (the source tree
                                          when the install is editable)
  pypose_core/_native.so                  the native kernels, likewise
  lib/, share/                            as wheel data: <venv>/lib, <venv>/share
Message packages that ROS distributions have and PyPI lacks (cmake/interfaces/) are built the same
way, where they are missing.  On a machine with ROS 2, use colcon; this file is not read there
(package.xml says ament_cmake).
"""
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent.resolve()
PKG = 'pypose_ros'
CORE = 'pypose_core'
KINDS = ('msg', 'srv', 'action')


def cmake_install(source: Path, work: Path) -> Path:
    """Configure, build and install one ament_cmake package; returns the install prefix."""
    # A fresh folder each time: CMake caches the paths of pip's build overlay.
    shutil.rmtree(work, ignore_errors=True)
    prefix = work / 'install'
    subprocess.check_call([
        'cmake', '-S', source, '-B', work / 'build', '-G', 'Ninja',
        '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF',
        f'-DPython3_EXECUTABLE={sys.executable}',
        f'-DCMAKE_INSTALL_PREFIX={prefix}',
        f'-DCMAKE_PROJECT_INCLUDE={HERE}/cmake/pip_wheels_fixup.cmake'])
    subprocess.check_call(['cmake', '--build', work / 'build'])
    subprocess.check_call(['cmake', '--install', work / 'build'], stdout=subprocess.DEVNULL)
    return prefix


def provided_elsewhere(package: str) -> bool:
    """Whether a message package is here without us: what our previous install brought, pip will remove."""
    if importlib.util.find_spec(package) is None:
        return False
    try:
        files = importlib.metadata.files('pypose-ros') or []
    except importlib.metadata.PackageNotFoundError:
        return True
    return not any(f'/site-packages/{package}/' in str(file.locate()) for file in files)


class CMakeBuild(build_ext):

    def run(self):
        # Inside the tree, since setuptools wants relative data_files.
        work = HERE / 'build' / 'pip'
        for source in sorted((HERE / 'cmake' / 'interfaces').iterdir()):
            if not provided_elsewhere(source.name):
                self.add_data(cmake_install(source, work / source.name), with_python=True)
        root = cmake_install(HERE, work / PKG)

        site = next(root.glob('lib/python3*/site-packages'))
        package = self.folder_of(PKG)
        for kind in KINDS:
            if (site / PKG / kind).is_dir():
                shutil.rmtree(package / kind, ignore_errors=True)
                shutil.copytree(site / PKG / kind, package / kind,
                                ignore=shutil.ignore_patterns('*.c', '__pycache__'))
        for name in (PKG, CORE):
            for library in (site / name).glob('*.so'):
                # Replaced, not overwritten: a running process may have the old one mapped.
                (self.folder_of(name) / library.name).unlink(missing_ok=True)
                shutil.copy2(library, self.folder_of(name))

        for script in (root / 'lib' / PKG).glob('*'):   # nodes for launch and `ros2 run`
            text = script.read_text()
            script.write_text(text.replace('#!/usr/bin/env python3', '#!' + sys.executable, 1))
        self.add_data(root)
        if self.editable_mode:
            # setuptools' editable_wheel means to do this, but asks the
            # distribution for `has_data`, which is called `has_data_files`.
            self.run_command('install_data')

    def folder_of(self, package: str) -> Path:
        folder = HERE / package if self.editable_mode else Path(self.build_lib) / package
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def add_data(self, root: Path, *, with_python: bool = False) -> None:
        """Everything below lib/ and share/ of an install tree becomes data of the wheel."""
        for top in ('lib', 'share'):
            for folder, _, files in os.walk(root / top):
                if files and (with_python or 'site-packages' not in folder):
                    self.distribution.data_files.append(
                        (os.path.relpath(folder, root),
                         [os.path.join(os.path.relpath(folder, HERE), f) for f in files]))

    def get_outputs(self):
        return []

    def get_source_files(self):
        native = HERE / CORE / 'csrc'
        return ['CMakeLists.txt', 'package.xml', 'cmake/pip_wheels_fixup.cmake'] + [
            str(p.relative_to(HERE)) for p in (
                *(p for kind in KINDS for p in (HERE / kind).glob('*.' + kind)),
                *(p for p in native.rglob('*') if p.is_file()),
                *(p for p in (HERE / 'cmake' / 'interfaces').rglob('*') if p.is_file()))]


setup(
    packages=find_packages(include=['pypose_*'], exclude=[f'{PKG}.{k}' for k in KINDS]),
    ext_modules=[Extension(f'{PKG}._cmake', sources=[])],
    cmdclass={'build_ext': CMakeBuild},
    data_files=[],
    zip_safe=False,
)
