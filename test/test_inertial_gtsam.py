"""Agreement with GTSAM 4.3.0's *Manifold* preintegration on fixed inputs (reference/imu_reference.json).

GTSAM's tangent space, from ours [rotation, velocity, position, gyroscope bias, accelerometer bias]:
    [rotation, ΔRᵀ position, ΔRᵀ velocity, -accelerometer bias, -gyroscope bias]
position and velocity in the frame of the interval's end, biases negated because its bias residual is
b_i - b_j. Its densities are per √Hz like ours; integrationCovariance enters as cov·dt. The 9×9 type has
no random walk. Older versions' parameter biasAccOmegaInt is gone from 4.3.0's Python interface, and
nothing is missing without it: the 15×15 covariance starts from zero.
"""
import json

import pytest
import torch
from torch import Tensor

from pypose_core import native
from pypose_core.inertial import ImuNoise, Preintegrated, Preintegrator, preintegrate, to_body_frame
from pypose_core.lie import so3

CASES = ('synth_200hz_1s', 'synth_100hz_jitter_0.5s', 'synth_200hz_10s', 'kitti_gps1_2', 'kitti_gps2_3',
         'kitti_gps3_4', 'kitti_gps50_51', 'kitti_gps200_201')
TYPES = {'PreintegratedImuMeasurementsManifold': 9, 'PreintegratedCombinedMeasurementsManifold': 15}


def tensor(x) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


@pytest.fixture(scope='module')
def gtsam(data) -> dict:
    return json.loads((data / 'reference' / 'imu_reference.json').read_text())


def noise_of(gtsam: dict, size: int) -> ImuNoise:
    sigma = gtsam['conventions']['sigmas']
    walk = float(size == 15)
    return ImuNoise(sigma['gyr'], sigma['acc'], walk * sigma['bg'], walk * sigma['ba'],
                    integration_sigma=sigma['integ'])


def bias_of(x: dict) -> Tensor:
    return tensor(x['gyr'] + x['acc'])


def streaming(dt: Tensor, gyro: Tensor, accel: Tensor, noise: ImuNoise, bias: Tensor) -> Preintegrated:
    integrator = Preintegrator(noise, bias=bias)
    for sample in zip(dt.tolist(), gyro.tolist(), accel.tolist()):
        integrator.add(*sample)
    return integrator.result


def batched(dt: Tensor, gyro: Tensor, accel: Tensor, noise: ImuNoise, bias: Tensor) -> Preintegrated:
    return preintegrate(dt, gyro, accel, noise=noise, bias=bias)


def to_gtsam_tangent(delta_rotation: Tensor, size: int) -> Tensor:
    """(size, 15) matrix from our error to GTSAM's."""
    eye, Rt = torch.eye(3, dtype=torch.float64), so3.matrix(delta_rotation).mT
    M = torch.zeros(15, 15, dtype=torch.float64)
    M[:3, :3], M[3:6, 6:9], M[6:9, 3:6], M[9:12, 12:], M[12:, 9:12] = eye, Rt, Rt, -eye, -eye
    return M[:size]


@pytest.mark.skipif(not native.available, reason=native.status)
@pytest.mark.parametrize('integrate', [streaming, batched])
@pytest.mark.parametrize('kind', TYPES)
@pytest.mark.parametrize('case', CASES)
def test_deltas_covariance_and_prediction_agree(gtsam, case, kind, integrate):
    given, size = gtsam['cases'][case], TYPES[kind]
    expected = given['results'][kind]
    ours = integrate(tensor(given['dt']), tensor(given['gyr']), tensor(given['acc']), noise_of(gtsam, size),
                     bias_of(given['bias_hat']))
    exact = dict(rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.dt, tensor(expected['deltaTij']), **exact)
    torch.testing.assert_close(so3.matrix(ours.delta_rotation), tensor(expected['deltaRij']), **exact)
    torch.testing.assert_close(ours.delta_velocity, tensor(expected['deltaVij']), **exact)
    torch.testing.assert_close(ours.delta_position, tensor(expected['deltaPij']), **exact)

    M = to_gtsam_tangent(ours.delta_rotation, size)
    covariance, wanted = M @ ours.covariance @ M.mT, tensor(expected['cov'])
    sigma = wanted.diagonal().sqrt()
    assert ((covariance - wanted) / (sigma[:, None] * sigma)).abs().max() < 1e-6

    at = expected['state_i']
    R_i = tensor(at['R'])
    gravity = tensor([0., 0., -gravity_of(gtsam, expected)])
    for name, bias in (('predict_biasHat', given['bias_hat']), ('predict_bias2', expected['bias2'])):
        state = torch.cat([tensor(at['p']), quaternion(R_i), tensor(at['v']), bias_of(bias)])
        after = ours.predict(state, gravity)
        torch.testing.assert_close(so3.matrix(after[3:7]), tensor(expected[name]['R']), **exact)
        torch.testing.assert_close(after[:3], tensor(expected[name]['p']), **exact)
        torch.testing.assert_close(after[7:10], tensor(expected[name]['v']), **exact)


def quaternion(R: Tensor) -> Tensor:
    """Of a rotation matrix with positive trace."""
    w = (1 + R.diagonal().sum()).sqrt() / 2
    return torch.cat([so3.vee(R) / (2 * w), w[None]])


def gravity_of(gtsam: dict, expected: dict) -> float:
    """g that the reference was predicted with, from its own numbers: the file does not state it."""
    at, t = expected['state_i'], expected['deltaTij']
    without = tensor(at['v']) + tensor(at['R']) @ tensor(expected['deltaVij'])
    moved = without - tensor(expected['predict_biasHat']['v'])
    assert moved[:2].abs().max() < 1e-9
    g = moved[2].item() / t
    assert abs(g - round(g, 5)) < 1e-8
    return round(g, 5)


def test_deltas_through_a_sensor_pose_agree(gtsam):
    """body_P_sensor: the measurements are brought to the body first, bias taken off in the sensor's frame."""
    given, moved = gtsam['cases']['synth_200hz_1s'], gtsam['cases']['synth_200hz_1s_bodyPsensor']
    pose, expected = moved['body_P_sensor'], moved['results']['PreintegratedImuMeasurementsManifold']
    T_body_imu = torch.cat([tensor(pose['t']), quaternion(tensor(pose['R']))])
    gyro, accel = to_body_frame(tensor(given['gyr']), tensor(given['acc']), T_body_imu,
                                bias=bias_of(given['bias_hat']))
    ours = preintegrate(tensor(given['dt']), gyro, accel)
    exact = dict(rtol=0, atol=1e-9)
    torch.testing.assert_close(so3.matrix(ours.delta_rotation), tensor(expected['deltaRij']), **exact)
    torch.testing.assert_close(ours.delta_velocity, tensor(expected['deltaVij']), **exact)
    torch.testing.assert_close(ours.delta_position, tensor(expected['deltaPij']), **exact)
