"""Learning of a corrector from keyframes: it gets better, never worse in use, and survives being killed."""
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_drive import drive

from pypose_core.learning import CheckpointError, ImuCorrector
from pypose_core.online.learner import CorrectorLearner, ImuHistory, LearnerConfig, WeightStore, judge
from pypose_core.online.learner.history import cut

CONFIG = LearnerConfig(window=6.0, steps=10, batch_size=2, channels=2, min_windows=3, learning_rate=6e-3)
SHORT = replace(CONFIG, steps=2, batch_size=1)


def fed(folder, recorded, config=CONFIG) -> CorrectorLearner:
    learner = CorrectorLearner(config, WeightStore(folder))
    for stamp, sample in zip(recorded.stamps_ns.tolist(), recorded.imu):
        assert learner.add_imu(stamp, sample)
    learner.set_keyframes(recorded.keyframes_ns, recorded.poses)
    return learner


def one_round(learner):
    job = learner.begin_round()
    job.run()
    return learner.finish(job)


@pytest.fixture(scope='module')
def recorded():
    return drive(84.0)


@pytest.fixture(scope='module')
def learned(tmp_path_factory, recorded):
    """A learner after two rounds, promoted whenever it may be, and the reports."""
    learner = fed(tmp_path_factory.mktemp('learner'), recorded, replace(CONFIG, steps=8, batch_size=1))
    reports = []
    for _ in range(2):
        reports.append(one_round(learner))
        if reports[-1].judgement:
            learner.promote()
    return learner, reports


def test_scales_and_axes_are_learned_from_keyframes_alone(learned, recorded):
    learner, reports = learned
    assert len(learner.store.versions) >= 2
    last = learner.current.mixing[0, 2, 2].item()
    assert last == pytest.approx(1 / 1.03 - 1, abs=0.018)
    _, held, _ = learner.windows(recorded.stamps_ns, recorded.imu, recorded.keyframes_ns, recorded.poses)
    first = learner.store.load(learner.store.path(1)).front_end
    before, after = learner.rmse(first, held), learner.rmse(learner.current, held)
    assert after[0] < 0.75 * before[0] and after[1] < before[1]


def test_held_out_windows_are_no_part_of_training(learned, recorded):
    train, held, _ = learned[0].windows(recorded.stamps_ns, recorded.imu, recorded.keyframes_ns, recorded.poses)
    assert len(held) >= 3 and len(train) >= 3 * len(held) - 3
    for one in held:
        ends = one.poses[[0, -1], :3]
        for other in train:
            assert not torch.equal(other.poses[0, :3], ends[0]) and not torch.equal(other.poses[-1, :3], ends[1])


def test_the_loss_in_use_never_rises_from_round_to_round(learned):
    losses = [report.loss_current for report in learned[1]]
    assert all(later <= earlier + 1e-12 for earlier, later in zip(losses, losses[1:]))


@pytest.fixture(scope='module')
def begun(tmp_path_factory, recorded):
    """A folder after one short round."""
    folder = tmp_path_factory.mktemp('begun')
    assert one_round(fed(folder, recorded, SHORT)).step == SHORT.steps
    return folder


@pytest.mark.parametrize('harm', ['noise', 'reversed', 'nan'])
def test_a_bad_learner_is_never_promoted(tmp_path, begun, recorded, monkeypatch, harm):
    """An adversary in the optimizer's place: random steps, steps uphill, and weights that are no numbers."""
    shutil.copytree(begun, tmp_path / 'copy')
    learner = fed(tmp_path / 'copy', recorded, SHORT)
    in_use, generator = learner.store.in_use.read_bytes(), torch.Generator().manual_seed(0)

    def step(batch, **_):
        with torch.no_grad():
            network = learner.trainer.network
            if harm == 'reversed':
                network.mixing += 0.01
            elif harm == 'noise':
                for p in network.parameters():
                    p += 0.05 * torch.randn(p.shape, generator=generator)
            else:
                network.mixing.fill_(float('nan'))
        return 0.0, 0.0

    monkeypatch.setattr(learner.trainer, 'train_step', step)
    for _ in range(2 if harm == 'noise' else 1):
        job = learner.begin_round()
        try:
            job.run()
        except (CheckpointError, RuntimeError, ValueError, torch.linalg.LinAlgError):
            assert harm == 'nan'
        report = learner.finish(job)
        assert report is None or not report.judgement
        with pytest.raises(CheckpointError, match='no candidate is better'):
            learner.promote()
    assert learner.store.in_use.read_bytes() == in_use and learner.store.versions == [1]


def test_only_the_file_that_was_judged_can_be_promoted(learned):
    learner, _ = learned
    learner.report = replace(learner.report, judgement=judge(np.zeros(5), np.ones(5), margin=0.05, min_windows=3))
    learner.store.candidate.write_bytes(learner.store.path(1).read_bytes())
    with pytest.raises(CheckpointError, match='SHA-256'):
        learner.promote()


def test_a_rollback_brings_the_version_before_and_a_new_number_after(tmp_path):
    store, corrector = WeightStore(tmp_path), ImuCorrector(channels=1, dilations=(1,))
    from pypose_core.learning import Metadata
    paths = [store.promote(store.offer(corrector, Metadata()).sha256) for _ in range(3)]
    assert [p.name for p in paths] == ['weights_v1.pt', 'weights_v2.pt', 'weights_v3.pt']
    assert store.roll_back() == paths[1] and WeightStore(tmp_path).versions == [1, 2]
    assert store.promote(store.offer(corrector, Metadata()).sha256).name == 'weights_v4.pt'
    store.roll_back()
    store.roll_back()
    with pytest.raises(CheckpointError, match='no version before'):
        store.roll_back()


@pytest.mark.parametrize('candidate, words', [
    ([0.5, 0.5, 0.5, 0.5], ''), ([0.97] * 4, 'not better'), ([1.1] * 4, 'not better'),
    ([0.5, float('nan'), 0.5, 0.5], 'finite'), ([0.5, 0.5], 'windows'), ([0.0, 1.05, 1.06, 1.07], 'standard error')])
def test_the_rule_of_promotion(candidate, words):
    found = judge(np.array(candidate), np.ones(len(candidate)), margin=0.05, min_windows=3)
    assert bool(found) == (not words) and words in found.sentence


def test_the_buffer_is_bounded_and_keeps_the_newest():
    history = ImuHistory(10.0, rate=1000.0)
    for k in range(100_000):
        history.append(10 ** 9 + k * 5_000_000, np.full(6, k))
    assert len(history._stamps) <= 16384
    stamps, samples = history.snapshot()
    assert stamps[-1] - stamps[0] >= 10 * 10 ** 9 and samples[-1, 0] == 99_999
    assert not history.append(int(stamps[-1]), np.zeros(6)) and not history.append(10 ** 18, np.full(6, np.nan))


def test_windows_with_a_gap_in_the_samples_are_left_out(recorded):
    keep = np.ones(len(recorded.stamps_ns), bool)
    keep[2000:2050] = False
    settings = {'seconds': 6.0, 'observed': 0.5, 'context': 10, 'max_gap': 0.05}
    whole = cut(recorded.stamps_ns, recorded.imu, recorded.keyframes_ns, recorded.poses, **settings)[1]
    holed = cut(recorded.stamps_ns[keep], recorded.imu[keep], recorded.keyframes_ns, recorded.poses, **settings)[1]
    missing = set(whole) - set(holed)
    piece = (recorded.stamps_ns[2000] + 5 * 10 ** 8) // (6 * 10 ** 9)
    assert piece in missing and len(missing) <= 2


def test_intervals_last_from_keyframe_to_keyframe(recorded):
    shifted = recorded.keyframes_ns + 7_000_000         # between two samples
    windows, _ = cut(recorded.stamps_ns, recorded.imu, shifted, recorded.poses, seconds=6.0, observed=0.5, context=10,
                     max_gap=0.05)
    for window in windows:
        np.testing.assert_allclose(window.dt.sum(1), 1.0, atol=1e-9)
        assert (window.dt >= 0).all() and window.used[0] and not window.used[-1]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from learner_drive import drive
from test_online_learner import SHORT, fed, one_round
learner = fed(sys.argv[1], drive(84.0), SHORT)
step = learner.trainer.train_step
learner.trainer.train_step = lambda batch: (step(batch), os.kill(os.getpid(), signal.SIGKILL))
one_round(learner)
"""


def test_training_goes_on_where_it_was_after_kill_9(tmp_path, begun, recorded):
    shutil.copytree(begun, tmp_path / 'copy')
    ended = subprocess.run([sys.executable, '-c', KILLED, tmp_path / 'copy', Path(__file__).parent], text=True,
                           capture_output=True, env=os.environ | {'OMP_NUM_THREADS': '1'})
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    learner = fed(tmp_path / 'copy', recorded, SHORT)
    assert learner.trainer.step == SHORT.steps and learner.store.versions == [1]
    assert one_round(learner).step == 2 * SHORT.steps
