"""The constants between an IMU and a reference are found, and taken off both sides."""
import numpy as np
import pytest
import torch
from learning_flight import GRAVITY, flight, known

from pypose_core.learning import Calibration, KnownStates, calibrate, cut_windows
from pypose_core.lie import so3

BIAS = torch.tensor([0.01, -0.02, 0.03, 0.1, -0.2, 0.15], dtype=torch.float64)
LEAN, DELAY = torch.tensor([0.004, -0.007], dtype=torch.float64), 0.005


def leaning(states: KnownStates) -> KnownStates:
    """Seen from a frame that leans, by a clock that is behind."""
    turn = so3.exp(torch.cat([LEAN, LEAN.new_zeros(1)]))
    rows = torch.from_numpy(states.states).clone()
    for part in (slice(0, 3), slice(7, 10)):
        rows[:, part] = so3.act(turn, rows[:, part])
    rows[:, 3:7] = so3.mul(turn.expand(len(rows), 4), rows[:, 3:7])
    return KnownStates(states.stamps_ns - round(DELAY * 1e9), rows.numpy())


def windows(states: KnownStates):
    source = flight()
    return cut_windows(source.stamps_ns, source.imu - source.bias + BIAS.numpy(), states, seconds=1.0, every=1.0,
                       context=0)


def test_bias_lean_and_delay_of_a_reference_are_found():
    found = calibrate(windows(leaning(known(flight()))), GRAVITY)
    torch.testing.assert_close(found.bias[:3], BIAS[:3], rtol=0, atol=5e-4)
    torch.testing.assert_close(found.bias[3:], BIAS[3:], rtol=0, atol=0.02)
    torch.testing.assert_close(found.lean, LEAN, rtol=0, atol=1e-3)
    assert found.delay == pytest.approx(DELAY, abs=6e-4)


def test_a_reference_without_such_errors_is_left_as_it_is():
    found = calibrate(windows(known(flight())), GRAVITY)
    assert found.lean.abs().max() < 1e-3 and abs(found.delay) < 6e-4
    fixed = calibrate(windows(known(flight())), GRAVITY, reference=False)
    assert not fixed.lean.any() and fixed.delay == 0
    torch.testing.assert_close(fixed.bias, found.bias, rtol=0, atol=0.02)


def test_a_calibrated_reference_is_the_true_one():
    true = known(flight())
    back = Calibration(BIAS, LEAN, DELAY).apply(leaning(true))
    np.testing.assert_array_equal(back.stamps_ns, true.stamps_ns)
    np.testing.assert_allclose(back.states, true.states, atol=1e-12)
