"""The package's own data files, whichever way it was installed."""
import os
import sys
from pathlib import Path

from .errors import BagError

_CHECKOUT = Path(__file__).resolve().parents[2]


def resource(relative: str) -> Path:
    """`msg/ImuBias.msg`, `config/euroc.yaml`: from the checkout, the wheel's data or the ament index."""
    overlay = os.environ.get('AMENT_PREFIX_PATH', '').split(':')
    prefixes = map(Path, [sys.prefix, *filter(None, overlay)])
    for folder in (_CHECKOUT, *(prefix / 'share' / 'pypose_ros' for prefix in prefixes)):
        if (folder / relative).is_file():
            return folder / relative
    raise BagError(f'{relative} is not installed with pypose_ros; install the package again')
