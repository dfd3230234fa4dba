"""What a report of a bug should tell of the machine: `python -m pypose_core.utils.collect_env`."""
from torch.utils.collect_env import get_env_info as get_env_info
from torch.utils.collect_env import get_pretty_env_info as _of_torch

from pypose_core import native


def get_pretty_env_info() -> str:
    """Versions of torch, Python, the system and its devices, and whether our native kernels are there."""
    return f'{_of_torch()}\n\npypose_core: {native.status}'


def main() -> None:
    """Print them."""
    print(get_pretty_env_info())


if __name__ == '__main__':
    main()
