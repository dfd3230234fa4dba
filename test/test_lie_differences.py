"""Where PyPose 0.9.5 is wrong: the right answers, by the numbers of docs/differences_from_pypose.md."""
import pytest
import torch
from test_lie_groups import random

import pypose_core as pp


def test_1_slices_have_their_true_gradients():
    """A position measurement moves a pose along the translation only: PyPose's gradient stalls here."""
    X = pp.Parameter(random('SE3', 3))
    target = torch.ones(3, 3, dtype=torch.float64)
    (X.translation() - target).square().sum().backward()
    r = 2 * (X.translation() - target).detach()
    assert torch.allclose(X.grad[:, :3], r)
    assert torch.allclose(X.grad[:, 3:6], torch.linalg.cross(X.translation().detach(), r))


def test_2_a_plain_leaf_gets_the_gradient_of_its_numbers():
    q = random('SO3').tensor().requires_grad_()
    assert torch.autograd.gradcheck(lambda q: pp.SO3(q).Log().tensor(), q)


def test_3_derivatives_at_the_identity_are_finite():
    zero = torch.zeros(6, dtype=torch.float64)
    for f in (lambda x: pp.se3(x).Exp().Log().tensor(), lambda x: pp.se3(x).Exp().tensor(),
              lambda x: pp.se3(x).Exp().Jinvp(torch.ones(6, dtype=torch.float64)).tensor(),
              lambda x: pp.se3(x).Jr()):
        hessian = torch.autograd.functional.hessian(lambda x: f(x).sin().sum(), zero)   # noqa: B023
        assert torch.isfinite(hessian).all()


def test_4_similarity_jacobians_are_exact_at_size_two():
    x = torch.tensor([1.0, -0.5, 0.3, 0.9, 0.8, -0.7, 0.5], dtype=torch.float64)
    x = 2 * x / x.norm()
    X, a = pp.sim3(x).Exp(), 1e-6 * torch.linspace(-1, 1, 7, dtype=torch.float64)
    found = X.Jinvp(a).tensor()
    difference = ((pp.sim3(a).Exp() @ X).Log().tensor() - (pp.sim3(-a).Exp() @ X).Log().tensor()) / 2
    assert torch.allclose(found, difference, rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize('angle', [1e-6, 1e-4, 1e-2])
def test_5_single_precision_is_accurate_near_the_identity(angle):
    x = torch.tensor([1.0, 2.0, 3.0, angle, -angle, angle])
    assert torch.allclose(pp.se3(x).Exp().tensor().double(), pp.se3(x.double()).Exp().tensor(), rtol=2e-7, atol=2e-7)


def test_6_quat2unit_leaves_its_input():
    X = pp.SO3(torch.tensor([0.0, 0.0, 0.0, 2.0]))
    assert pp.quat2unit(X).tolist() == [0, 0, 0, 1] and X.tolist() == [0, 0, 0, 2]


def test_7_retractions_keep_unit_length():
    X = random('SO3').float()
    for _ in range(2000):
        X = X + torch.tensor([0.1, 0.2, -0.3])
    assert X.tensor().norm().item() == pytest.approx(1, abs=2e-7)


def test_8_likes_are_of_the_same_dtype():
    assert pp.randn_like(random('SE3')).dtype == pp.identity_like(random('se3')).dtype == torch.float64


def test_9_matrices_without_a_scale_are_refused():
    good = random('Sim3').matrix()
    bad = torch.stack([good, torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64))])
    for convert in (pp.mat2Sim3, pp.mat2RxSO3):
        with pytest.raises(ValueError, match='determinant'):
            convert(bad)


def test_10_every_type_can_be_set_to_its_identity():
    assert random('se3', 2).identity_().tensor().abs().max() == 0
    assert random('Sim3').identity_().tolist() == [0, 0, 0, 0, 0, 0, 1, 1]


def test_13_what_is_no_element_is_no_lietensor():
    with_warnings_as_errors = random('SE3', 2)[..., :3]
    assert type(with_warnings_as_errors) is torch.Tensor
