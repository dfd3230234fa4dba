"""pypose-ros train: what it writes, and what it refuses."""
import os
import re
import subprocess
import sys

import pytest
import yaml

from pypose_core.learning import load_checkpoint
from pypose_ros.bag.synthetic import FlightConfig, write_flight
from pypose_ros.cli import main
from pypose_ros.train.command import FILES


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('bags') / 'flight.mcap'
    write_flight(path, FlightConfig(duration=14.0, imu_rate=100.0))
    return path


def config(tmp_path, **changes) -> str:
    content = {'gravity': 9.80665, 'windows': [0.5], 'channels': 4, 'dilations': [1, 2],
               'training': {'epochs': 2}, 'noise_training': {'epochs': 3, 'learning_rate': 0.1},
               'recordings': {'flight': {'train': [2, 8], 'validation': [8, 10], 'held_out': [10, 14]}}, **changes}
    path = tmp_path / 'train.yaml'
    path.write_text(yaml.safe_dump({'imu_corrector': content}))
    return str(path)


def test_training_on_a_bag_leaves_weights_curves_and_a_card(tmp_path, bag, capsys):
    out = tmp_path / 'out'
    assert main(['train', str(bag), '--target', 'imu_corrector', '--config', config(tmp_path), '--out', str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == sorted(FILES)
    found = load_checkpoint(out / 'weights.pt', kind='imu_corrector')
    assert found.metadata.rate == 100.0 and found.metadata.held_out_data == ('flight 10 to 14 s',)
    assert found.metadata.training_data == ('flight 2 to 8 s', 'flight 8 to 10 s')
    card = (out / 'model_card.md').read_text()
    assert found.sha256 in card and f'{found.metadata.metrics["nees_0.5s"]:.1f}' in card
    printed = capsys.readouterr()
    assert 'learned' in printed.out and 'epoch 2: loss' in printed.err
    assert (out / 'curves.png').read_bytes()[:4] == b'\x89PNG' and '<table>' in (out / 'report.html').read_text()
    # The flight's noise is three times the stated one, so its covariance must grow towards 9.
    scores = [line.split() for line in printed.out.splitlines()]
    nees = {line[0]: float(line[-1]) for line in scores if line[-1].replace('.', '').isdigit()}
    assert abs(nees['learned'] - 9) < 0.5 * abs(nees['biases'] - 9)


@pytest.mark.parametrize('changes,reason', [
    (dict(epochz=3), 'epochz: no such parameter'),
    (dict(training={'epochs': 0}), 'epochs 0'),
    (dict(training={'epoch': 3}), 'did you mean epochs'),
    (dict(recordings={'flight': {'train': [5, 2]}}), r'each \[from, to\] in seconds'),
    (dict(recordings={'flight': {'held_out': [2, 5]}}), 'none of the recordings has a part to train on'),
    (dict(recordings={'flight': {'train': [50, 60]}}), 'no window of 1.0 s lies whole within')])
def test_a_configuration_that_cannot_be_is_refused_in_one_line(tmp_path, bag, capsys, changes, reason):
    arguments = ['train', str(bag), '--target', 'imu_corrector', '--config', config(tmp_path, **changes)]
    assert main([*arguments, '--out', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('pypose-ros: ')
    assert re.search(reason, error), error
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_under_torchrun_two_processes_have_the_losses_of_one(tmp_path, bag):
    """The command itself: only one of them writes, and the weights are the same to rounding."""
    import torch
    losses, weights = [], []
    for name, start in (('one', ['-m']), ('two', ['-m', 'torch.distributed.run', '--nproc-per-node=2',
                                                  '--rdzv-backend=c10d', '--rdzv-endpoint=localhost:0', '-m'])):
        done = subprocess.run(
            [sys.executable, *start, 'pypose_ros.cli', 'train', str(bag), '--target', 'imu_corrector', '--config',
             config(tmp_path), '--out', str(tmp_path / name)], capture_output=True, text=True, timeout=500,
            env={**os.environ, 'OMP_NUM_THREADS': '1'})
        assert done.returncode == 0, done.stderr
        losses.append([[float(x) for x in pair] for pair in
                       re.findall(r'loss (-?[\d.]+), validation (-?[\d.]+)', done.stderr)])
        front_end = load_checkpoint(tmp_path / name / 'weights.pt').front_end
        weights.append(torch.nn.utils.parameters_to_vector(front_end.parameters()).detach())
    assert len(losses[0]) == 5 and losses[0] == losses[1]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-5)
