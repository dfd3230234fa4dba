"""Damping strategies: what follows from the quality of a step."""
import pytest
import torch

import pypose_core as pp

strategy = pp.optim.strategy
f64 = torch.float64


def trial(ratio):
    """Arguments of update() for a step of the given quality: r = 1, J = 1, D = -1/2 predicts 1 - 1/4."""
    ratio = torch.as_tensor(ratio, dtype=f64)
    one = torch.ones(*ratio.shape, 1, 1, dtype=f64)
    return {'last': torch.ones_like(ratio), 'loss': 1 - 0.75 * ratio, 'J': one, 'D': -0.5 * one, 'R': one}


def test_quality_is_actual_over_predicted_decrease():
    torch.testing.assert_close(strategy.quality(**trial([0.2, -3.0, float('nan')])),
                               torch.tensor([0.2, -torch.inf, -torch.inf], dtype=f64))
    assert strategy.quality(**trial(0.5)).shape == ()


@pytest.mark.parametrize('ratio, factor', [(0.9, 0.5), (0.3, 1.0), (-1.0, 2.0), (float('nan'), 2.0)])
def test_adaptive(ratio, factor):
    adaptive = strategy.Adaptive(damping=1e-2)
    pg = dict(adaptive.defaults)
    adaptive.update(pg, **trial(ratio))
    assert float(pg['damping']) == pytest.approx(1e-2 * factor)


def test_adaptive_keeps_its_bounds():
    adaptive = strategy.Adaptive(damping=1e-3, min=9e-4, max=1.5e-3)
    for ratio, bound in ((0.9, 9e-4), (-1.0, 1.5e-3)):
        pg = dict(adaptive.defaults)
        adaptive.update(pg, **trial(ratio))
        assert float(pg['damping']) == pytest.approx(bound)


def test_trust_region_shrinks_faster_and_faster_and_recovers():
    region = strategy.TrustRegion(radius=1e4)
    pg = dict(region.defaults)
    assert pg['damping'] == pytest.approx(1e-4)
    radii = []
    for ratio in (-1.0, -1.0, float('nan'), 0.9, 0.3, -1.0):
        region.update(pg, **trial(ratio))
        radii.append(float(pg['radius']))
        assert float(pg['damping']) == pytest.approx(1 / radii[-1])
    assert radii == pytest.approx([1e4 * f for f in (1 / 2, 1 / 8, 1 / 64, 1 / 32, 1 / 32, 1 / 64)])


def test_constant_stays():
    constant = strategy.Constant(0.1)
    pg = dict(constant.defaults)
    constant.update(pg, **trial(-1.0))
    assert pg == {'damping': 0.1} and not constant.adapts


@pytest.mark.parametrize('kind', [strategy.Adaptive, strategy.TrustRegion])
def test_batches_are_treated_one_by_one(kind):
    ratios = [0.9, 0.3, -1.0, float('nan')]
    together = {key: torch.full((4,), value, dtype=f64) for key, value in kind().defaults.items()}
    kind().update(together, **trial(ratios))
    for i, ratio in enumerate(ratios):
        alone = dict(kind().defaults)
        kind().update(alone, **trial(ratio))
        assert float(together['damping'][i]) == pytest.approx(float(alone['damping']))


def test_a_strategy_written_for_pypose_drives_one_problem():
    seen = []

    class Mine:
        defaults = {'damping': 1e-3}

        def update(self, pg, last, loss, J, D, R, *args, **kwargs):
            seen.append((last.shape, loss.shape, J.shape, D.shape, R.shape))
            if ((J @ D).mT @ (2 * R + J @ D)).squeeze() > 0 or loss > last:
                pg['damping'] = pg['damping'] * 10
            else:
                pg['damping'] = max(1e-6, min(float(pg['damping']) * 0.5, 1.0))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=f64))

        def forward(self):
            return self.x[None] ** 2 - 3

    model = Model()
    pp.optim.LM(model, strategy=Mine()).optimize(())
    assert seen[0] == ((), (), (2, 2), (2, 1), (2, 1))
    torch.testing.assert_close(model.x.detach(), torch.full((2,), 3 ** 0.5, dtype=f64))
