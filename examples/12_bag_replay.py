"""A recording replayed through the estimator without middleware: a synthetic flight, or any bag with an IMU.

    .venv/bin/python examples/12_bag_replay.py [BAG]
"""
import sys
import tempfile
from pathlib import Path

from pypose_ros.bag.config import load_parameters
from pypose_ros.bag.evaluation import evaluate
from pypose_ros.bag.offline import replay_offline
from pypose_ros.bag.replay_input import ReplayOptions, read_input
from pypose_ros.bag.resources import resource
from pypose_ros.bag.synthetic import FlightConfig, write_flight

with tempfile.TemporaryDirectory() as folder:
    if len(sys.argv) > 1:
        bag, config = Path(sys.argv[1]), None
    else:
        bag, config = Path(folder) / 'flight.mcap', resource('config/synthetic.yaml')
        write_flight(bag, FlightConfig(duration=12.0))
    params = load_parameters(config, [])
    source = read_input(bag, ReplayOptions(), base_frame=params.base_frame, extrinsic=params.extrinsic_imu_to_base)
    estimate, timing = replay_offline(source, params)
    metrics = evaluate(source, estimate, mode='offline').metrics
print(f'{len(source.imu.stamps_ns)} IMU samples in {timing.wall:.1f} s')
error = metrics['ate']['none']['translation_m']['rmse'] if 'ate' in metrics else float('nan')    # no truth, no error
print(f'absolute trajectory error: {error * 1000:.1f} mm')
