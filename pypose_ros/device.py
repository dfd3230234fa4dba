"""Where torch runs."""
import torch


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """The device for `auto`, `cpu` or `cuda:0`, and a sentence where it is not the one asked for ('' otherwise).

    A robot whose graphics processor is missing after a driver update should drive on: one fallback, reported.
    """
    if wanted == 'cpu':
        return torch.device('cpu'), ''
    if torch.cuda.is_available():
        return torch.device('cuda:0'), ''
    if wanted == 'auto':
        return torch.device('cpu'), ''
    return torch.device('cpu'), f'device {wanted} is not there ({_why()}): running on the CPU'


def _why() -> str:
    if torch.version.cuda is None:
        return 'this torch was built without CUDA'
    return 'torch finds no CUDA device'
