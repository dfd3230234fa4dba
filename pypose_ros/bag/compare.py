"""`pypose-ros evaluate`: one trajectory against another, under every alignment."""
from dataclasses import dataclass
from pathlib import Path

from pypose_core.metric import (
    ALIGNMENTS,
    Ate,
    Rpe,
    Trajectory,
    TrajectoryFileError,
    associate,
    associate_interpolated,
    ate,
    read_tum,
    relative_error,
)

from .errors import BagError


@dataclass(frozen=True)
class Comparison:
    """ATE per alignment, RPE, and what they rest on."""

    estimate: str
    truth: str
    pairs: int
    poses: tuple[int, int]
    path_length: float
    duration: float
    ates: dict[str, Ate]
    rpe: Rpe | None
    delta: str

    def as_dict(self) -> dict:
        result: dict = {'estimate': self.estimate, 'truth': self.truth, 'pairs': self.pairs,
                  'path_length_m': self.path_length, 'duration_s': self.duration, 'ate': {}}
        for name, found in self.ates.items():
            result['ate'][name] = {'translation_m': found.translation.as_dict(),
                                   'rotation_deg': found.rotation.as_dict(),
                                   'scale': found.alignment.scale, 'degenerate': found.alignment.degenerate}
        if self.rpe:
            result['rpe'] = {'delta': self.delta, 'translation_m': self.rpe.translation.as_dict(),
                             'rotation_deg': self.rpe.rotation.as_dict()}
        return result

    def text(self) -> str:
        lines = [f'{self.pairs} pairs of {self.poses[0]} and {self.poses[1]} poses, {self.duration:.1f} s, '
                 f'{self.path_length:.2f} m', '',
                 f'{"":22}{"translation m":>34}   {"rotation degrees":>34}',
                 f'{"":22}' + '   '.join([f'{"rmse":>10}  {"median":>10}  {"max":>10}'] * 2)]
        names = {'none': 'not aligned', 'yaw': 'aligned in yaw', 'se3': 'aligned, SE(3)', 'sim3': 'aligned, '
                                                                                                  'Sim(3)'}
        rows: list[tuple[str, Ate | Rpe]] = [(f'ATE, {names[name]}', found) for name, found in self.ates.items()]
        if self.rpe:
            rows.append((f'RPE per {self.delta}', self.rpe))
        for name, found in rows:
            cells = [f'{s.rmse:10.5f}  {s.median:10.5f}  {s.max:10.5f}'
                     for s in (found.translation, found.rotation)]
            lines.append(f'{name:22}' + '   '.join(cells))
            degenerate = getattr(getattr(found, 'alignment', None), 'degenerate', '')
            if degenerate:
                lines.append(f'{"":22}({degenerate})')
        if 'sim3' in self.ates:
            lines.append(f'{"":22}scale of sim3: {self.ates["sim3"].alignment.scale:.6f}')
        return '\n'.join(lines)


def compare_files(estimate: str | Path, truth: str | Path, *, max_difference: float = 0.01,
                  interpolate: bool = False, delta: float = 1.0, unit: str = 'seconds') -> Comparison:
    """Compare two TUM files.

    Raises:
        BagError: a file is malformed (file and line are named), or they share no stamps.
    """
    try:
        trajectories = read_tum(estimate), read_tum(truth)
    except TrajectoryFileError as error:
        raise BagError(str(error)) from None
    if max_difference < 0 or not delta > 0:
        raise BagError('--max-difference must not be negative and --delta must be positive')
    if interpolate:
        a, b = associate_interpolated(*trajectories)
    else:
        a, b = associate(*trajectories, max_difference=max_difference)
    if len(a) < 3:
        raise BagError(f'{estimate} and {truth} have {len(a)} poses in common: {_spans(*trajectories)}')
    ates = {name: ate(a, b, alignment=name) for name in ALIGNMENTS}
    try:
        relative = relative_error(a, b, delta=delta, unit=unit)
    except ValueError:      # too short for one pair
        relative = None
    return Comparison(str(estimate), str(truth), len(a), (len(trajectories[0]), len(trajectories[1])),
                      float(b.distances[-1]), b.duration, ates, relative, f'{delta:g} {unit}')


def _spans(estimate: Trajectory, truth: Trajectory) -> str:
    return ', '.join(f'{name} {t.stamps_ns[0] * 1e-9:.3f} to {t.stamps_ns[-1] * 1e-9:.3f} s'
                     for name, t in (('estimate', estimate), ('truth', truth)))
