"""Levenberg-Marquardt on batches of independent problems.

Against PyPose 0.9.5, which builds one dense matrix of all problems, on its own example: poses that invert given
ones, and on the pose graph of its examples.  And against what a user does about the first: one optimizer for each
problem, in a loop.

Needs pose graphs: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pypose
import torch
from harness import Record, compare, main

import pypose_core as pp
from pypose_core.graph import read_g2o

DATA = Path(os.environ.get('PYPOSE_DATA', Path(__file__).parents[2] / 'shared' / 'data'))


class Inversion(torch.nn.Module):
    """Poses X with residual Log(X Z) for given Z: the optimum is Z⁻¹."""

    def __init__(self, library, start: torch.Tensor):
        super().__init__()
        self.pose = library.Parameter(library.SE3(start.clone()))

    def forward(self, Z):
        return (self.pose @ Z).Log().tensor()


class Registration(torch.nn.Module):
    """Poses that map points to observed ones; one problem for each pose."""

    def __init__(self, start: torch.Tensor):
        super().__init__()
        self.pose = pp.Parameter(pp.SE3(start.clone()))

    def forward(self, points):
        return self.pose.unsqueeze(-2).Act(points)


class PoseGraph(torch.nn.Module):
    """The model of PyPose's example: each residual gathers its two poses."""

    def __init__(self, library, start: torch.Tensor):
        super().__init__()
        self.pose = library.Parameter(library.SE3(start.clone()))

    def forward(self, edges, measured):
        a, b = self.pose[edges[..., 0]], self.pose[edges[..., 1]]
        return (measured.Inv() @ a.Inv() @ b).Log().tensor()


def restart(model: torch.nn.Module, start: torch.Tensor) -> None:
    with torch.no_grad():
        model.pose.copy_(start)


def stepper(make: Callable, start: torch.Tensor, inputs: Callable) -> Callable:
    """A function of the library: one step from the same start with the same damping; the poses and the loss after it.

    Args:
        make: makes the model, from the library and the start.
        inputs: what it is called with, in the library's types.
    """
    sides = {}
    for library in (pp, pypose):
        model = make(library, start)
        optimizer = library.optim.LM(model, strategy=library.optim.strategy.Constant(damping=1e-4))
        sides[library] = model, optimizer, inputs(library)

    def step(library) -> torch.Tensor:
        model, optimizer, given = sides[library]
        restart(model, start)
        # PyPose takes the loss before a step from the step before, which began elsewhere.
        optimizer.__dict__.pop('loss', None) if library is pypose else None
        loss = optimizer.step(given)
        return torch.cat([model.pose.detach().tensor().reshape(-1), loss.reshape(1)])
    return step


def pose_inversion(count: int, rounds: int) -> Record:
    """Many poses that have nothing to do with each other."""
    torch.manual_seed(0)
    start = pp.randn_SE3(count, sigma=0.5, dtype=torch.float64).tensor()
    Z = pp.randn_SE3(count, sigma=0.5, dtype=torch.float64).tensor()
    step, memory = stepper(Inversion, start, lambda library: library.SE3(Z)), []

    def ours():
        result = step(pp)
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return result

    record = compare(f'one LM step, inversion of {count} poses, float64', peer='pypose 0.9.5', ours=ours,
                     theirs=lambda: step(pypose), rounds=rounds, target=500 if count == 1000 else None,
                     agree=lambda a, b: bool((a - b).abs().max() < 1e-8))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return replace(record, note='poses and loss after the step agree to 1e-8; peak memory '
                   f'{memory[0] / 1024:.0f} MB after ours alone, {peak / 1024:.0f} MB after both')


def pose_graph(name: str, rounds: int) -> Record:
    """From the file's poses; edges without weights, without which PyPose judges a step."""
    file = read_g2o(DATA / 'pgo3d' / name)
    start, = file.graph.values.values()
    edges, measured = file.graph.factors[0].index, file.graph.factors[0].measured
    step = stepper(PoseGraph, start, lambda library: (edges, library.SE3(measured)))
    return compare(f'one LM step, {name}: {len(start)} poses, {len(edges)} edges', peer='pypose 0.9.5',
                   ours=lambda: step(pp), theirs=lambda: step(pypose), rounds=rounds, target=None,
                   agree=lambda a, b: bool((a - b).abs().max() < 1e-6),
                   note='poses and loss after the step agree to 1e-6')


def registrations(count: int, points: int, rounds: int) -> Record:
    """To the optimum, each problem with its own damping, beside a loop over the problems."""
    torch.manual_seed(0)
    truth = pp.randn_SE3(count, dtype=torch.float64)
    start = (pp.randn_SE3(count, sigma=0.3, dtype=torch.float64) @ truth).tensor()
    source = torch.randn(count, points, 3, dtype=torch.float64)
    target = truth.unsqueeze(1).Act(source) + 0.01 * torch.randn(count, points, 3, dtype=torch.float64)

    def ours():
        model = Registration(start)
        pp.optim.LM(model).optimize(source, target)
        return model.pose.detach().tensor()

    def loop():
        poses = []
        for i in range(count):
            model = Registration(start[i])
            pp.optim.LM(model).optimize(source[i], target[i])
            poses.append(model.pose.detach().tensor())
        return torch.stack(poses)

    return compare(f'LM to the optimum, {count} registrations of {points} points, float64',
                   peer='our LM on each problem, in a Python loop', ours=ours, theirs=loop, rounds=rounds,
                   agree=lambda a, b: bool((a - b).abs().max() < 1e-7),
                   note='poses agree to 1e-7; the first step, in which the structure is found, is counted')


def records(quick: bool) -> Iterator[Record]:
    if quick:
        yield pose_inversion(50, 3)
        yield registrations(10, 5, 2)
        yield pose_graph('tinyGrid3D.g2o', 2)
    else:
        yield pose_inversion(1000, 3)
        yield registrations(100, 20, 3)
        yield pose_graph('tinyGrid3D.g2o', 5)
        yield pose_graph('smallGrid3D.g2o', 3)


if __name__ == '__main__':
    main(records, __doc__)
