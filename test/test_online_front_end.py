"""A learned front-end in the smoother: what it changes, and that its exchange disturbs nothing."""
import threading

import numpy as np
import pytest
import torch
from online_flight import config, play, short_flight

from pypose_core.inertial import ImuNoise
from pypose_core.learning import ImuCorrector
from pypose_core.online import ImuSmoother, Verdict
from pypose_ros.bag.synthetic import MEMS


def corrector(*, gyro_scale: float = 0.0, bias=(0.0,) * 6, noise: ImuNoise = MEMS, seed: int | None = None):
    """One that undoes a scale error about z and a bias; with random convolutions if there is a seed."""
    made = ImuCorrector(channels=4, dilations=(1, 2, 4)).double()
    made.calibrate(torch.tensor(bias), noise, bias_sigma=(1e-3, 1e-2))
    made.mixing.data[0, 2, 2] = 1 / (1 + gyro_scale) - 1
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for p in made.head.parameters():
            p.data = 0.2 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return made


def swap(smoother: ImuSmoother, front_end: ImuCorrector | None) -> None:
    smoother.begin_swap(front_end).run()


def run(flight, *, front_end=None, at: int = 0, back: int | None = None):
    """Track and smoother; the front-end is taken up before sample `at`, and given up before sample `back`."""
    smoother = ImuSmoother(config())
    add = smoother.add_imu
    seen = iter(range(len(flight.stamps_ns)))

    def add_imu(stamp, sample):
        k = next(seen)
        if k == at and front_end is not None:
            swap(smoother, front_end)
        if k == back:
            swap(smoother, None)
        return add(stamp, sample)

    smoother.add_imu = add_imu
    return play(flight, smoother), smoother


def test_a_front_end_that_does_nothing_changes_nothing():
    flight = short_flight(6.0)
    plain, _ = run(flight)
    same, _ = run(flight, front_end=corrector(), at=500)
    assert plain.index == same.index
    np.testing.assert_allclose(same.states, plain.states, rtol=0, atol=1e-7)
    np.testing.assert_allclose(same.covariances, plain.covariances, rtol=2e-3, atol=1e-9)


def test_a_corrected_scale_lowers_the_error_and_its_exchange_leaves_no_step():
    flight = short_flight(10.0)
    flight.imu[:, 2] = flight.bias[:, 2] + 1.05 * (flight.imu[:, 2] - flight.bias[:, 2])
    plain, _ = run(flight)
    learned, smoother = run(flight, front_end=corrector(gyro_scale=0.05), at=1000, back=1600)
    assert plain.index == learned.index     # an output for every sample
    first, last = (np.searchsorted(learned.index, k) for k in (1050, 1590))
    rotation = [np.linalg.norm(track.errors(flight)[first:last, :3], axis=1) for track in (plain, learned)]
    assert np.sqrt((rotation[1] ** 2).mean()) < 0.6 * np.sqrt((rotation[0] ** 2).mean())
    for k in (1000, 1600):
        i = np.searchsorted(learned.index, k)
        before, step, after = np.diff(np.array(learned.states)[i - 2:i + 2, :10], axis=0)
        assert np.abs(step[:3] - (before + after)[:3] / 2).max() < 1e-4         # m
        assert np.abs(step[3:] - (before + after)[3:] / 2).max() < 2e-3         # half-angles, m/s
    assert smoother.counters['failed_solves'] == smoother.counters['divergences'] == 0


def test_a_change_of_the_constant_part_moves_the_bias_and_not_the_motion():
    """Biases that the network takes off are no longer the estimator's to find: it must not need seconds to see it."""
    flight, offset = short_flight(6.0), np.array([0.05, -0.04, 0.03, 0.5, -0.4, 0.3])
    plain, _ = run(flight)
    learned, _ = run(flight, front_end=corrector(bias=tuple(offset)), at=800)
    i = np.searchsorted(learned.index, 800)
    states = np.array(learned.states)
    np.testing.assert_allclose(states[i, 10:], states[i - 1, 10:] - offset, atol=2e-3)
    np.testing.assert_allclose(states[i:, :10], np.array(plain.states)[i:, :10], atol=2e-3)


def test_learned_noise_enters_every_interval():
    flight = short_flight(5.0)
    louder = ImuNoise(10 * MEMS.gyroscope_noise_density, 10 * MEMS.accelerometer_noise_density,
                      MEMS.gyroscope_random_walk, MEMS.accelerometer_random_walk)
    _, plain = run(flight)
    _, learned = run(flight, front_end=corrector(noise=louder), at=600)
    for name in ('row',):
        ratio = [getattr(smoother.keyframes[-1], name)[71:].reshape(15, 15)[0, 0] for smoother in (plain, learned)]
        assert ratio[1] / ratio[0] == pytest.approx(100, rel=1e-3)
    assert learned.output.covariance[3, 3] > 2 * plain.output.covariance[3, 3]


def test_a_swap_prepared_in_another_thread_continues_the_stream_exactly():
    """What is computed for past samples at once, and for later ones singly, is one stream."""
    flight, network = short_flight(5.0), corrector(seed=3)
    smoother = ImuSmoother(config())
    for k, (stamp, sample) in enumerate(zip(flight.stamps_ns.tolist(), flight.imu)):
        if k == 400:
            job = smoother.begin_swap(network)
        if k == 450:
            thread = threading.Thread(target=job.run)
            thread.start()
            thread.join()
        assert smoother.add_imu(stamp, sample).accepted
    whole = network(torch.from_numpy(flight.imu))
    wanted = torch.cat([whole.gyro, whole.accel], -1).detach().numpy()[-len(smoother._buffer):]
    np.testing.assert_allclose(smoother._buffer.samples, wanted, atol=1e-9)
    np.testing.assert_array_equal(smoother._buffer.raw, flight.imu[-len(smoother._buffer):])


def test_bad_samples_do_not_enter_the_networks_memory():
    flight = short_flight(5.0)
    smoother = ImuSmoother(config())
    swap(smoother, corrector(seed=1))
    stamps = flight.stamps_ns.tolist()
    for k, (stamp, sample) in enumerate(zip(stamps, flight.imu)):
        if k == 600:
            assert smoother.add_imu(stamp - 1_000_000, np.full(6, np.nan)) is Verdict.NOT_FINITE
            assert smoother.add_imu(stamps[k - 1], sample) is Verdict.DUPLICATE
        assert smoother.add_imu(stamp, sample) is Verdict.ACCEPTED
    assert np.isfinite(smoother.output.state).all()
    smoother.reset()
    for stamp, sample in zip(stamps[:50], flight.imu):
        smoother.add_imu(stamp, sample)
    np.testing.assert_array_equal(smoother._buffer.raw, flight.imu[:50])
