"""The optimizers of torch.optim keep group parameters on the manifold and converge."""
import pytest
import torch
from test_lie_groups import random

import pypose_core as pp
from pypose_core.lie.reference import GROUPS

OPTIMIZERS = {
    'SGD': (torch.optim.SGD, {'lr': 0.1}),
    'SGD momentum': (torch.optim.SGD, {'lr': 0.05, 'momentum': 0.5}),
    'Adam': (torch.optim.Adam, {'lr': 0.05}),
    'AdamW': (torch.optim.AdamW, {'lr': 0.05, 'weight_decay': 1e-4}),
    'RMSprop': (torch.optim.RMSprop, {'lr': 0.01}),
}


def on_manifold(X) -> bool:
    lo, hi = X.ltype.group.rotation
    norm = X.tensor()[..., lo:hi].norm(dim=-1)
    return torch.allclose(norm, torch.ones_like(norm), atol=1e-14)


def residual(X, target):
    return (X @ target.Inv()).Log().tensor()


@pytest.mark.parametrize('foreach', [False, True])
@pytest.mark.parametrize('optimizer', OPTIMIZERS)
@pytest.mark.parametrize('name', ['SO3', 'SE3', 'Sim3', 'SE2'])
def test_first_order_methods_converge_on_the_manifold(name, optimizer, foreach):
    X, target = pp.Parameter(random(name, 4)), random(name, 4, seed=1)
    method, options = OPTIMIZERS[optimizer]
    steps = method([X], foreach=foreach, **options)
    start = residual(X, target).square().sum().item()
    for _ in range(150):
        steps.zero_grad()
        loss = residual(X, target).square().sum()
        loss.backward()
        steps.step()
        assert on_manifold(X)
    assert isinstance(X, pp.Parameter)
    assert residual(X, target).square().sum().item() < 0.02 * start


@pytest.mark.parametrize('search', [None, 'strong_wolfe'])
@pytest.mark.parametrize('name', list(GROUPS))
def test_lbfgs_converges_on_the_manifold(name, search):
    X, target = pp.Parameter(random(name, 4)), random(name, 4, seed=1)
    steps = torch.optim.LBFGS([X], max_iter=100, line_search_fn=search)

    def closure():
        steps.zero_grad()
        loss = residual(X, target).square().sum()
        loss.backward()
        return loss
    steps.step(closure)
    assert on_manifold(X)
    assert closure().item() < 1e-6


@pytest.mark.parametrize('foreach', [False, True])
@pytest.mark.parametrize('method', [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_weight_decay_pulls_to_the_identity(method, foreach):
    X = pp.Parameter(random('SE3', 5))
    before = X.Log().tensor().norm().item()
    steps = method([X], lr=0.02, weight_decay=0.5, foreach=foreach)
    for _ in range(60):
        X.grad = torch.zeros_like(X)
        steps.step()
    assert on_manifold(X)
    assert X.Log().tensor().norm().item() < 0.75 * before


@pytest.mark.parametrize('foreach', [False, True])
def test_steps_of_plain_parameters_beside_are_torch_own(foreach):
    w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    v = torch.nn.Parameter(w.detach().clone())
    mixed = torch.optim.Adam([w, pp.Parameter(random('SO3', 2))], lr=0.1, foreach=foreach, weight_decay=0.1)
    alone = torch.optim.Adam([v], lr=0.1, foreach=foreach, weight_decay=0.1)
    for steps, p in ((mixed, w), (alone, v)):
        p.grad = torch.tensor([0.3, -0.7])
        for q in steps.param_groups[0]['params']:
            q.grad = torch.zeros_like(q) if q.grad is None else q.grad
        steps.step()
    assert torch.equal(w, v)


def test_fused_is_refused_in_words():
    X = pp.Parameter(random('SO3', 2))
    X.grad = torch.zeros_like(X)
    with pytest.raises(RuntimeError, match='fused'):
        torch.optim.Adam([X], fused=True).step()
