"""IMUPreintegrator has PyPose 0.9.5's interface; its numbers where they are right, the right ones elsewhere.

PyPose's numbers below were computed with it on the inputs of `recording()`.
"""
import math
import warnings

import pytest
import torch
from torch import Tensor

import pypose_core as pp
from pypose_core.inertial import preintegrate
from pypose_core.lie import so3
from pypose_core.lie.dispatch import plain
from pypose_core.lie.groups import SO3
from pypose_core.module import IMUPreintegrator

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    pypose = pytest.importorskip('pypose', '0.9.5')

G = 9.81007


def recording(B: int = 2, F: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """dt (B, F, 1), gyro, acc (B, F, 3): closed forms, so that the numbers below can be computed again."""
    t = torch.arange(B * F * 3, dtype=torch.float64).view(B, F, 3)
    dt = 0.01 + 0.002 * torch.sin(t[..., :1])
    return dt, torch.sin(t), 2 * torch.cos(1.7 * t) + torch.tensor([0., 0., G])


def integrator(**keywords) -> IMUPreintegrator:
    return IMUPreintegrator(**({'reset': True} | keywords)).double()


def coordinates(result: dict) -> Tensor:
    return torch.cat([plain(result['rot']), result['vel'], result['pos']], -1)


def spinning(rate: Tensor, F: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    """A body that turns in place at a steady rate about its origin, measured without noise."""
    dt = torch.full((1, F, 1), 1 / F, dtype=torch.float64)
    time = torch.arange(F, dtype=torch.float64)[:, None] / F
    up = torch.tensor([0., 0., G], dtype=torch.float64)
    return dt, rate.expand(1, F, 3), so3.act(so3.inv(so3.exp(rate * time)), up)[None]


# --- where PyPose is right -------------------------------------------------------------------------

INIT = {'pos': torch.tensor([1., 2., 3.]).double().view(1, 1, 3),
        'rot': SO3(so3.exp(torch.tensor([.3, -.2, .1], dtype=torch.float64)).view(1, 1, 4)),
        'vel': torch.tensor([.5, -.4, .2], dtype=torch.float64).view(1, 1, 3)}


def test_states_without_gravity_are_those_of_pypose():
    expected = [0.15479811837407823, -0.09563512052459262, 0.048541287250651745, 0.9821075346937022,
                0.40558800677420237, -0.5657122722441608, 0.7459227388289873,
                1.0265404658007815, 1.9714132442754544, 3.0289899292647857]
    result = coordinates(integrator(gravity=0.)(*recording(), init_state=INIT))[1, -1]
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


def test_states_with_known_attitudes_are_those_of_pypose():
    expected = [0.15479811837407823, -0.09563512052459262, 0.048541287250651745, 0.9821075346937022,
                0.47754408993949604, -0.4149771480699937, 0.20619471438686754,
                1.029426165726565, 1.9758325580479286, 3.0129328391934407]
    rot = SO3(so3.exp(0.3 * torch.cos(torch.arange(36, dtype=torch.float64).view(2, 6, 3))))
    result = coordinates(integrator()(*recording(), rot=rot, init_state=INIT))[1, -1]
    # PyPose's gravity is rounded to float32.
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_covariance_of_a_steady_force_without_gravity_and_rotation_is_that_of_pypose():
    diagonal = [5.999999848427251e-06, 1.1999999696854501e-05, 1.8000000854954125e-05, 0.0006001649865895888,
                0.0012000659731774433, 0.001800032959766031, 7.150734090187869e-07, 1.4300293380368019e-06,
                2.145014637055143e-06]
    steady = torch.tensor([1., -2., 3.], dtype=torch.float64).expand(2, 6, 3)
    module = integrator(gravity=0., gyro_cov=torch.tensor([1e-4, 2e-4, 3e-4]),
                        acc_cov=torch.tensor([1e-2, 2e-2, 3e-2]))
    cov = module(torch.full((2, 6, 1), 0.01, dtype=torch.float64), 0 * steady, steady)['cov'][1]
    close = dict(rtol=1e-6, atol=0)
    torch.testing.assert_close(cov.diagonal(), torch.tensor(diagonal, dtype=torch.float64), **close)
    others = torch.stack([cov[4, 0], cov[8, 3], cov[6, 2]])
    expected = [-4.499999886320438e-07, -6.749999829480658e-10, 1.6500000783707946e-08]
    torch.testing.assert_close(others, torch.tensor(expected, dtype=torch.float64), **close)


# --- where it is not -------------------------------------------------------------------------------

def test_a_body_that_spins_in_place_stays_there():
    """PyPose takes each sample's attitude one sample too late: 0.098 m/s of drift in this second."""
    result = integrator()(*spinning(torch.tensor([1., 0., 0.], dtype=torch.float64)))
    assert result['vel'].abs().max() < 1e-12 and result['pos'].abs().max() < 1e-12


def test_at_rest_the_velocity_is_as_uncertain_as_the_tilt_makes_it():
    """var v = σ_a² t + g² σ_g² t³/3 across gravity; PyPose's coupling leaves gravity out, and the second term."""
    gyro_cov, acc_cov, F = 1e-4, 1e-4, 1000
    dt, gyro, acc = spinning(torch.zeros(3, dtype=torch.float64), F)
    cov = integrator(gyro_cov=gyro_cov, acc_cov=acc_cov)(dt, gyro, acc)['cov'][0]
    across = acc_cov + G ** 2 * gyro_cov / 3
    assert cov[3, 3].item() == pytest.approx(across, rel=5e-3)
    assert cov[5, 5].item() == pytest.approx(acc_cov, rel=1e-9)
    assert cov[6, 6].item() == pytest.approx(acc_cov / 3 + G ** 2 * gyro_cov / 20, rel=5e-3)
    assert math.sqrt(across / acc_cov) == pytest.approx(5.75, abs=0.01)


def test_two_calls_continue_as_one():
    dt, gyro, acc = recording(F=9)
    whole = integrator()
    expected = whole(dt, gyro, acc)
    module = integrator(reset=False)
    halves = [module(dt[:, span], gyro[:, span], acc[:, span]) for span in (slice(0, 4), slice(4, 9))]
    states = torch.cat([coordinates(half) for half in halves], 1)
    torch.testing.assert_close(states, coordinates(expected), rtol=0, atol=1e-13)
    torch.testing.assert_close(halves[1]['cov'], expected['cov'], rtol=1e-11, atol=1e-20)
    torch.testing.assert_close(plain(halves[1]['Rij']), plain(expected['Rij']), rtol=0, atol=1e-14)


def test_a_call_keeps_no_graph_of_the_last_one_and_its_covariance_has_gradients():
    dt, gyro, acc = recording()
    module = integrator(reset=False)
    for _ in range(2):
        gyro.requires_grad_()
        result = module(dt, gyro, acc)
        gradient, = torch.autograd.grad(result['cov'].diagonal(dim1=1, dim2=2).sum(), gyro)
        assert gradient.abs().max() > 0
    assert not (module.pos.requires_grad or module.cov.requires_grad or module.Rij.requires_grad)


def test_integrate_and_predict_make_up_forward():
    dt, gyro, acc = recording()
    module = integrator()
    motion = module.integrate(dt, gyro, acc, init_rot=INIT['rot'])
    assert set(motion) == {'a', 'Dp', 'Dv', 'Dr', 'Dt', 'w'}
    expected = coordinates(module(dt, gyro, acc, init_state=INIT))
    torch.testing.assert_close(coordinates(IMUPreintegrator.predict(INIT, motion)), expected)
    up = so3.act(so3.inv(plain(INIT['rot'])), torch.tensor([0., 0., G], dtype=torch.float64))
    torch.testing.assert_close(motion['a'][:, :1], acc[:, :1] - up, rtol=0, atol=1e-6)
    result = preintegrate(dt[..., 0], gyro, acc)
    torch.testing.assert_close(plain(motion['Dr'])[:, -1], result.delta_rotation)


@pytest.mark.parametrize('leading', [(), (6,), (2, 6)])
def test_inputs_of_one_two_and_three_dimensions(leading):
    dt, gyro, acc = (x[(0,) * (2 - len(leading))] if len(leading) < 2 else x for x in recording())
    result = integrator()(dt, gyro, acc)
    B, F = ((1,) * (2 - len(leading)) + leading)
    assert result['rot'].shape == (B, F, 4) and result['pos'].shape == result['vel'].shape == (B, F, 3)
    assert result['cov'].shape == (B, 9, 9) and isinstance(result['rot'], SO3)


def test_states_for_each_sequence_are_documented_as_two_dimensional():
    first = {'pos': torch.tensor([[1., 2., 3.], [4., 5., 6.]]).double(), 'vel': torch.zeros(2, 3).double(),
             'rot': SO3(so3.exp(torch.tensor([[.3, .2, .1], [0., 0., 1.]], dtype=torch.float64)))}
    together = coordinates(integrator()(*recording(), init_state=first))
    for b in range(2):
        alone = integrator()(*(x[b:b + 1] for x in recording()), init_state={k: v[b] for k, v in first.items()})
        torch.testing.assert_close(together[b:b + 1], coordinates(alone))


def test_it_is_found_where_pypose_has_it():
    assert pp.module.IMUPreintegrator is IMUPreintegrator


def test_contradictory_settings_and_shapes_are_refused():
    with pytest.raises(RuntimeError, match='cannot be False'):
        IMUPreintegrator(prop_cov=False, reset=False)
    with pytest.raises(ValueError, match='same number of dimensions'):
        integrator()(torch.zeros(1), torch.zeros(6, 3), torch.zeros(6, 3))
    result = integrator(prop_cov=False)(*recording())
    assert result['cov'] is None


def test_the_covariance_by_given_attitudes_is_that_of_the_whole():
    """A step of it is PyPose's; over many its transitions are in their order, as in forward()."""
    torch.manual_seed(0)
    B, F = 2, 6
    dt, gyro, acc = (z.double() for z in (torch.rand(B, F, 1) * 0.02, torch.randn(B, F, 3), torch.randn(B, F, 3)))
    ours = pp.module.IMUPreintegrator(gravity=0.0, reset=True).double()
    motion = ours.integrate(dt, gyro, acc)
    start = torch.cat([pp.identity_SO3(B, 1).double().tensor(), motion['Dr'].tensor()[:, :-1]], 1)
    noise = torch.full((1, 1, 3), 1e-3).double(), torch.full((1, 1, 3), 1e-2).double()
    M = torch.randn(B, 9, 9).double() * 0.1
    init = M @ M.mT

    def given(lib, end):
        return {'Rk': lib.SO3(motion['w'].tensor()[:, :end]), 'Rij': lib.SO3(start[:, :end]),
                'Ha': pp.vec2skew(acc)[:, :end], 'dt': dt[:, :end]}
    one = [lib.module.IMUPreintegrator.propagate_cov(given(lib, 1), init, *noise) for lib in (pypose, pp)]
    torch.testing.assert_close(one[1]['cov'], one[0]['cov'])
    torch.testing.assert_close(one[1]['Rij'].tensor(), one[0]['Rij'].tensor())
    whole = ours(dt, gyro, acc, gyro_cov=noise[0], acc_cov=noise[1],
                 init_state={'pos': torch.zeros(3), 'rot': pp.identity_SO3().double(), 'vel': torch.zeros(3),
                             'cov': init})
    found = ours.propagate_cov(given(pp, F), init, *noise)['cov']
    torch.testing.assert_close(found, whole['cov'], rtol=1e-6, atol=1e-9)
