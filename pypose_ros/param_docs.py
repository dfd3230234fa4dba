"""A declaration of parameters as documentation: the table of a node's page, and its commented YAML file.

    python -m pypose_ros.param_docs        rewrites both for every node; a test checks that they are up to date
"""
import re
import textwrap
from pathlib import Path

from pypose_ros.common_params import CommonParams
from pypose_ros.nodes import (
    imu_preintegration_params,
    learner_params,
    loop_closure_params,
    mpc_controller_params,
    planner_params,
    pose_graph_params,
)
from pypose_ros.params import Change, Spec, specs

NODES = {imu_preintegration_params.NODE_NAME: imu_preintegration_params.ImuPreintegrationParams,
         pose_graph_params.NODE_NAME: pose_graph_params.PoseGraphParams,
         loop_closure_params.NODE_NAME: loop_closure_params.LoopClosureParams,
         planner_params.NODE_NAME: planner_params.PlannerParams,
         mpc_controller_params.NODE_NAME: mpc_controller_params.MpcControllerParams,
         learner_params.NODE_NAME: learner_params.LearnerParams}
BEGIN, END = '<!-- parameters: written by `python -m pypose_ros.param_docs` -->', '<!-- end of parameters -->'
YAML_HEAD = """\
# All parameters of {node} with their defaults; written by `python -m pypose_ros.param_docs`.
# /**/ lets the file serve the node in any namespace.
"""


def text_of(value: object) -> str:
    """A value as YAML."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, tuple):
        return '[' + ', '.join(map(text_of, value)) + ']'
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e5:
        return re.sub(r'^(-?\d+)e', r'\1.0e', f'{value:g}')     # libyaml wants the point
    return str(value)


def table(cls: type) -> str:
    """Markdown: the node's own parameters first, then those that all nodes have."""
    common = set(specs(CommonParams))
    lines = ['| parameter | type | default | range | may be set | meaning |', '|' + ' --- |' * 6]
    for spec in sorted(specs(cls).values(), key=lambda spec: spec.name in common):
        constraint = spec.constraint.replace('|', '\\|')
        lines.append(f'| `{spec.name}` | {spec.type_name} | `{text_of(spec.default)}` | {constraint} '
                     f'| {spec.change.value} | {spec.description} |')
    return '\n'.join(lines)


def yaml_file(node: str, cls: type) -> str:
    """A parameter file; groups are nested."""
    lines = [YAML_HEAD.format(node=node) + f'/**/{node}:', '  ros__parameters:']
    open_group: list[str] = []
    for spec in specs(cls).values():
        *groups, name = spec.name.split('.')
        if groups != open_group:
            lines += [f'{"  " * (depth + 2)}{group}:' for depth, group in enumerate(groups)]
            open_group = groups
        lines += _entry(spec, name, '  ' * (len(groups) + 2))
    return '\n'.join(lines) + '\n'


def _entry(spec: Spec, name: str, indent: str) -> list[str]:
    notes = [spec.description, spec.constraint and f'Range: {spec.constraint}.',
             'May change while running.' if spec.change is Change.ANY else '']
    comment = textwrap.wrap(' '.join(filter(None, notes)), 108 - len(indent) - 2)
    return [*(f'{indent}# {line}' for line in comment), f'{indent}{name}: {text_of(spec.default)}']


def page(text: str, cls: type) -> str:
    """A node's page with its table renewed."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f'the page has no place for the parameters: {BEGIN} ... {END}')
    return f'{before}{BEGIN}\n{table(cls)}\n{END}{after}'


def rewrite(root: Path) -> None:
    """Renew docs/nodes/*.md and config/*.yaml of a checkout."""
    for node, cls in NODES.items():
        document = root / 'docs' / 'nodes' / f'{node}.md'
        document.write_text(page(document.read_text(encoding='utf-8'), cls), encoding='utf-8')
        (root / 'config' / f'{node}.yaml').write_text(yaml_file(node, cls), encoding='utf-8')


if __name__ == '__main__':
    rewrite(Path(__file__).parents[1])
