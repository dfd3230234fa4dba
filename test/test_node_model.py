"""imu_preintegration with a learned front-end: from a file, by announcement between two samples, and refusals."""
import hashlib

import numpy as np
import pytest
import torch
from node_rig import PERIOD, T0, Sample, circle_pose, circling, pose_message, standing
from own_front_ends import Broken, Taking

from pypose_core.inertial import ImuNoise
from pypose_core.learning import ImuCorrector, LoopVerifier, Metadata, save_checkpoint
from pypose_ros.msg import Weights
from pypose_ros.qos import LATCHED

NODE = 'imu_preintegration'
BIAS = (0.0, 0.0, 0.02, 0.1, -0.2, 0.3)
NOISE = ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3)


def weights_file(path, bias=BIAS, *, scale: float = 0.0, version: int = 1, rate: float = 200.0) -> Weights:
    """A corrector that takes `bias` off and multiplies angular rates by 1 + scale, and its announcement."""
    torch.manual_seed(version)
    corrector = ImuCorrector(rate=rate)
    corrector.calibrate(torch.tensor(bias), NOISE)
    with torch.no_grad():
        corrector.mixing[0] = scale * torch.eye(3)
    sha256 = save_checkpoint(path, corrector, Metadata(version=version))
    return Weights(model='imu_corrector', path=str(path), sha256=sha256, version=version)


def announce(rig, message: Weights) -> None:
    publisher = rig.node.create_publisher(Weights, f'{NODE}/weights', LATCHED)
    publisher.publish(message)
    rig.published = publisher       # alive, for it is latched


def refused(rig, message: Weights) -> None:
    before = rig.under_test.diagnostics.drops['weights']
    announce(rig, message)
    rig.until(lambda: rig.under_test.diagnostics.drops['weights'] == before + 1, 'the refusal')


def logged(rig, capfd, *words: str) -> None:
    """Wait for words in the log, which the node writes after it has counted."""
    log = []
    rig.until(lambda: log.append(capfd.readouterr().err) or all(word in ''.join(log) for word in words), str(words))


def biased(samples: list[Sample], *, scale: float = 1.0) -> list[Sample]:
    gyro, accel = np.array(BIAS[:3]), np.array(BIAS[3:])
    return [Sample(s.stamp_ns, tuple(scale * np.array(s.gyro) + gyro), tuple(np.array(s.accel) + accel))
            for s in samples]


def test_a_file_is_loaded_at_configure_and_corrects_from_the_first_sample(rig, tmp_path):
    announced = weights_file(tmp_path / 'a.pt')
    node = rig.start(model=announced.path)
    rig.samples(biased(standing(T0, 1.5)))
    np.testing.assert_allclose(node.estimator.output.bias, 0, atol=1e-3)
    np.testing.assert_allclose(rig.heard()[-1].values[3:7], [0, 0, 0, 1], atol=1e-4)    # level for all its biases
    rig.told(lambda s: announced.sha256[:12] in s['model'], 'which weights')


def test_a_model_is_exchanged_between_two_samples_without_a_gap(rig, tmp_path):
    node = rig.start(init__mode='pose', allow_reload=True, accel_scale=1.0)
    count, at = 600, 200
    samples = biased(circling(T0, count * PERIOD * 1e-9), scale=1 / 1.05)
    for k in range(0, count, 20):
        if k == at:
            announce(rig, weights_file(tmp_path / 'b.pt', scale=0.05))
            rig.until(lambda: node._model._model is not None, 'the weights are read')
        rig.samples(samples[k:k + 1])
        rig.send('pose', [pose_message(samples[k].stamp_ns, circle_pose(T0, samples[k].stamp_ns))])
        rig.solved()
        rig.samples(samples[k + 1:k + 20])
    assert len(rig.heard()) >= count - 30 and (np.diff(rig.stamps()) == PERIOD).all(), 'the output has a gap'
    assert node.estimator.counters['corrector_changes'] == 1
    assert node.estimator.corrector is node._model._model.stream
    way = np.array([m.values[:7] for m in rig.odometry])
    true = np.array([circle_pose(T0, m.stamp_ns) for m in rig.odometry])
    assert np.abs(way - true)[:, :3].max() < 0.02, 'the change is a jerk'


@pytest.mark.parametrize('spoil, words', [
    (lambda path, w: path.unlink(), 'No such file'),
    (lambda path, w: path.write_bytes(path.read_bytes()[:-100]), 'SHA-256'),
    (lambda path, w: path.write_bytes(b'nonsense') and setattr(
        w, 'sha256', hashlib.sha256(b'nonsense').hexdigest()), 'not a file of weights'),
    (lambda path, w: setattr(w, 'sha256', save_checkpoint(path, LoopVerifier(features=2), Metadata())), 'wanted is'),
    (lambda path, w: setattr(w, 'sha256', weights_file(path, rate=100.0).sha256), 'made for 100 Hz')],
    ids=['missing', 'damaged', 'nonsense', 'another kind', 'another rate'])
def test_a_bad_file_is_refused_with_the_reason_and_the_present_model_stays(rig, tmp_path, capfd, spoil, words):
    good, bad = weights_file(tmp_path / 'good.pt'), weights_file(tmp_path / 'bad.pt', version=2)
    node = rig.start(model=good.path, allow_reload=True)
    rig.samples(biased(standing(T0, 1.2)))
    present = node.estimator.corrector
    spoil(tmp_path / 'bad.pt', bad)
    refused(rig, bad)
    logged(rig, capfd, words, 'stays', good.sha256[:12])
    rig.samples(biased(standing(T0 + 240 * PERIOD, 0.5)))
    assert rig.heard() and (np.diff(rig.stamps()) == PERIOD).all() and node.estimator.corrector is present


def test_weights_with_nan_are_refused_even_where_hash_and_digest_are_right(rig, tmp_path, capfd, monkeypatch):
    from pypose_core.learning import checkpoint
    monkeypatch.setattr(checkpoint, '_not_finite', lambda state: '')
    bad = weights_file(tmp_path / 'nan.pt', (float('nan'),) * 6)
    monkeypatch.undo()
    rig.start(allow_reload=True)
    refused(rig, bad)
    logged(rig, capfd, 'NaN')


def test_announcements_are_refused_while_reloading_is_not_allowed(rig, tmp_path, capfd):
    node = rig.start()
    refused(rig, weights_file(tmp_path / 'c.pt'))
    logged(rig, capfd, 'allow_reload is false')
    assert node._model.name == 'none'


def test_a_network_of_a_users_own_corrects_by_file_and_by_announcement(rig, tmp_path):
    """Its class is the parameter's; the file names a kind, and nothing that would be imported."""
    own = Taking()
    own.off.data.copy_(torch.tensor(BIAS))
    path = tmp_path / 'own.pt'
    sha256 = save_checkpoint(path, own, Metadata(version=3))
    node = rig.start(model=str(path), model_class='own_front_ends:Taking', allow_reload=True)
    rig.samples(biased(standing(T0, 1.5)))
    np.testing.assert_allclose(node.estimator.output.bias, 0, atol=1e-3)
    rig.told(lambda s: sha256[:12] in s['model'], 'which weights')
    own.off.data[2] += 0.01
    sha256 = save_checkpoint(path, own, Metadata(version=4))
    announce(rig, Weights(model='taking', path=str(path), sha256=sha256, version=4))
    rig.until(lambda: node._model._model.version == 4, 'the new weights are read')
    rig.samples(biased(standing(T0 + 300 * PERIOD, 0.5)))
    assert node.estimator.counters['corrector_changes'] == 1 and (np.diff(rig.stamps()) == PERIOD).all()
    # What it takes off too much is the estimator's bias from then on.
    assert node.estimator.output.bias[2] == pytest.approx(-0.01, abs=2e-3)


@pytest.mark.parametrize('name, words', [
    ('own_front_ends:Missing', 'no class that can be imported'), ('no_such_module:Taking', 'no class that can be'),
    ('own_front_ends:NOTHING', 'is no front-end'), ('own_front_ends:Broken', 'cannot correct a sample')])
def test_a_class_that_cannot_be_used_is_refused_at_configure(rig, tmp_path, capfd, name, words):
    save_checkpoint(tmp_path / 'own.pt', Broken(), Metadata())
    node = rig.start(model=str(tmp_path / 'own.pt'), model_class=name)
    assert node.state == 'unconfigured' and words in capfd.readouterr().err
