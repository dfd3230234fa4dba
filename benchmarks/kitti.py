"""KITTI IMU and GPS in one batch: the same factors by ours and by GTSAM.

One navigation state for each of 469 fixes, inertial factors with the random walk of the biases between them, every
tenth fix a GPS factor (examples/kitti_imu_gps.py). Both sides start from the same guess and are timed from the samples
on, preintegration included. Agreement: cost within 1e-4 of each other (GTSAM's wheel preintegrates in the tangent
space), and the RMSE in the plane of the fixes that are held out no worse than GTSAM's by more than 1 mm.

Needs the recording: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import os
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from harness import Record, compare, main

from pypose_core.graph import LevenbergMarquardt

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get('PYPOSE_DATA', ROOT.parent / 'shared' / 'data')) / 'kitti_imu_gps'


def records(quick: bool) -> Iterator[Record]:
    from peers.gtsam_inertial import VERSION, smooth

    if not FOLDER.is_dir():
        sys.exit(f'no recording: {FOLDER} is absent (set PYPOSE_DATA)')
    example = runpy.run_path(str(ROOT / 'examples' / 'kitti_imu_gps.py'))
    fixes, samples, noise = example['load'](FOLDER)
    guess, runs = example['first_guess'](fixes).numpy(), {}

    def ours():
        runs['ours'] = example['build'](fixes, samples, noise).optimize(LevenbergMarquardt(initial_damping=1e-4))
        return runs['ours'].stats.cost[-1], example['held_out_rmse'](fixes, runs['ours'].value['state'])

    def theirs():
        runs['theirs'] = smooth(
            guess, samples.numpy(), fixes[:, 1:].numpy(), torch.arange(0, len(fixes), example['EVERY']).numpy(),
            densities=(noise.gyroscope_noise_density, noise.accelerometer_noise_density, noise.gyroscope_random_walk,
                       noise.accelerometer_random_walk),
            gps_sigma=example['GPS_SIGMA'], bias_sigma=example['BIAS_SIGMA'], gravity=9.81)
        return runs['theirs'].chi2, example['held_out_rmse'](fixes, torch.from_numpy(runs['theirs'].position))

    def agree(a, b):
        runs['note'] = (f'held-out RMSE in the plane {a[1]:.4f} and {b[1]:.4f} m; cost {a[0]:.7g} and {b[0]:.7g}; '
                        f'iterations {runs["ours"].stats.iterations} and {runs["theirs"].iterations}')
        return abs(a[0] / b[0] - 1) < 1e-4 and a[1] < b[1] + 1e-3

    record = compare('KITTI, 469 states, 47 fixes used', peer=VERSION, ours=ours, theirs=theirs, agree=agree,
                     rounds=3 if quick else 7, least=0.0)
    yield replace(record, note=runs['note'])


if __name__ == '__main__':
    main(records, __doc__)
