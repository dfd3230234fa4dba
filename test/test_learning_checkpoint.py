"""Files of weights: what went in comes out, and nothing else is taken."""
import hashlib
import io
import json

import pytest
import torch

from pypose_core.learning import (
    CheckpointError,
    ImuCorrector,
    LoopVerifier,
    Metadata,
    OdometryUncertainty,
    load_checkpoint,
    save_checkpoint,
)
from pypose_core.learning import checkpoint as module

METADATA = Metadata(training_data=('MH_01 25-150 s',), held_out_data=('V1_01 75-144 s',), metrics={'nees': 9.3},
                    rate=200.0, seed=3, version=7, note='for a test')


def network(seed: int = 0) -> ImuCorrector:
    corrector = ImuCorrector(channels=4, dilations=(1, 2))
    for p in corrector.parameters():
        p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
    return corrector


def rewrite(path, change) -> None:
    """Change the content of a file and sign it again, as a program with a mistake in it would."""
    content = torch.load(path, weights_only=True)
    change(content)
    content['digest'] = module._digest(content)
    torch.save(content, path)


@pytest.mark.parametrize('front_end', [network(), OdometryUncertainty(features=2), LoopVerifier(features=5)])
def test_what_is_saved_is_loaded(tmp_path, front_end):
    path = tmp_path / 'weights.pt'
    sha256 = save_checkpoint(path, front_end, METADATA)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = load_checkpoint(path, sha256=sha256, kind=front_end.kind)
    assert found.metadata == METADATA and found.sha256 == sha256 and not found.front_end.training
    assert found.front_end.architecture == front_end.architecture
    for name, x in front_end.state_dict().items():
        assert torch.equal(found.front_end.state_dict()[name], x)


def test_a_module_of_ones_own_is_loaded_by_its_class(tmp_path):
    class Mine(torch.nn.Linear):
        kind = 'mine'

        def __init__(self, *, width: int):
            super().__init__(width, 1)
            self.architecture = {'width': width}

    mine = Mine(width=3)
    save_checkpoint(tmp_path / 'w', mine, Metadata())
    assert torch.equal(load_checkpoint(tmp_path / 'w', kinds={'mine': Mine}).front_end.weight, mine.weight)
    with pytest.raises(CheckpointError, match="'mine' is not known here"):
        load_checkpoint(tmp_path / 'w')


def test_files_that_are_not_what_they_should_be_are_refused_by_name_and_reason(tmp_path):
    path, good = tmp_path / 'weights.pt', tmp_path / 'good.pt'
    save_checkpoint(good, network(), METADATA)

    def refused(reason: str, **arguments):
        with pytest.raises(CheckpointError, match=reason) as caught:
            load_checkpoint(path, **arguments)
        assert str(path) in str(caught.value)

    refused('No such file')
    path.write_text('not weights')
    refused('not a file of weights')
    path.write_bytes(good.read_bytes()[:-500])
    refused('not a file of weights, or a damaged one')
    torch.save({'weights': torch.zeros(3)}, path)
    refused('not a file of ours')
    path.write_bytes(good.read_bytes())
    refused('not the announced', sha256='0' * 64)
    refused("wanted is 'loop_verifier'", kind='loop_verifier')


def test_content_that_was_changed_or_does_not_fit_is_refused(tmp_path):
    path = tmp_path / 'weights.pt'

    def refused(change, reason: str):
        save_checkpoint(path, network(), METADATA)
        rewrite(path, change)
        with pytest.raises(CheckpointError, match=reason):
            load_checkpoint(path)

    def put(name, value):
        return lambda content: content['state'].__setitem__(name, value)

    refused(put('bias', torch.zeros(5)), r'bias has shape \(5,\), its architecture wants \(6,\)')
    refused(put('head.bias', torch.full((12,), torch.nan)), 'head.bias holds NaN')
    refused(put('extra', torch.zeros(1)), 'extra is on one side only')
    refused(lambda content: content.__setitem__('architecture', json.dumps({'depth': 3})), 'its architecture is not')
    refused(lambda content: content.__setitem__('version', 99), 'version 99')
    save_checkpoint(path, network(), METADATA)
    content = torch.load(path, weights_only=True)
    content['state']['bias'][0] += 1e-3
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='does not match its digest'):
        load_checkpoint(path)


def test_a_file_runs_no_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ('harm',)

    data = io.BytesIO()
    torch.save({'format': module.FORMAT, 'state': Harmful()}, data)
    (tmp_path / 'w').write_bytes(data.getvalue())
    with pytest.raises(CheckpointError, match='not a file of weights'):
        load_checkpoint(tmp_path / 'w')


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'weights.pt'
    save_checkpoint(path, network(0), METADATA)
    before = path.read_bytes()

    def full(_):
        raise OSError('no space left on device')

    monkeypatch.setattr(module.os, 'fsync', full)
    with pytest.raises(OSError, match='no space'):
        save_checkpoint(path, network(1), METADATA)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    bad = network()
    bad.bias.data[0] = torch.inf
    with pytest.raises(CheckpointError, match='bias holds NaN or infinity'):
        save_checkpoint(path, bad, METADATA)
    assert path.read_bytes() == before
