"""Files of network weights that say what they are, and are refused where something is wrong with them.

A file is a `torch.save` of plain tensors and text (read with `weights_only`, so it runs no code):

    format, version, kind, architecture (JSON), metadata (JSON), state (tensors), digest

`digest` is the SHA-256 of all the rest; the SHA-256 of the file itself travels beside it (`Weights.sha256`).
"""
import hashlib
import io
import json
import os
import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .front_end import KINDS, FrontEnd

FORMAT, VERSION = 'pypose_ros front-end', 1


class CheckpointError(ValueError):
    """A file of weights cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Metadata:
    """What a person wants to know of weights before a robot uses them."""

    training_data: tuple[str, ...] = ()
    """Recordings and the spans of them that were learned from."""
    held_out_data: tuple[str, ...] = ()
    """Those that the metrics are of."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Held-out numbers, with the unit in the name."""
    rate: float | None = None
    """Hz of the input, where there is one."""
    seed: int | None = None
    version: int = 0
    """Counts the promotions of a learner."""
    note: str = ''


@dataclass(frozen=True)
class Checkpoint:
    """Weights in a module, ready to be used."""

    front_end: nn.Module
    """In evaluation mode."""
    metadata: Metadata
    sha256: str
    """Of the file."""


def save_checkpoint(path: str | Path, front_end: FrontEnd, metadata: Metadata) -> str:
    """Write a file whole or not at all; returns its SHA-256.

    Raises:
        CheckpointError: the front-end cannot be written, or has weights that are not finite.
    """
    path = Path(path)
    if not (isinstance(front_end, nn.Module) and isinstance(front_end, FrontEnd)):
        raise CheckpointError(f'{path}: {type(front_end).__name__} is no front-end: it needs the attributes kind and '
                              'architecture')
    state = {name: x.detach().cpu().contiguous() for name, x in front_end.state_dict().items()}
    problem = _not_finite(state)
    if problem:
        raise CheckpointError(f'{path}: not written: {problem}')
    content = {'format': FORMAT, 'version': VERSION, 'kind': front_end.kind,
               'architecture': json.dumps(front_end.architecture, sort_keys=True),
               'metadata': json.dumps(asdict(metadata), sort_keys=True), 'state': state}
    data = io.BytesIO()
    torch.save({**content, 'digest': _digest(content)}, data)
    write_atomically(path, data.getvalue())
    return hashlib.sha256(data.getvalue()).hexdigest()


def load_checkpoint(path: str | Path, *, sha256: str | None = None, kind: str | None = None,
                    kinds: Mapping[str, type[nn.Module]] | None = None,
                    cls: type[nn.Module] | None = None) -> Checkpoint:
    """Read a file.

    Args:
        sha256: the file's hash, where it was announced.
        kind: what the caller can use.
        kinds: classes by their `kind`, for modules of your own; those of the package by default.
        cls: the one class that the caller can use, in place of both.

    Raises:
        CheckpointError: it is missing, is not ours, arrived damaged, is of another kind, does not fit its architecture,
            or has weights that are not finite.
    """
    path = Path(path)
    if cls is not None:
        kind = str(getattr(cls, 'kind', cls.__name__))
        kinds = {kind: cls}
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f'{path}: {error.strerror or error}') from None
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256.lower():
        raise CheckpointError(f'{path}: its SHA-256 is {found[:12]}…, not the announced {sha256[:12]}…')
    content = _read(path, data)
    if kind is not None and content['kind'] != kind:
        raise CheckpointError(f'{path}: it holds a front-end of kind {content["kind"]!r}, wanted is {kind!r}')
    module = _build(path, content, KINDS if kinds is None else kinds)
    metadata = json.loads(content['metadata'])
    for name in ('training_data', 'held_out_data'):
        metadata[name] = tuple(metadata[name])
    return Checkpoint(module.eval(), Metadata(**metadata), found)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that at every moment the old or the new content is there, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path, data: bytes) -> dict[str, Any]:
    try:
        content = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        sentence = str(error).partition('\n')[0][:100]
        raise CheckpointError(f'{path}: not a file of weights, or a damaged one ({sentence})') from None
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise CheckpointError(f'{path}: not a file of ours: it does not begin with {FORMAT!r}')
    if content.get('version') != VERSION:
        raise CheckpointError(f'{path}: its format has version {content.get("version")!r}; this program reads '
                              f'{VERSION}')
    digest = content.pop('digest', None)
    try:
        right = digest == _digest(content)
    except (KeyError, AttributeError, TypeError):
        right = False
    if not right:
        raise CheckpointError(f'{path}: its content does not match its digest: it was damaged or changed by hand')
    return content


def _build(path: Path, content: Mapping[str, Any], kinds: Mapping[str, type[nn.Module]]) -> nn.Module:
    if content['kind'] not in kinds:
        raise CheckpointError(f'{path}: a front-end of kind {content["kind"]!r} is not known here; known are '
                              f'{", ".join(sorted(kinds))}')
    try:
        module = kinds[content['kind']](**json.loads(content['architecture']))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f'{path}: its architecture is not one of {content["kind"]}: {error}') from None
    state, own = content['state'], module.state_dict()
    odd = sorted(set(state) ^ set(own))
    if odd:
        raise CheckpointError(f'{path}: its weights are not those of its architecture: {odd[0]} is on one side only')
    for name, x in own.items():
        if state[name].shape != x.shape:
            raise CheckpointError(f'{path}: {name} has shape {tuple(state[name].shape)}, its architecture wants '
                                  f'{tuple(x.shape)}')
    problem = _not_finite(state)
    if problem:
        raise CheckpointError(f'{path}: {problem}')
    # Parameters take the file's precision: a corrector trained in double precision stays in it.
    floating = next((x.dtype for x in state.values() if x.is_floating_point()), None)
    module.to(floating).load_state_dict(state)
    return module


def _not_finite(state: Mapping[str, Tensor]) -> str:
    bad = next((name for name, x in state.items() if x.is_floating_point() and not bool(x.isfinite().all())), '')
    return f'{bad} holds NaN or infinity' if bad else ''


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of everything, in an order of its own."""
    total = hashlib.sha256()
    for name in ('format', 'version', 'kind', 'architecture', 'metadata'):
        total.update(f'{name}={content[name]}\n'.encode())
    for name, x in sorted(content['state'].items()):
        total.update(f'{name} {x.dtype} {tuple(x.shape)}\n'.encode())
        total.update(x.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
