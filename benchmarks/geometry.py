"""Point clouds and cameras, beside PyPose."""
import warnings
from collections.abc import Iterator

import torch
from harness import Record, compare, main

import pypose_core as pp

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import pypose


def rough_cloud(n: int) -> torch.Tensor:
    """Points of a wavy sheet."""
    torch.manual_seed(0)
    xy = torch.rand(n, 2, dtype=torch.float64) * 4 - 2
    return torch.stack([xy[:, 0], xy[:, 1], 0.5 * (1.5 * xy[:, 0]).sin() + 0.4 * (1.2 * xy[:, 1]).cos()], -1)


def icp(n: int, rounds: int) -> Record:
    target = rough_cloud(n)
    motion = pp.se3(torch.tensor([0.03, -0.02, 0.05, 0.02, -0.03, 0.04], dtype=torch.float64)).Exp()
    source = motion.Inv().unsqueeze(-2) @ target + 0.002 * torch.randn(n, 3, dtype=torch.float64)

    def run(library):
        stepper = library.utils.ReduceToBason(steps=200, patience=5, decreasing=1e-3)
        return library.module.ICP(stepper=stepper)(source, target)
    return compare(f'ICP, {n} points, float64', peer='pypose 0.9.5', ours=lambda: run(pp), theirs=lambda: run(pypose),
                   agree=lambda a, b: bool((a.tensor() - b.tensor()).abs().max() < 1e-3),
                   target=20 if n == 5000 else None, rounds=rounds,
                   note='poses agree to 1e-3; the same stepper ends both')


def neighbours(n: int, rounds: int) -> Record:
    points = rough_cloud(n)
    return compare(f'8 nearest neighbours of {n} points among themselves', peer='pypose 0.9.5',
                   ours=lambda: pp.knn(points, points, 8), theirs=lambda: pypose.knn(points, points, 8),
                   agree=lambda a, b: bool((a.values - b.values).abs().max() < 1e-9), rounds=rounds,
                   note='distances agree to 1e-9')


def epnp(batch: int, n: int, rounds: int) -> Record:
    torch.manual_seed(0)
    K = torch.tensor([[420.0, 0, 320], [0, 400, 240], [0, 0, 1]], dtype=torch.float64).expand(batch, 3, 3)
    T = pp.randn_SE3(batch, dtype=torch.float64)
    points = torch.rand(batch, n, 3, dtype=torch.float64) * 4 - 2 + torch.tensor([0, 0, 6.0], dtype=torch.float64)
    points = T.Inv().unsqueeze(-2) @ points
    pixels = pp.point2pixel(points, K, T) + 0.5 * torch.randn(batch, n, 2, dtype=torch.float64)

    def error(X) -> torch.Tensor:
        return pp.reprojerr(points, pixels, K, pp.SE3(X.tensor().detach())).square().sum((-2, -1))
    return compare(f'EPnP, {batch} cameras of {n} points', peer='pypose 0.9.5',
                   ours=lambda: pp.module.EPnP(K)(points, pixels),
                   theirs=lambda: pypose.module.EPnP(K)(points, pixels), rounds=rounds,
                   agree=lambda a, b: bool((error(a) <= error(b) + 1e-9).all()),
                   note='our reprojection error is nowhere above theirs')


def records(quick: bool) -> Iterator[Record]:
    if quick:
        yield icp(1000, 2)
        yield neighbours(1000, 2)
        yield epnp(4, 10, 2)
    else:
        yield icp(5000, 3)
        yield neighbours(5000, 3)
        yield epnp(1, 20, 5)
        yield epnp(64, 20, 3)


if __name__ == '__main__':
    main(records, __doc__)
