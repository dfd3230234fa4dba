"""ImuNoise carries Kalibr's continuous-time units to the kernels unchanged."""
import pytest
import torch

from pypose_core.inertial import ImuNoise


def test_vector_keeps_the_order_of_the_fields():
    noise = ImuNoise(gyroscope_noise_density=1., accelerometer_noise_density=2., gyroscope_random_walk=3.,
                     accelerometer_random_walk=4., integration_sigma=5.)
    assert noise.vector().tolist() == [1., 2., 3., 4., 5.]


def test_covariance_holds_squared_densities_on_the_diagonal():
    noise = ImuNoise(1e-3, 2e-3, 3e-3, 4e-3)
    blocks = noise.covariance()
    assert blocks.shape == (5, 3, 3)
    expected = torch.tensor([1e-6, 4e-6, 9e-6, 16e-6, 0.], dtype=torch.float64)
    torch.testing.assert_close(blocks, expected[:, None, None] * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize('value', [-1., float('nan'), float('inf'), '1e-3'])
def test_a_density_that_is_none_is_refused_by_name(value):
    with pytest.raises(ValueError, match='accelerometer_noise_density'):
        ImuNoise(1e-3, value, 1e-5, 1e-4)
