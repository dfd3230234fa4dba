"""Many small pose graphs at once: ours as one graph of many parts, solved in lockstep, GTSAM in a Python loop.

Graphs of 20 poses around a loop with 30 measurements each, noise of 5 cm and 0.02 rad, started with 0.1 m and 0.1 rad
of error. GTSAM's graphs are built beforehand, ours is built and analysed within the time. Agreement: the sum of chi2
over all graphs within 1e-6.
"""
import math
from collections.abc import Iterator

import torch
from harness import Record, compare, main
from peers.gtsam_pose_graph import ManyGraphs

from pypose_core.graph import SE3, Between, FactorGraph

POSES = 20
SIGMAS = torch.tensor([0.05] * 3 + [0.02] * 3, dtype=torch.float64)


def problems(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Guesses (B, N, 7), pairs (M, 2), measurements (B, M, 7)."""
    generator = torch.Generator().manual_seed(0)

    def noise(count: int) -> torch.Tensor:
        return torch.randn(batch, count, 6, generator=generator, dtype=torch.float64)

    turn = torch.tensor([1., 0, 0, 0, 0, 2 * math.pi / POSES], dtype=torch.float64)
    poses = [torch.tensor(SE3.identity, dtype=torch.float64).repeat(batch, 1)]
    for d in (0.1 * noise(POSES - 1) + turn).unbind(1):
        poses.append(SE3.retract(poses[-1], d))
    truth = torch.stack(poses, 1)
    index = torch.tensor([[k, (k + 1) % POSES] for k in range(POSES)] + [[k, k + 9] for k in range(10)])
    measured = SE3.retract(SE3.relative(truth[:, index[:, 0]], truth[:, index[:, 1]]), SIGMAS * noise(len(index)))
    guess = SE3.retract(truth, 0.1 * noise(POSES))
    guess[:, 0] = truth[:, 0]
    return guess, index, measured


def records(quick: bool) -> Iterator[Record]:
    batch = 100 if quick else 1000
    guess, index, measured = problems(batch)
    information = torch.diag(SIGMAS ** -2)

    def ours() -> float:
        graph = FactorGraph()
        graph.add_variables('pose', SE3, guess.reshape(-1, 7))
        graph.fix('pose', POSES * torch.arange(batch))
        everywhere = index + POSES * torch.arange(batch)[:, None, None]
        graph.add(Between('pose', everywhere.reshape(-1, 2), measured.reshape(-1, 7), information=information))
        return graph.optimize().stats.chi2

    peer = ManyGraphs(guess.numpy(), index.numpy(), measured.numpy(), SIGMAS.roll(3).numpy())
    yield compare(f'{batch} graphs of {POSES} poses, {len(index)} measurements', peer='gtsam 4.3.0', ours=ours,
                  theirs=peer.solve, agree=lambda a, b: abs(a / b - 1) < 1e-6, target=20, rounds=3 if quick else 5,
                  least=0.0, note='sums of chi2 agree to 1e-6')


if __name__ == '__main__':
    main(records, __doc__)
