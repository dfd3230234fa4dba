"""Roll, pitch and yaw against mpmath: to the last digits, at every attitude."""
import mpmath
import pytest
import torch

import pypose_core as pp


def quaternions() -> torch.Tensor:
    """Any attitude, tiny turns, all quadrants, and attitudes near to where the pitch is a right angle."""
    g = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=g, dtype=torch.float64)
    tiny = torch.cat([10.0 ** torch.linspace(-12, -1, 40, dtype=torch.float64)[:, None] * normal(40, 3),
                      torch.ones(40, 1, dtype=torch.float64)], -1)
    steep = pp.euler2SO3(torch.stack([normal(40), torch.pi / 2 - 0.021 * (1 + normal(40).abs()), normal(40)], -1))
    q = torch.cat([normal(60, 4), tiny, steep.tensor(), -steep.tensor()])
    return q / q.norm(dim=-1, keepdim=True)


def exact(q) -> list[float]:
    x, y, z, w = map(mpmath.mpf, q)
    n = x * x + y * y + z * z + w * w
    return [mpmath.atan2(2 * (w * x + y * z), w * w + z * z - x * x - y * y), mpmath.asin(2 * (w * y - z * x) / n),
            mpmath.atan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_every_angle_is_right_to_its_last_digits(dtype):
    eps = torch.finfo(dtype).eps
    q = quaternions().to(dtype)
    found = pp.SO3(q).euler()
    with mpmath.workdps(50):
        for row, angles in zip(q.tolist(), found.tolist()):
            roll, pitch, yaw = exact(row)
            # The sums of products that roll and yaw are made of are relative to cos(pitch).
            scale = 1 / mpmath.cos(pitch)
            for angle, true, least in zip(angles, (roll, pitch, yaw), (scale, 1, scale)):
                assert abs(angle - true) <= 2 * eps * max(least, abs(true)), (row, angles)


def test_tiny_turns_keep_their_relative_accuracy():
    turns = 10.0 ** torch.arange(-150, -7, dtype=torch.float64)
    for axis in range(3):
        q = torch.zeros(len(turns), 4, dtype=torch.float64)
        q[:, axis], q[:, 3] = turns / 2, 1
        assert torch.allclose(pp.SO3(q).euler()[:, axis], turns, rtol=4.5e-16, atol=0)


def test_attitudes_that_are_not_numbers_have_no_angles():
    X = pp.identity_SO3(9, dtype=torch.float64)
    X.tensor()[4] = float('nan')
    found = X.euler()
    assert found[4].isnan().all() and not found[torch.arange(9) != 4].any()
