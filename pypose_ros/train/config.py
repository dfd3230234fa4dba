"""The file that says how to train: `pypose-ros train --config`."""
import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pypose_core.inertial import ImuNoise
from pypose_core.learning import ImuTrainingConfig, Span, TrainingConfig
from pypose_ros.bag.errors import BagError
from pypose_ros.params import Loader

PURPOSES = ('train', 'validation', 'held_out')
#: Shares of a recording that the configuration does not divide.
SHARES = {'train': (0.0, 0.7), 'validation': (0.7, 0.85), 'held_out': (0.85, 1.0)}


@dataclasses.dataclass(frozen=True)
class TrainFile:
    """What a configuration file says for one target."""

    training: ImuTrainingConfig
    spans: dict[str, dict[str, Span]]
    """By the recording's name, the parts of it for each purpose."""

    def spans_of(self, name: str, seconds: float) -> dict[str, Span]:
        """The parts of a recording; by shares of its length where the file does not name it."""
        if name in self.spans:
            return self.spans[name]
        return {purpose: (a * seconds, b * seconds) for purpose, (a, b) in SHARES.items()}


def read_train_file(path: str | Path | None, target: str, *, seed: int | None = None) -> TrainFile:
    """Read a file; None gives the defaults.

    Raises:
        BagError: it cannot be read, or says something unknown (which is named).
    """
    content: Mapping[str, Any] = {}
    if path is not None:
        try:
            content = yaml.load(Path(path).read_text(encoding='utf-8'), Loader) or {}
        except (OSError, UnicodeDecodeError) as error:
            raise BagError(f'{path}: {getattr(error, "strerror", None) or error}') from None
        except yaml.YAMLError as error:
            raise BagError(f'{path}: not YAML: {" ".join(str(error).split())}') from None
        if not isinstance(content, Mapping) or not isinstance(content.get(target), Mapping):
            raise BagError(f'{path}: wants `{target}:` with its parameters below')
        content = content[target]
    content = dict(content)
    spans = {str(name): _spans(path, name, parts) for name, parts in (content.pop('recordings', None) or {}).items()}
    if seed is not None:
        content['training'] = {**(content.get('training') or {}), 'seed': seed}
    return TrainFile(_build(ImuTrainingConfig, content, str(path), {'noise': ImuNoise, 'training': TrainingConfig,
                                                                     'noise_training': TrainingConfig}), spans)


def _build(cls: type, values: Mapping[str, Any], place: str, nested: Mapping[str, type]):
    defaults = cls() if cls is not ImuNoise else ImuTrainingConfig().noise
    known = {field.name for field in dataclasses.fields(cls)}
    found = {}
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise BagError(f'{place}: {name}: no such parameter' + (f' (did you mean {close[0]}?)' if close else ''))
        if name in nested:
            if not isinstance(value, Mapping):
                raise BagError(f'{place}: {name}: wants parameters below it')
            value = _build(nested[name], value, f'{place}: {name}', {})
        found[name] = tuple(value) if isinstance(value, list) else value
    try:
        return dataclasses.replace(defaults, **found)
    except (TypeError, ValueError) as error:
        raise BagError(f'{place}: {error}') from None


def _spans(path, name: str, parts) -> dict[str, Span]:
    wrong = BagError(f'{path}: recordings: {name}: wants {", ".join(PURPOSES)}, each [from, to] in seconds')
    if not isinstance(parts, Mapping) or not parts or set(parts) - set(PURPOSES):
        raise wrong
    for span in parts.values():
        if not (isinstance(span, list) and len(span) == 2 and all(isinstance(x, int | float) for x in span)
                and 0 <= span[0] < span[1]):
            raise wrong
    return {purpose: (float(a), float(b)) for purpose, (a, b) in parts.items()}
