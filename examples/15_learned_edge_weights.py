"""Which loop closures to believe, learned through the solver: no closure is ever labelled, only trajectories are known.

    features of each closure --> LoopVerifier --> weight --\\
    pose --odometry-- pose --odometry-- pose ... --closure--> SolverLayer --> poses --> distance from the truth
"""
import torch

from pypose_core.graph import SE2, Between, FactorGraph, SolverLayer, odometry_initialization
from pypose_core.learning import LoopVerifier

POSES, LOOPS, FALSE, STEP_SIGMA = 60, 24, 8, torch.tensor([0.03, 0.03, 0.015], dtype=torch.float64)


def world(seed: int) -> tuple[SolverLayer, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A layer from the closures' weights to the poses; features of the closures; which are right; the true poses."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    angle = torch.linspace(0, 4 * torch.pi, POSES, dtype=torch.float64)     # two laps
    truth = torch.stack([5 * angle.cos(), 5 * angle.sin(), -angle.sin(), angle.cos()], 1)   # heading ahead
    along = torch.stack([torch.arange(POSES - 1), torch.arange(1, POSES)], 1)
    first = torch.randint(0, POSES // 2, (LOOPS,), generator=generator)
    pairs = torch.stack([first, (first + POSES // 2).clamp(max=POSES - 1)], 1)
    right = torch.arange(LOOPS) >= FALSE
    graph = FactorGraph()
    graph.add_variables('pose', SE2, truth)
    graph.fix('pose', [0])
    sigma = torch.where(right[:, None], STEP_SIGMA, 100 * STEP_SIGMA)       # a false one is metres off
    for index, noise in ((along, STEP_SIGMA * random(POSES - 1, 3)), (pairs, sigma * random(LOOPS, 3))):
        measured = SE2.retract(SE2.relative(truth[index[:, 0]], truth[index[:, 1]]), noise)
        loops = graph.add(Between('pose', index, measured, information=torch.diag(STEP_SIGMA ** -2)))
    odometry_initialization(graph, 'pose')
    # What a scan matcher might say of itself: overlap and fitness, either of which alone misleads.
    features = torch.where(right, 1.0, -1.0)[:, None] + random(LOOPS, 2)
    return SolverLayer(graph, [(loops, 'weight')], gradient='truncated', steps=1), features, right, truth


def rmse(poses, truth):
    return (poses[:, :2] - truth[:, :2]).square().sum(1).mean().sqrt()


if __name__ == '__main__':
    torch.manual_seed(0)
    worlds, verifier = [world(seed) for seed in range(6)], LoopVerifier(features=2, prior=0.5).double()
    optimizer = torch.optim.Adam(verifier.parameters(), lr=0.02)
    for _ in range(5):
        for layer, features, _, truth in worlds:
            optimizer.zero_grad()
            rmse(layer(verifier(features).clamp(min=1e-4))['pose'], truth).log().backward()
            optimizer.step()
    errors = []
    with torch.no_grad():
        for layer, features, right, truth in (world(seed) for seed in range(100, 110)):
            weight = verifier(features).clamp(min=1e-4)
            errors.append([float(rmse(layer(w)['pose'], truth)) for w in (torch.ones(LOOPS), weight, right + 1e-9)])
    every, learned, known = torch.tensor(errors).mean(0).tolist()
    print(f'10 unseen graphs: {every:.2f} m off believing all closures, {known:.2f} m knowing which are right')
    print(f'with learned weights {learned:.2f} m')
