"""Where torch runs."""
import torch

PROBE = 512     # rows of the matrix that a device must be able to square: a few megabytes, and a kernel to launch


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """The device for `auto`, `cpu` or `cuda:0`, and a sentence where it is not the one asked for ('' otherwise).

    A robot whose graphics processor is missing after a driver update, lost, or full of somebody else's data should
    drive on: one fallback, reported.
    """
    cpu = torch.device('cpu')
    if wanted == 'cpu':
        return cpu, ''
    if torch.cuda.is_available():
        problem = fault(torch.device('cuda:0'))
        return (cpu, f'device cuda:0 cannot be used ({problem}): running on the CPU') if problem else (
            torch.device('cuda:0'), '')
    if wanted == 'auto':
        return cpu, ''
    return cpu, f'device {wanted} is not there ({_why()}): running on the CPU'


def fault(device: torch.device) -> str:
    """Why a device cannot compute, in the words of its driver; '' where it can. It is tried."""
    try:
        square = torch.ones(PROBE, PROBE, device=device)
        return '' if float((square @ square)[0, 0]) == PROBE else 'it computes wrongly'
    except (RuntimeError, AssertionError) as error:     # out of memory, lost, no kernel for it; built without it
        return str(error).strip().partition('\n')[0] or type(error).__name__


def _why() -> str:
    if torch.version.cuda is None:
        return 'this torch was built without CUDA'
    return 'torch finds no CUDA device'
