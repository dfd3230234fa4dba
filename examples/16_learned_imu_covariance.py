"""How good is each IMU sample? A gyroscope shakes with the motors, and a network learns to see when.

    raw samples --> ImuCorrector --> corrected samples, noise of each --> preintegrate --> error and covariance
                                                                                               |
                                     negative log-likelihood against the known motion <--------+
"""
import numpy as np
import torch

from pypose_core.inertial import ImuNoise
from pypose_core.learning import (
    BilevelTrainer,
    ImuCorrector,
    KnownStates,
    PreintegrationLevel,
    TrainingConfig,
    cut_windows,
    negative_log_likelihood,
)
from pypose_ros.bag.synthetic import FlightConfig, fly

STATED = ImuNoise(5e-4, 4e-3, 5e-5, 1e-3)       # what the data sheet says, and what holds while the motors are off
MOTORS = 8.0        # times louder while they are on


def shaken(config: FlightConfig) -> tuple[np.ndarray, np.ndarray, KnownStates]:
    """Stamps, samples and truth of a flight whose motors go on and off every other second."""
    flight = fly(config)
    on = (np.arange(len(flight.stamps_ns)) / config.imu_rate) % 2 < 1
    density = np.repeat([STATED.gyroscope_noise_density, STATED.accelerometer_noise_density], 3)
    shake = np.random.default_rng(config.seed).normal(size=flight.imu.shape) * density * np.sqrt(config.imu_rate)
    imu = flight.imu - flight.bias + MOTORS * on[:, None] * shake
    states = np.hstack([flight.truth.poses, flight.truth.velocity, np.zeros_like(flight.bias)])
    return flight.stamps_ns, imu, KnownStates(flight.stamps_ns, states)


if __name__ == '__main__':
    torch.manual_seed(0)
    torch.set_num_threads(1)
    level = PreintegrationLevel(torch.tensor([0, 0, -9.80665]))
    corrector = ImuCorrector(channels=8, dilations=(1, 2, 4, 8), density_range=20.0)
    corrector.calibrate(torch.zeros(6), STATED, bias_sigma=(1e-6, 1e-6))
    data = [cut_windows(*shaken(FlightConfig(duration=seconds, seed=seed)), seconds=0.3, every=0.1,
                        context=corrector.receptive_field - 1) for seconds, seed in ((40.0, 0), (20.0, 1))]
    corrector.scale_inputs(data[0].samples)
    before = level(corrector, data[1])
    config = TrainingConfig(epochs=14, batch_size=32, learning_rate=1e-2)
    BilevelTrainer(corrector, level, negative_log_likelihood, config).fit(data[0])
    with torch.no_grad():
        after = level(corrector, data[1])
    loud = [motion.covariance.diagonal(dim1=1, dim2=2)[:, 0].sqrt() for motion in (before, after)]
    print(f'standard deviation of the rotation over 0.3 s: stated {1e3 * loud[0].median():.2f} mrad, learned '
          f'{1e3 * loud[1].quantile(0.1):.2f} to {1e3 * loud[1].quantile(0.9):.2f}')
    print(f'unseen flight, NEES (9 expected): stated {before.nees():.0f}, learned {after.nees():.2f}')
