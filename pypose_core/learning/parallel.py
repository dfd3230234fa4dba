"""Training in several processes, started by torchrun."""
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def processes() -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started, if it did: (rank, number of processes)."""
    if int(os.environ.get('WORLD_SIZE', '1')) < 2:
        yield 0, 1
        return
    dist.init_process_group('gloo')
    try:
        yield process_rank()
        # A thread of gloo that still holds a tensor of Python's when the group is torn down waits for the interpreter,
        # which waits for the thread.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def process_rank() -> tuple[int, int]:
    """(rank, number of processes) of this one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Add the processes' gradients, each of which is weighted by its share of the batch already."""
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if process_rank()[1] == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]      # all of them
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(total.view_as(gradient))


def sum_over_processes(value: float) -> float:
    """The sum of each process's number."""
    if process_rank()[1] == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total)
