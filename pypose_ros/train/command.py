"""`pypose-ros train`: recordings in; weights, curves and a model card out."""
import base64
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from pypose_core.learning import Metadata, Progress, Recording, processes, save_checkpoint, train_imu_corrector
from pypose_ros.bag.errors import BagError
from pypose_ros.bag.replay import progress as progress_bar

from .config import read_train_file
from .recordings import read_recording
from .report import card, curves, page, table

FILES = ('weights.pt', 'model_card.md', 'curves.png', 'report.html')


def train(bags: Sequence[str], target: str, config: str | None, out: str | None, *, seed: int | None = None,
          imu_topic: str | None = None, ground_truth: str | None = None) -> Path:
    """Train a front-end and write FILES; under torchrun each process takes its part of each batch.

    Raises:
        BagError: a recording or the configuration is unusable.
    """
    file = read_train_file(config, target, seed=seed)
    found = [read_recording(Path(bag), file, imu_topic=imu_topic, ground_truth=ground_truth) for bag in bags]
    recordings = [one for one, _ in found]
    if len({one.name for one in recordings}) < len(recordings):
        raise BagError(f'two recordings have one name: {", ".join(one.name for one in recordings)}')
    if not any(one.train for one in recordings):
        raise BagError('none of the recordings has a part to train on: see `recordings` in the configuration')
    torch.set_num_threads(1)
    folder = Path(out) if out else Path('results') / f'train-{target}'
    held_out = [bias for one, bias in found if one.held_out is not None]
    known = {"the dataset's own biases": held_out[0]} if len(held_out) == 1 and held_out[0] is not None else {}
    epochs = file.training.noise_training.epochs + file.training.training.epochs
    begin = time.monotonic()
    with processes() as (rank, _), contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress_bar(epochs, 'training', ' epochs')) if rank == 0 else None

        def report(progress: Progress) -> None:
            if advance is None:
                return
            advance(1)
            if not sys.stderr.isatty():
                validation = '' if progress.loss_validation is None else f', validation {progress.loss_validation:.4f}'
                print(f'epoch {progress.epoch}: loss {progress.loss_train:.4f}{validation}', file=sys.stderr)

        try:
            trained = train_imu_corrector(recordings, file.training, known=known, progress=report)
        except ValueError as error:
            raise BagError(str(error)) from None
    minutes = (time.monotonic() - begin) / 60
    if rank == 0:
        _write(folder, target, recordings, trained, file.training.training.seed, minutes)
    return folder


def _write(folder: Path, target: str, recordings: Sequence[Recording], trained, seed: int, minutes: float) -> None:
    def spans(*purposes: str) -> tuple[str, ...]:
        return tuple(f'{one.name} {span[0]:g} to {_end(one, span):.0f} s' for one in recordings
                     for purpose in purposes if (span := getattr(one, purpose)) is not None)

    corrector, scores = trained.corrector, trained.scores
    metadata = Metadata(
        training_data=spans('train', 'validation'), held_out_data=spans('held_out'), rate=corrector.rate, seed=seed,
        metrics={f'{name}_{one.seconds:g}s': getattr(one, name) for one in scores if one.front_end == 'learned'
                 for name in ('rotation_deg', 'velocity_m_s', 'position_m', 'nees')},
        note='Corrects raw IMU samples and states the noise of each; biases begin at those of '
             f'{recordings[-1].name} and remain the estimator\'s to follow. ' + ' '.join(
                 f'The reference of {name} leaned by {1e3 * found.lean.norm():.1f} mrad and its clock was '
                 f'{1e3 * found.delay:+.2f} ms off, which was put right before.'
                 for name, found in trained.calibrations.items()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = save_checkpoint(folder / 'weights.pt', corrector, metadata)
        title = f'{target} · {", ".join(one.name for one in recordings)}'
        picture = curves(trained.history, scores, title=title)
        (folder / 'curves.png').write_bytes(picture)
        (folder / 'report.html').write_text(page(metadata, scores, base64.b64encode(picture).decode(), title=title))
        (folder / 'model_card.md').write_text(card(
            metadata, scores, kind=target, parameters=sum(p.numel() for p in corrector.parameters()),
            size=(folder / 'weights.pt').stat().st_size, sha256=sha256, minutes=minutes))
    except OSError as error:
        raise BagError(f'{folder}: cannot be written: {error.strerror}') from None
    for row in table(scores):
        print('  '.join(f'{cell:<{54 if k == 0 else 13}}' for k, cell in enumerate(row)))
    print(f'wrote {", ".join(FILES)} to {folder}', file=sys.stderr)


def _end(recording: Recording, span: tuple[float, float]) -> float:
    stamps = recording.states.stamps_ns
    return min(span[1], (stamps[-1] - stamps[0]) * 1e-9)
