"""PID, pure pursuit and the stepper."""
import pytest
import torch

from pypose_core.control import PID, PurePursuit, ReduceToBason
from pypose_core.dynamics import Unicycle


def test_pid_is_its_textbook_sum():
    pid = PID(2.0, 0.5, 0.1)
    first = pid(torch.tensor(1.0), torch.tensor(0.0), 0.1)
    torch.testing.assert_close(first, torch.tensor(2.0 + 0.5 * 0.1))
    second = pid(torch.tensor(1.0), torch.tensor(0.2), 0.1)
    torch.testing.assert_close(second, torch.tensor(2.0 * 0.8 + 0.5 * (1.0 + 0.8) * 0.1 - 0.1 * 2.0))


def test_a_jump_of_the_reference_gives_no_kick():
    pid = PID(1.0, 0.0, 10.0)
    pid(torch.tensor(0.0), torch.tensor(0.0), 0.01)
    torch.testing.assert_close(pid(torch.tensor(5.0), torch.tensor(0.0), 0.01), torch.tensor(5.0))


def test_the_integral_does_not_wind_up():
    def settling(lower, upper):
        pid, y, v, overshoot = PID(4.0, 2.0, 1.0, lower=lower, upper=upper), torch.zeros(3), torch.zeros(3), 0.0
        for _ in range(2000):
            u = pid(torch.full((3,), 10.0), y, 0.01)
            assert bool((u >= lower).all()) and bool((u <= upper).all())
            v = v + 0.01 * (u - v)
            y = y + 0.01 * v
            overshoot = max(overshoot, float(y.max()) - 10)
        return y, overshoot
    y, overshoot = settling(-1.0, 1.0)
    assert (y - 10).abs().max() < 0.3 and overshoot < 2.5


@pytest.mark.parametrize('speed', [0.5, 1.5])
def test_pure_pursuit_returns_to_the_path(speed):
    path = torch.stack([torch.linspace(0, 20, 41), torch.zeros(41)], -1).double()
    follow, model = PurePursuit(1.0, 0.5), Unicycle(0.05)
    pose = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    for _ in range(int(10 / speed / 0.05)):
        pose = model.state_transition(pose, follow(pose, path, speed))
    assert abs(float(pose[1])) < 0.02 and abs(float(pose[2])) < 0.05


def test_pure_pursuit_drives_the_circle_through_its_target():
    path = torch.tensor([[0.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
    follow = PurePursuit(2.0)
    v, w = follow(torch.zeros(3, dtype=torch.float64), path, 1.0)
    end = Unicycle(float(torch.pi / 2 / w)).state_transition(torch.zeros(3, dtype=torch.float64), torch.stack([v, w]))
    target = PurePursuit.target(torch.zeros(2, dtype=torch.float64), path, 2.0)
    torch.testing.assert_close(end[:2], target)      # 45 degrees off: a quarter of the circle


def test_the_target_stays_on_the_path():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(PurePursuit.target(torch.tensor([0.5, 0.1]), path, 1.0), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(PurePursuit.target(torch.tensor([1.0, 0.9]), path, 5.0), torch.tensor([1.0, 1.0]))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='dt'):
        PID(1.0)(torch.tensor(1.0), torch.tensor(0.0), 0.0)
    with pytest.raises(ValueError, match='path'):
        PurePursuit()(torch.zeros(3), torch.zeros(1, 2), 1.0)


def test_the_stepper_ends_as_pyposes_does():
    stepper, x, losses = ReduceToBason(steps=5, patience=2, decreasing=0.1), 0.9, []
    while stepper.continual():
        x = x ** 2
        losses.append(x)
        stepper.step(x)
    assert len(losses) == 5 and losses[-1] == pytest.approx(3.433683820e-02)
    stepper.reset()
    count = 0
    while stepper.continual():
        stepper.step(torch.tensor([1.0, 1.0]))
        count += 1
    assert count == 3        # the first step is progress from infinity, two more without end it
    stepper.reset()
    stepper.step(-3.0)
    assert stepper.continual()      # a negative cost is not a small one
