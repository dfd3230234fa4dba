"""Loading of the native kernels, and what is done where they are missing.

`available` says which of the two implementations is active. Both compute the same; the native one
is faster and lets go of the GIL. Building it needs a C++ compiler (`make native`).
"""
import logging
import os
from pathlib import Path

import torch

_wanted = os.environ.get('PYPOSE_NATIVE', '1')
LIBRARY = Path(_wanted) if _wanted.endswith('.so') else Path(__file__).with_name('_native.so')
ABI_VERSION = 24

_log = logging.getLogger('pypose_core')


def _load() -> tuple[bool, str]:
    """Load the library once; returns (available, a sentence that says what is active and why)."""
    if _wanted == '0':
        return False, 'native kernels switched off by PYPOSE_NATIVE=0; the PyTorch reference is active'
    if not LIBRARY.exists():
        return False, (f'native kernels not built ({LIBRARY.name} is missing); the slower PyTorch '
                       'reference is active. Build them with `make native`')
    try:
        torch.ops.load_library(str(LIBRARY))
        version = torch.ops.pypose.abi_version()
    except (OSError, AttributeError, RuntimeError) as error:
        return False, (f'native kernels could not be loaded by torch {torch.__version__} ({error}); '
                       'the slower PyTorch reference is active. Rebuild them with `make native`')
    if version != ABI_VERSION:
        return False, (f'native kernels are of another version ({version}, wanted {ABI_VERSION}); the '
                       'slower PyTorch reference is active. Rebuild them with `make native`')
    return True, 'native kernels are active'


available, status = _load()
if not available and _wanted != '0':
    _log.warning(status)
