"""What a training leaves for a person: curves, and a card that says what the weights are good for."""
from collections.abc import Sequence

import jinja2
import matplotlib.pyplot as plt

from pypose_core.learning import Metadata, Progress, Score
from pypose_ros.bag.plots import ESTIMATE, STYLE, TRUTH, png

_COLUMNS = ('front-end', 'window', 'windows', 'rotation', 'velocity', 'position', 'NEES (9 expected)')


def curves(history: Sequence[Progress], scores: Sequence[Score], *, title: str) -> bytes:
    """One PNG: loss by epoch, and the held-out errors and NEES of each front-end."""
    with plt.rc_context(STYLE):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12.5, 3.8), width_ratios=(1.2, 1, 1))
        figure.suptitle(title, fontsize=11, x=0.012, ha='left', fontweight='bold')
        epochs = range(1, len(history) + 1)
        left.plot(epochs, [one.loss_train for one in history], color=ESTIMATE, marker='o', ms=3, label='training')
        if all(one.loss_validation is not None for one in history):
            left.plot(epochs, [one.loss_validation for one in history], color=TRUTH, marker='o', ms=3,
                      label='validation')
        second = next((k for k in range(1, len(history)) if history[k].epoch <= history[k - 1].epoch), None)
        if second is not None:
            left.axvline(second + 0.5, color='#98a2b3', lw=0.8, ls='--')
            left.annotate('noise constants | network', (second + 0.5, 0), xycoords=('data', 'axes fraction'),
                          xytext=(0, 5), textcoords='offset points', ha='center', fontsize=7, color='#475467')
        low = sorted(one.loss_train for one in history)
        left.set(title='Loss (negative log-likelihood)', xlabel='epoch', xlim=(0.5, len(history) + 0.5),
                 xticks=range(1, len(history) + 1, max(1, len(history) // 10)))
        if len(low) > 3:        # the first epoch begins from the stated noise, far off
            left.set_ylim(top=low[-2] + 0.5 * (low[-2] - low[0]) + 1e-3)
        left.legend()
        _bars(middle, scores, 'position_m', 'Position error against the first one (held out)', relative=True)
        _bars(right, scores, 'nees', 'NEES (held out; 9 is right)')
        right.axhline(9, color=TRUTH, lw=0.8, ls='--')
        right.set(yscale='log', ylim=(min([4.0, *(0.8 * one.nees for one in scores)]), None))
        return png(figure)


def _bars(axes, scores: Sequence[Score], field: str, title: str, *, relative: bool = False) -> None:
    names = list(dict.fromkeys(one.front_end for one in scores))
    lengths = sorted({one.seconds for one in scores})
    shades = ['#98a2b3', '#c4cad4', ESTIMATE] if len(names) > 2 else ['#98a2b3', ESTIMATE]
    first: list[float] = []
    for k, name in enumerate(names):
        values = [next(getattr(one, field) for one in scores if (one.front_end, one.seconds) == (name, seconds))
                  for seconds in lengths]
        first = first or values
        if relative:
            values = [value / one for value, one in zip(values, first)]
        axes.bar([i + (k - (len(names) - 1) / 2) * 0.26 for i in range(len(lengths))], values, 0.24,
                 color=shades[min(k, len(shades) - 1)] if k < len(names) - 1 else ESTIMATE, label=name)
    axes.set_xticks(range(len(lengths)), [f'{seconds:g} s' for seconds in lengths])
    axes.set(title=title)
    axes.legend(fontsize=6.5, loc='upper left', bbox_to_anchor=(0, -0.1))


def table(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """The comparison as rows of text, heading first."""
    return [_COLUMNS, *((one.front_end, f'{one.seconds:g} s', str(one.windows), f'{one.rotation_deg:.4f}°',
                         f'{one.velocity_m_s:.4f} m/s', f'{one.position_m:.4f} m', f'{one.nees:.1f}')
                        for one in scores)]


def card(metadata: Metadata, scores: Sequence[Score], *, kind: str, parameters: int, size: int, sha256: str,
         minutes: float) -> str:
    """A model card in Markdown."""
    rows = table(scores)
    lines = [f'# {kind}', '', metadata.note, '',
             f'* Weights: {parameters} numbers, {size / 1000:.0f} kB, SHA-256 `{sha256}`',
             f'* Input: {metadata.rate:g} Hz', f'* Seed {metadata.seed}; trained in {minutes:.1f} minutes',
             *(f'* Trained on {one}' for one in metadata.training_data),
             *(f'* Numbers below are of {one}, that training never saw' for one in metadata.held_out_data), '']
    lines += ['| ' + ' | '.join(row) + ' |' for row in (rows[0], ('---',) * len(rows[0]), *rows[1:])]
    lines += ['', 'Root mean square errors of preintegration from the true state over windows of each length. NEES: '
              'the mean normalized squared error of rotation, velocity and position; above 9 the covariance is too '
              'small.']
    return '\n'.join(lines) + '\n'


_PAGE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string('''<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1d2939; background: #f5f6f8; margin: 0 }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px } h1 { font-size: 23px }
table { border-collapse: collapse; width: 100%; background: #fff; border: 1px solid #e4e7ec }
th, td { padding: 6px 12px; text-align: left; border-bottom: 1px solid #f0f1f4 }
img { width: 100%; background: #fff; border: 1px solid #e4e7ec; margin: 16px 0 }
</style></head><body><main><h1>{{ title }}</h1>
<p>{{ note }}</p><img alt="curves" src="data:image/png;base64,{{ picture }}">
<table><tr>{% for cell in rows[0] %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in rows[1:] %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>
<p>Trained on {{ training }}; the numbers are of {{ held_out }}.</p></main></body></html>
''')


def page(metadata: Metadata, scores: Sequence[Score], picture: str, *, title: str) -> str:
    """The same as one HTML file. `picture` is base64."""
    return _PAGE.render(title=title, note=metadata.note, picture=picture, rows=table(scores),
                        training=', '.join(metadata.training_data), held_out=', '.join(metadata.held_out_data) or '-')
