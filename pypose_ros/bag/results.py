"""The folder of results: written beside and put in place at once."""
import json
import os
import shutil
import tempfile
from pathlib import Path

import jinja2
import numpy as np

from pypose_core.metric import format_tum

from . import plots
from .errors import BagError
from .estimate import Estimate
from .evaluation import Evaluation, table
from .live_timing import LiveTiming
from .replay_input import ReplayInput

FILES = ('trajectory.tum', 'metrics.json', 'parameters.yaml', 'overview.png', 'report.html')
_TEMPLATE = Path(__file__).with_name('templates') / 'report.html'


def run_name(bag: Path, mode: str) -> str:
    """The name of a run's folder: the bag's and the mode; running again replaces it."""
    return f'{bag.resolve().name.removesuffix(bag.suffix)}-{mode}'


def check_folder(folder: Path) -> None:
    """Refuse to put results where something else is."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir())
                                                    and not (folder / 'metrics.json').is_file())):
        raise BagError(f'{folder}: is there and holds no results of a run; not replacing it')


def write_results(folder: str | Path, source: ReplayInput, estimate: Estimate, evaluation: Evaluation,
                  parameters: str, *, timing: LiveTiming | None = None,
                  recording: Path | None = None) -> Path:
    """Write trajectory.tum, metrics.json, parameters.yaml, overview.png and report.html.

    Args:
        parameters: the effective parameters as YAML.
        recording: a bag of what the node published, moved into the folder.

    Returns:
        The folder. An earlier run's results in it are replaced, and anything else is refused.
    """
    folder = Path(folder)
    check_folder(folder)
    title = f'{evaluation.metrics["bag"]} · {evaluation.metrics["mode"]}'
    picture = plots.overview(source, estimate, evaluation, title=title)
    latency = None if timing is None else (timing.output_ms, timing.received_ms)
    svgs = plots.panels(source, estimate, evaluation, latency)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)
    html = environment.from_string(_TEMPLATE.read_text(encoding='utf-8')).render(
        title=title, rows=table(evaluation.metrics), panels=svgs, parameters=parameters,
        metrics=evaluation.metrics, files=FILES)
    contents = {
        'trajectory.tum': format_tum(estimate.trajectory).encode(),
        'metrics.json': (json.dumps(evaluation.metrics, indent=2, allow_nan=False, default=_number)
                         + '\n').encode(),
        'parameters.yaml': parameters.encode(),
        'overview.png': picture,
        'report.html': html.encode(),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    except OSError as error:
        raise BagError(f'{folder}: cannot be written: {error.strerror}') from None
    try:
        beside.chmod(0o755)
        for name, content in contents.items():
            (beside / name).write_bytes(content)
        if recording is not None:
            shutil.move(recording, beside / 'recording.mcap')
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _number(value):
    """numpy's scalars in JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f'{type(value)} in the metrics')
