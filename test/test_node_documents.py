"""The node's page and its parameter file say what is declared, and all of it."""
import json
import re
from pathlib import Path

import pytest

from pypose_ros import param_docs
from pypose_ros.params import build, load_yaml, specs

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize('node', list(param_docs.NODES))
def test_the_page_lists_the_declared_parameters(node):
    document = (ROOT / 'docs' / 'nodes' / f'{node}.md').read_text(encoding='utf-8')
    assert document == param_docs.page(document, param_docs.NODES[node]), 'run python -m pypose_ros.param_docs'
    assert set(re.findall(r'^\| `([\w.]+)` \| [a-z]+(?:\[\])? \|', document, re.M)) == set(
        specs(param_docs.NODES[node]))


@pytest.mark.parametrize('node', list(param_docs.NODES))
@pytest.mark.parametrize('namespace', ['/', '/robot', '/a/b'])
def test_the_parameter_file_holds_every_default(node, namespace):
    cls = param_docs.NODES[node]
    path = ROOT / 'config' / f'{node}.yaml'
    assert path.read_text(encoding='utf-8') == param_docs.yaml_file(node, cls)
    values = load_yaml(path, node, namespace=namespace)
    assert set(values) == set(specs(cls)) and build(cls, values) == cls()


def test_the_page_names_every_topic_and_service_of_the_node():
    document = (ROOT / 'docs' / 'nodes' / 'imu_preintegration.md').read_text(encoding='utf-8')
    sources = ''.join((ROOT / 'pypose_ros' / 'nodes' / f'imu_preintegration{part}.py').read_text()
                      for part in ('', '_outputs'))
    made = re.findall(r"(?:publisher|subscription|service)\(\s*\w+, '([^']+)'", sources)
    assert len(made) >= 12
    assert [name for name in made if f'`{name}`' not in document] == []


def test_the_foxglove_layout_shows_each_of_its_panels_and_only_topics_and_fields_that_there_are():
    from pypose_ros.msg import LoopClosureEvent, SolveStats
    layout = json.loads((ROOT / 'foxglove' / 'pypose.json').read_text())
    panels = set(re.findall(r'"([A-Za-z0-9]+![a-z0-9]+)"', json.dumps(layout['layout'])))
    assert panels == set(layout['configById'])
    documented = re.findall(r'^\| `([^`]+)`', (ROOT / 'docs' / 'nodes' / 'pose_graph.md').read_text(), re.M)
    topics = {'/' + name.lstrip('/').replace('~', 'pose_graph') for name in documented}
    kinds = {'/pose_graph/loop_closure_event': LoopClosureEvent, '/pose_graph/solve_stats': SolveStats}
    seen = list(layout['configById']['3D!map']['topics'])
    for panel in layout['configById'].values():
        seen += [panel[key] for key in ('topicPath', 'topicToRender') if key in panel]
        for path in panel.get('paths', ()):
            topic, field = re.fullmatch(r'([^.{]+)(?:\{.*\})?\.(\w+)', path['value']).groups()
            assert field in kinds[topic].get_fields_and_field_types()
            seen.append(topic)
    assert len(seen) > 8 and set(seen) <= topics
