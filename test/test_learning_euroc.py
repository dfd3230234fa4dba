"""The weights that come with the package, on the part of a flight that their training never saw."""
import torch

from pypose_core.learning import Score, fixed_corrector, load_checkpoint
from pypose_core.learning.imu_training import held_out_windows
from pypose_ros.bag.resources import resource
from pypose_ros.train.config import read_train_file
from pypose_ros.train.recordings import read_recording


def test_shipped_weights_are_better_than_calibrated_biases_and_stated_noise(data):
    file = read_train_file(resource('config/train/euroc.yaml'), 'imu_corrector')
    recording, own_bias = read_recording(data / 'euroc' / 'V1_01_easy', file)
    found = load_checkpoint(resource('config/weights/imu_corrector_euroc.pt'), kind='imu_corrector')
    corrector, level = found.front_end, file.training.level
    assert any('V1_01_easy 75 to' in one for one in found.metadata.held_out_data)
    for seconds, share in ((1.0, 0.99), (5.0, 0.97)):
        windows = held_out_windows([recording], corrector, file.training, seconds)
        with torch.no_grad():
            learned = Score.of('learned', seconds, level(corrector, windows))
        for bias in (corrector.bias.detach().double(), own_bias):
            fixed = Score.of('fixed', seconds, level(fixed_corrector(bias, file.training.noise), windows))
            assert learned.position_m < share * fixed.position_m and learned.velocity_m_s < share * fixed.velocity_m_s
            assert learned.rotation_deg < 1.01 * fixed.rotation_deg
            assert abs(learned.nees - 9) < 0.01 * abs(fixed.nees - 9)
        # What the file says of itself is what it does.
        assert abs(learned.nees - found.metadata.metrics[f'nees_{seconds:g}s']) < 0.05 * learned.nees
