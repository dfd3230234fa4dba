"""A corrector before the smoother, and one following another between two samples."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from online_flight import config, play, short_flight
from scipy.spatial.transform import Rotation

from pypose_core.inertial import ImuNoise
from pypose_core.learning import ImuCorrector
from pypose_core.online import ImuSmoother, Status, Verdict
from pypose_core.online.imu_buffer import ImuBuffer
from pypose_core.online.packed import COVARIANCE
from pypose_core.online.propagation import ImuPropagator, integrate
from pypose_ros.bag.synthetic import MEMS

BIAS = torch.tensor([0.02, -0.01, 0.03, 0.2, -0.3, 0.1], dtype=torch.float64)
G = 9.80665


def stream(bias=BIAS, noise: ImuNoise = MEMS, *, mixing=None, dilations=(1, 2, 4)):
    """A corrector that takes `bias` off, states `noise` and multiplies the rest by 1 + `mixing`."""
    corrector = ImuCorrector(rate=200, channels=4, dilations=dilations).double()
    corrector.calibrate(bias, noise)
    if mixing is not None:
        with torch.no_grad():
            corrector.mixing.copy_(torch.as_tensor(mixing))
    return corrector.stream()


def play_with_change(flight, smoother, corrector, at: float):
    """Play a flight; from `at` seconds on another corrector is there."""
    asked, add = [], smoother.add_imu

    def add_imu(stamp_ns, sample, orientation=None):
        if stamp_ns - flight.stamps_ns[0] >= at * 1e9 and not asked:
            asked.append(smoother.use_corrector(corrector))
        return add(stamp_ns, sample, orientation)

    smoother.add_imu = add_imu
    track = play(flight, smoother)
    assert asked == ['']
    return track


@pytest.mark.parametrize('at', [2.0, 6.0], ids=['soon', 'in flight'])
def test_a_change_of_constants_changes_nothing_but_the_biases(at):
    flight, plain, changed = short_flight(8.0), ImuSmoother(config()), ImuSmoother(config())
    before, after = play(flight, plain), play_with_change(flight, changed, stream(), at)
    assert changed.counters['corrector_changes'] == 1 and len(after.states) == len(before.states)
    x, y = np.array(before.states), np.array(after.states)
    np.testing.assert_allclose(y[:, :10], x[:, :10], atol=2e-6)
    np.testing.assert_allclose(y[-1, 10:], x[-1, 10:] - BIAS.numpy(), atol=1e-5)
    np.testing.assert_allclose(after.covariances[-1], before.covariances[-1], rtol=1e-3, atol=1e-9)


def test_a_corrector_that_stands_by_from_the_start_is_a_bias_known_before():
    flight = short_flight(6.0)
    plain, corrected = ImuSmoother(config()), ImuSmoother(config())
    assert corrected.use_corrector(stream()) == ''
    shifted = replace(flight, imu=flight.imu + BIAS.numpy())
    x, y = np.array(play(flight, plain).states), np.array(play(shifted, corrected).states)
    np.testing.assert_allclose(y, x, atol=1e-6)


def test_the_densities_of_the_samples_are_the_noise_of_the_estimate():
    flight, loud = short_flight(6.0), replace(
        MEMS, gyroscope_noise_density=8 * MEMS.gyroscope_noise_density,
        accelerometer_noise_density=5 * MEMS.accelerometer_noise_density)
    stated, learned = ImuSmoother(config(noise=loud)), ImuSmoother(config())
    learned.use_corrector(stream(torch.zeros(6), loud))
    x, y = play(flight, stated), play(flight, learned)
    np.testing.assert_allclose(y.covariances[-1], x.covariances[-1], rtol=1e-5)
    np.testing.assert_allclose(y.states[-1], x.states[-1], atol=1e-7)
    quiet = play(flight, ImuSmoother(config()))
    assert (np.diag(y.covariances[-1])[:9] > 1.2 * np.diag(quiet.covariances[-1])[:9]).all()


def test_a_change_that_undoes_a_wrong_calibration_is_no_jerk_and_lowers_the_error():
    """Scales and axes that are wrong by 3 %: the biases hide their part of gravity, and move with the change."""
    flight, wrong = short_flight(16.0), np.eye(3) + 0.03 * np.array([[1, 0.6, -0.4], [-0.6, 1, 0.5], [0.4, -0.5, 1]])
    bent = replace(flight, imu=np.hstack([flight.imu[:, :3] @ wrong.T, flight.imu[:, 3:] @ wrong.T]))
    right = stream(torch.zeros(6), mixing=np.linalg.inv(wrong) - np.eye(3))
    plain, helped = ImuSmoother(config()), ImuSmoother(config())
    before, after = play(bent, plain), play_with_change(bent, helped, right, 8.0)
    steps = np.linalg.norm(np.diff(np.array(after.states)[:, 7:10], axis=0), axis=1)
    k = next(k for k, (x, y) in enumerate(zip(before.states, after.states)) if abs(x[10:] - y[10:]).max() > 0.05)
    speed = np.linalg.norm(np.diff(np.array(before.states)[:, 7:10], axis=0), axis=1)
    assert steps[k - 3:k + 3].max() < 2 * speed[k - 40:k + 40].max(), 'the velocity jumps at the change'
    late = slice(-600, None)
    errors = [np.sqrt((track.errors(flight)[late, :9] ** 2).mean(0)) for track in (before, after)]
    assert np.linalg.norm(errors[1][:3]) < 0.5 * np.linalg.norm(errors[0][:3])
    assert np.linalg.norm(errors[1][3:6]) < 0.7 * np.linalg.norm(errors[0][3:6])


def test_a_corrector_for_another_rate_is_refused():
    flight, smoother = short_flight(3.0), ImuSmoother(config())
    play(flight, smoother)
    other = ImuCorrector(rate=400).stream()
    assert 'made for 400 Hz' in smoother.use_corrector(other) and smoother.corrector is None
    early = ImuSmoother(config())
    assert early.use_corrector(other) == ''         # nothing is known of the IMU yet
    play(flight, early)
    assert early.corrector is None and early.status is Status.RUNNING
    assert any('made for 400 Hz' in sentence for _, sentence in early.take_events())


def test_what_is_not_finite_does_not_reach_the_corrector():
    flight, smoother = short_flight(4.0), ImuSmoother(config())
    smoother.use_corrector(stream(torch.zeros(6)))
    play(flight, smoother)
    stamp = int(flight.stamps_ns[-1]) + 5_000_000
    assert smoother.add_imu(stamp, np.full(6, np.nan)) is Verdict.NOT_FINITE
    assert smoother.add_imu(stamp, np.array([0, 0, 0, 0, 0, G])) is Verdict.ACCEPTED
    assert np.isfinite(smoother.output.state).all()


def test_a_corrector_that_follows_continues_the_stream_of_all_samples():
    """It was fed beside the other one: its first output is that of a corrector that ran from the beginning."""
    flight, torch_seed = short_flight(4.0), torch.manual_seed(3)
    corrector = ImuCorrector(rate=200, channels=4, dilations=(1, 2, 4)).double()
    torch.nn.init.normal_(corrector.head.weight, generator=torch_seed)
    smoother = ImuSmoother(config())
    play_with_change(flight, smoother, corrector.stream(), 3.0)
    assert smoother.counters['corrector_changes'] == 1
    with torch.no_grad():
        whole = corrector(torch.from_numpy(flight.imu))
    np.testing.assert_allclose(smoother._buffer.samples[-150:, :3], whole.gyro[-150:], atol=1e-9)
    np.testing.assert_allclose(smoother._buffer.samples[-150:, 3:], whole.accel[-150:], atol=1e-9)


def test_a_corrector_answers_at_rest_as_it_settles():
    torch.manual_seed(0)
    corrector = ImuCorrector(channels=4, dilations=(1, 2, 4)).double()
    torch.nn.init.normal_(corrector.head.weight)
    made, sample = corrector.stream(), np.array([0.1, -0.2, 0.3, 1.0, -0.5, 9.6])
    for _ in range(corrector.receptive_field + 1):
        last = made.step(sample)
    np.testing.assert_allclose(made.steady(sample), last, atol=1e-12)


def test_axes_with_densities_of_their_own_spread_along_them():
    """Against a walk with independent steps: at rest the velocity's variance is density² t along each axis."""
    density = np.array([1e-4, 2e-4, 3e-4, 1e-2, 2e-2, 4e-2])
    buffer = ImuBuffer(capacity=16)
    buffer.append(10 ** 9, np.zeros(6))
    buffer.keep_densities(density)
    for k in range(1, 101):
        buffer.append(10 ** 9 + k * 10 ** 7, np.zeros(6), density)
    steady = config(noise=ImuNoise(1e-3, 1e-2, 0.0, 0.0))
    row = integrate(buffer.interval(10 ** 9, 2 * 10 ** 9), np.zeros(6),
                    ImuPropagator(steady, np.array([0, 0, 0, 0, 0, 0, 1.0])).noise)
    np.testing.assert_allclose(np.diag(row[COVARIANCE].reshape(15, 15))[:6], density ** 2, rtol=1e-6)
    assert Rotation.from_quat(row[1:5]).magnitude() == 0
