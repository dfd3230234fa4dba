"""Correctors: the least-squares problem that stands for a robust one."""
import warnings

import pytest
import torch

import pypose_core as pp

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')

KERNELS = [pp.optim.kernel.Huber(0.5), pp.optim.kernel.Cauchy(0.5), pp.optim.kernel.Tukey(3.0)]


class Convex(torch.nn.Module):
    """x + x²/2: a kernel with positive curvature, for which Triggs' correction is exact."""

    def forward(self, x):
        return x + x.square() / 2


def linear_problem(M=5, d=3, n=4):
    generator = torch.Generator().manual_seed(0)
    R = torch.randn(M, d, generator=generator, dtype=torch.float64)
    return R, torch.randn(M * d, n, generator=generator, dtype=torch.float64)


def robust_loss(kernel, R, J):
    return lambda delta: kernel((R.reshape(-1) + J @ delta).view_as(R).square().sum(-1)).sum()


@pytest.mark.parametrize('corrector', [pp.optim.corrector.FastTriggs, pp.optim.corrector.Triggs])
@pytest.mark.parametrize('kernel', [*KERNELS, Convex()], ids=lambda k: type(k).__name__)
def test_gradient_is_that_of_the_robust_loss(corrector, kernel):
    R, J = linear_problem()
    loss = robust_loss(kernel, R, J)
    expected = torch.autograd.functional.jacobian(loss, torch.zeros(4, dtype=torch.float64))
    sR, sJ = corrector(kernel)(R=R, J=J)
    assert sR.shape == R.shape and sJ.shape == J.shape
    torch.testing.assert_close(2 * sJ.mT @ sR.reshape(-1), expected, rtol=1e-10, atol=1e-12)


def test_triggs_gives_the_hessian_where_the_kernel_is_convex():
    R, J = linear_problem()
    expected = torch.autograd.functional.hessian(robust_loss(Convex(), R, J), torch.zeros(4, dtype=torch.float64))
    _, sJ = pp.optim.corrector.Triggs(Convex())(R=R, J=J)
    torch.testing.assert_close(2 * sJ.mT @ sJ, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('kernel', KERNELS, ids=lambda k: type(k).__name__)
def test_triggs_is_fast_triggs_where_the_kernel_is_concave(kernel):
    R, J = linear_problem()
    for ours, fast in zip(pp.optim.corrector.Triggs(kernel)(R=R, J=J), pp.optim.corrector.FastTriggs(kernel)(R, J)):
        torch.testing.assert_close(ours, fast, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize('corrector', [pp.optim.corrector.FastTriggs, pp.optim.corrector.Triggs])
def test_zero_residual_and_rejected_outlier_are_finite(corrector):
    R, J = linear_problem()
    R[0], R[1] = 0, 100
    sR, sJ = corrector(pp.optim.kernel.Tukey(1.0))(R=R, J=J)
    assert sR.isfinite().all() and sJ.isfinite().all()
    assert (sR[:2] == 0).all() and (sJ[3:6] == 0).all()


@pytest.mark.parametrize('kernel', ['Huber', 'Cauchy', 'PseudoHuber'])
def test_the_derivatives_of_the_kernel_are_pyposes(kernel):
    R = 2 * torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double()
    found, expected = (lib.optim.corrector.Triggs(getattr(lib.optim.kernel, kernel)()).compute_grads(R)
                       for lib in (pp, pypose))
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('optimizer', ['GN', 'LM'])
def test_steps_of_ones_own_move_parameters_as_in_pypose(optimizer):
    torch.manual_seed(0)
    start, step = pypose.randn_SE3(2, dtype=torch.float64).tensor(), torch.randn(2 * 7 + 3).double()
    moved = []
    for lib in (pypose, pp):
        module = torch.nn.Module()
        module.pose, module.frozen = lib.Parameter(lib.SE3(start.clone())), torch.nn.Parameter(torch.zeros(4).double())
        module.bias = torch.nn.Parameter(torch.zeros(3).double())
        module.frozen.requires_grad_(False)
        optimizer_ = getattr(lib.optim, optimizer)(module)
        with torch.no_grad():
            params = [module.pose, module.bias]
            optimizer_.update_parameter(params, step)
        moved.append(torch.cat([module.pose.detach().tensor().reshape(-1), module.bias.detach()]))
    torch.testing.assert_close(moved[1], moved[0])
    tangent = torch.cat([step[:6], step[7:13], step[14:]])
    with torch.no_grad():
        module.pose.copy_(pp.SE3(start))
        module.bias.zero_()
    optimizer_.update_parameter([module.pose, module.frozen, module.bias], tangent)
    torch.testing.assert_close(torch.cat([module.pose.detach().tensor().reshape(-1), module.bias.detach()]), moved[0])
    with pytest.raises(ValueError, match='step of 4'):
        optimizer_.update_parameter(params, step[:4])
