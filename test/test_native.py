"""The native kernels are built by the set-up, and their absence is reported once and survived."""
import subprocess
import sys

from pypose_core import native


def test_native_kernels_are_active():
    assert native.available, native.status


def test_switched_off_is_reported_and_survived():
    code = 'from pypose_core import native; print(native.available, native.status)'
    done = subprocess.run([sys.executable, '-c', code], env={'PYPOSE_NATIVE': '0'}, capture_output=True,
                          text=True, check=True)
    assert done.stdout.startswith('False native kernels switched off')
