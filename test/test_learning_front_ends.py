"""Front-end networks: what they are before training, what they can never do, and that a stream is the same network."""
import numpy as np
import pytest
import torch

from pypose_core.inertial import ImuNoise, preintegrate
from pypose_core.learning import ImuCorrector, LoopVerifier, OdometryUncertainty

NOISE = ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3)


def disturbed(front_end: torch.nn.Module, *, scale: float = 0.3, seed: int = 0) -> torch.nn.Module:
    """The network with other weights, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in front_end.parameters():
        parameter.data += scale * torch.randn(parameter.shape, generator=generator)
    return front_end


def samples(count: int, *, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    return x * torch.tensor([0.5, 0.5, 0.5, 3, 3, 3]) + torch.tensor([0, 0, 0, 0, 0, 9.8])


def test_an_untrained_corrector_removes_the_calibrated_bias_and_states_the_given_noise():
    corrector, bias = ImuCorrector(), torch.tensor([0.01, -0.02, 0.03, 0.1, -0.2, 0.3])
    corrector.calibrate(bias, NOISE)
    x = samples(50)
    out = corrector(x)
    torch.testing.assert_close(torch.cat([out.gyro, out.accel], -1), x - bias.double(), rtol=0, atol=1e-7)
    torch.testing.assert_close(out.density[7], NOISE.vector()[:2].repeat_interleave(3), rtol=1e-6, atol=0)


@pytest.mark.parametrize('dtype,tolerance', [(torch.float64, 1e-13), (torch.float32, 2e-6)])
@pytest.mark.parametrize('dilations', [(), (1,), (1, 2, 4, 8), (3, 1, 7)])
def test_a_stream_gives_what_the_whole_window_gives(dtype, tolerance, dilations):
    corrector = disturbed(ImuCorrector(channels=8, dilations=dilations)).to(dtype)
    x = samples(60)
    out = corrector(x)
    stream = corrector.stream()
    corrected, density = stream.run(x.numpy())
    np.testing.assert_allclose(corrected, torch.cat([out.gyro, out.accel], -1).detach(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(density, out.density.detach(), rtol=30 * tolerance)
    stream.reset()
    np.testing.assert_array_equal(stream.run(x[:20].numpy())[0], corrected[:20])


def test_the_memory_of_a_stream_is_its_receptive_field():
    corrector = disturbed(ImuCorrector(channels=8, dilations=(1, 2, 4))).double()
    first, second = corrector.stream(), corrector.stream()
    x, other = samples(100), samples(100, seed=2)
    other[-corrector.receptive_field:] = x[-corrector.receptive_field:]
    assert np.array_equal(first.run(x.numpy())[0][-1], second.run(other.numpy())[0][-1])
    held = sum(ring.size for ring in first._rings)
    first.run(x.numpy())
    assert sum(ring.size for ring in first._rings) == held == 8 * (1 + 2 + 4)


def test_later_samples_change_nothing_before_them():
    corrector, x = disturbed(ImuCorrector()), samples(80)
    changed = x.clone()
    changed[50:] += 1
    a, b = corrector(x), corrector(changed)
    assert torch.equal(a.gyro[:50], b.gyro[:50]) and torch.equal(a.density[:50], b.density[:50])
    assert not torch.equal(a.gyro[50], b.gyro[50])


def test_what_a_corrector_may_do_is_bounded_for_any_weights():
    corrector = ImuCorrector(limit=(0.01, 0.2), density_range=10.0)
    for parameter in [*corrector.layers.parameters(), *corrector.head.parameters()]:
        parameter.data = 1e4 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    x = samples(100)
    out = corrector(x)
    assert (out.gyro - x[:, :3]).abs().max() <= 0.01 * (1 + 1e-6)
    assert (out.accel - x[:, 3:]).abs().max() <= 0.2 * (1 + 1e-6)
    ratio = out.density / corrector.log_density.exp()
    assert ratio.max() <= 10.001 and ratio.min() >= 0.0999


def test_preintegrated_covariance_is_that_of_the_stated_densities():
    corrector = ImuCorrector().double()
    corrector.calibrate(torch.zeros(6), NOISE, bias_sigma=(1e-5, 1e-4))
    x, dt = samples(41), torch.full((40,), 0.005, dtype=torch.float64)
    found = corrector(x).preintegrate(dt)
    mean = (x[1:] + x[:-1]) / 2
    start = torch.diag(torch.tensor([0.] * 9 + [1e-10] * 3 + [1e-8] * 3, dtype=torch.float64))
    wanted = preintegrate(dt, mean[:, :3], mean[:, 3:], noise=NOISE, covariance=start)
    # calibrate() stores logarithms in single precision, which the module then holds in double
    torch.testing.assert_close(found.covariance, wanted.covariance, rtol=2e-6, atol=1e-18)
    torch.testing.assert_close(found.delta_position, wanted.delta_position)


def test_autocast_rounds_only_the_network():
    corrector, x = ImuCorrector(), samples(30)
    corrector.calibrate(torch.full((6,), 0.01), NOISE)
    with torch.autocast('cpu', torch.bfloat16):
        out = corrector(x)
    torch.testing.assert_close(out.gyro, x[:, :3] - 0.01, rtol=0, atol=1e-8)


@pytest.mark.parametrize('size', [3, 6])
def test_an_edge_information_is_positive_definite_for_any_weights_and_fixed_at_first(size):
    network = OdometryUncertainty(features=4, size=size)
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    sigma = torch.linspace(0.01, 0.1, size)
    network.calibrate(features, sigma)
    torch.testing.assert_close(network(features), torch.diag(sigma ** -2).expand(30, -1, -1))
    information = disturbed(network, scale=0.5).double()(features.double())
    assert torch.linalg.cholesky_ex(information).info.eq(0).all()
    torch.testing.assert_close(information, information.mT)
    spread = torch.linalg.inv(information).diagonal(dim1=-2, dim2=-1).sqrt()
    assert spread.isfinite().all() and (spread / sigma).std() > 0.1


def test_a_loop_weight_is_a_share_and_the_prior_at_first():
    verifier = LoopVerifier(features=3, prior=0.8)
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    verifier.calibrate(features)
    torch.testing.assert_close(verifier(features), torch.full((20,), 0.8))
    weights = disturbed(verifier, scale=2.0)(features)
    assert weights.min() >= 0 and weights.max() <= 1 and weights.std() > 0.01


@pytest.mark.parametrize('arguments', [dict(rate=0.0), dict(channels=0), dict(dilations=(0,)), dict(limit=(0.0, 1.0))])
def test_a_corrector_that_cannot_be_is_refused(arguments):
    with pytest.raises(ValueError, match='positive'):
        ImuCorrector(**arguments)
