"""Learned trust in the edges of a pose graph: what the networks are asked, and that the estimators do as they say."""
from pathlib import Path

import numpy as np
import pytest
import torch
from own_front_ends import Believing, Stiff
from test_online_loop_detector import points, pose7

from pypose_core.learning import CheckpointError, LoopVerifier, Metadata, OdometryUncertainty, save_checkpoint
from pypose_core.online.back_end import BackEndConfig, EdgeKind, PoseGraphBackEnd
from pypose_core.online.edge_models import (
    LoopModel,
    OdometryModel,
    load_loop_model,
    load_odometry_model,
    odometry_features,
)
from pypose_core.online.loop_detector import LoopDetector, LoopDetectorConfig
from pypose_ros.sim.walls import offices
from pypose_ros.train import edges

WEIGHTS = Path(__file__).parents[1] / 'config' / 'weights'


def test_features_of_a_link_are_way_turn_time_speed_and_what_slips():
    found = odometry_features(pose7(1.2, 0.0, -0.3), 2.0)
    np.testing.assert_allclose(found, [1.2, 0.3, np.log(2.0), 0.6, 0.6 * 0.15], rtol=1e-12)


@pytest.mark.parametrize('size', [3, 6])
def test_the_back_end_trusts_a_link_as_the_model_says(size):
    network = OdometryUncertainty(features=5, size=size)
    network.calibrate(torch.randn(10, 5, dtype=torch.float64), torch.linspace(0.1, 0.2, size))
    back_end = PoseGraphBackEnd(BackEndConfig(odometry_model=OdometryModel(network)))
    plain = PoseGraphBackEnd(BackEndConfig())
    for one in (back_end, plain):
        for k in range(3):
            one.add_odometry((k + 1) * 10 ** 9, pose7(1.5 * k, 0.0, 0.1 * k))
    information, usual = (one.edges['information'][-1] for one in (back_end, plain))
    assert back_end.edges['kind'][-1] == EdgeKind.ODOMETRY
    told = torch.linspace(0.1, 0.2, size).double().numpy() ** -2.0
    if size == 6:
        np.testing.assert_allclose(information, np.diag(told), rtol=1e-6)
    else:
        np.testing.assert_allclose(np.diag(information)[[0, 1, 5]], told, rtol=1e-6)
        np.testing.assert_allclose(np.diag(information)[[2, 3, 4]], np.diag(usual)[[2, 3, 4]])


def test_a_verifier_weighs_loops_and_refuses_those_it_does_not_believe():
    def found(prior: float | None):
        verifier = None if prior is None else LoopModel(LoopVerifier(features=6, prior=prior))
        detector, rng = LoopDetector(LoopDetectorConfig(distance=0.5, min_way=0.5), verifier), np.random.default_rng(1)
        for k in range(2):
            here = np.array([2.0 + 0.6 * k, 2.0, 0.0])
            candidates = detector.add(k + 1, pose7(*here), points(offices(), here, rng), planar=True)
        return candidates[0]

    plain, halved, refused = found(None), found(0.5), found(0.02)
    assert plain.accepted and halved.accepted and not refused.accepted and 'weight 0.02' in refused.reason
    np.testing.assert_allclose(halved.information, 0.5 * plain.information, rtol=1e-6)
    assert plain.features.shape == (6,) and plain.features[0] > 0.6


def test_files_of_another_kind_or_shape_are_refused(tmp_path):
    save_checkpoint(tmp_path / 'loop.pt', LoopVerifier(features=6), Metadata())
    save_checkpoint(tmp_path / 'odd.pt', OdometryUncertainty(features=4, size=6), Metadata())
    assert load_loop_model(tmp_path / 'loop.pt')
    for name, words in (('loop.pt', 'kind'), ('odd.pt', '5'), ('none.pt', 'No such file')):
        with pytest.raises(CheckpointError, match=words):
            load_odometry_model(tmp_path / name)


def test_networks_of_a_users_own_stand_in_both_places(tmp_path):
    save_checkpoint(tmp_path / 'stiff.pt', Stiff(), Metadata())
    save_checkpoint(tmp_path / 'believing.pt', Believing(), Metadata())
    link = np.array([0.5, 0, 0, 0, 0, 0, 1.0])
    information = load_odometry_model(tmp_path / 'stiff.pt', 'own_front_ends:Stiff')(link, 1.0, np.eye(6))
    np.testing.assert_allclose(information, np.diag([400.0, 400, 1, 1, 1, 400]))
    believed = load_loop_model(tmp_path / 'believing.pt', 'own_front_ends:Believing')
    features = np.zeros(6)
    features[0] = 0.9
    assert believed(features) == pytest.approx(1 / (1 + np.exp(-4.0)))
    with pytest.raises(CheckpointError, match=r'no information \(3, 3\) or \(6, 6\)'):
        load_odometry_model(tmp_path / 'believing.pt', 'own_front_ends:Believing')
    with pytest.raises(CheckpointError, match='no single weight'):
        load_loop_model(tmp_path / 'stiff.pt', 'own_front_ends:Stiff')
    with pytest.raises(CheckpointError, match="wanted is 'loop_verifier'"):
        load_loop_model(tmp_path / 'believing.pt')


def test_training_beats_the_best_constant_on_edges_that_differ():
    """Links whose error depends on their features, known in closed form."""
    generator = torch.Generator().manual_seed(0)

    def made(count: int) -> edges.Edges:
        x = torch.rand(count, 5, generator=generator, dtype=torch.float64)
        sigma = 0.01 * (1 + 9 * x[:, :1])
        error = sigma * torch.randn(count, 3, generator=generator, dtype=torch.float64)
        return edges.Edges(x, error, torch.diag_embed((1 / sigma ** 2).expand(count, 3)))

    train, validation, held_out = made(600), made(200), made(400)
    network = OdometryUncertainty(features=5, size=3).double()
    network.calibrate(train.features, train.target.square().mean(0).sqrt())
    numbers = edges.odometry_numbers(edges.fitted(network, edges.likelihood, train, validation), held_out)
    assert numbers['nll_learned'] < numbers['nll_best_constant'] - 0.05
    assert numbers['nll_learned'] < numbers['nll_stated'] + 0.05 and 2.4 < numbers['nees_of_3_learned'] < 3.8


def test_shipped_weights_beat_their_baselines_on_held_out_drives_and_say_so():
    from pypose_core.learning import load_checkpoint
    odometry = load_checkpoint(WEIGHTS / 'odometry_uncertainty_sim.pt').metadata
    loops = load_checkpoint(WEIGHTS / 'loop_verifier_sim.pt').metadata
    assert load_odometry_model(WEIGHTS / 'odometry_uncertainty_sim.pt')
    assert load_loop_model(WEIGHTS / 'loop_verifier_sim.pt')
    for metadata in (odometry, loops):
        assert not set(metadata.training_data) & set(metadata.held_out_data) and metadata.held_out_data
    assert odometry.metrics['nll_learned'] < odometry.metrics['nll_stated']
    found = loops.metrics
    assert found['false_accepted_learned'] < found['false_accepted_limits'] / 2
    assert found['true_accepted_learned'] > 0.95 * found['true_accepted_limits']


@pytest.mark.slow
def test_the_numbers_of_the_shipped_odometry_weights_are_those_of_the_held_out_drives():
    from pypose_core.learning import load_checkpoint
    checkpoint = load_checkpoint(WEIGHTS / 'odometry_uncertainty_sim.pt')
    held_out = edges.Edges.joined([edges.odometry_links(seed) for seed in edges.HELD_OUT])
    found = edges.odometry_numbers(checkpoint.front_end, held_out)
    assert found == pytest.approx(checkpoint.metadata.metrics, rel=1e-6)
