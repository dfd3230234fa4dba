"""Parameters: one declaration, for a node and for a file; errors name the parameter and its fault."""
from dataclasses import dataclass, field

import pytest
import rclpy
from rcl_interfaces.srv import DescribeParameters
from rclpy.parameter import Parameter

from pypose_ros import params
from pypose_ros.params import Change, ParameterError, parameter


@dataclass(frozen=True)
class Init:
    mode: str = parameter('static', 'how to begin', choices=('static', 'zero'))
    window: float = parameter(1.0, 's', minimum=0.1, maximum=60.0)


@dataclass(frozen=True)
class Config:
    autostart: bool = parameter(True, 'without a manager', change=Change.START)
    gravity: float = parameter(9.80665, 'm/s^2', minimum=0.0, maximum=20.0, change=Change.ANY)
    window_size: int = parameter(10, 'keyframes', minimum=2, maximum=100)
    label: str = parameter('', 'a name')
    extrinsic: tuple[float, ...] = parameter((), 'x y z qx qy qz qw', lengths=(0, 7))
    init: Init = field(default_factory=Init)


def test_defaults_make_the_dataclass_and_groups_have_dotted_names():
    assert params.build(Config, {}) == Config()
    assert list(params.specs(Config)) == ['autostart', 'gravity', 'window_size', 'label', 'extrinsic',
                                          'init.mode', 'init.window']
    assert params.flatten(Config())['init.window'] == 1.0
    assert params.build(Config, params.flatten(Config())) == Config()


def test_an_integer_stands_for_a_double_and_a_list_becomes_a_tuple():
    config = params.build(Config, {'gravity': 10, 'extrinsic': [0, 0, 0, 0, 0, 0, 1], 'init.mode': 'zero'})
    assert config.gravity == 10.0 and type(config.gravity) is float
    assert config.extrinsic == (0.0,) * 6 + (1.0,) and config.init.mode == 'zero'


@pytest.mark.parametrize('name, value, words', [
    ('gravity', '9.81', 'double'), ('gravity', 21.0, 'range'), ('gravity', float('nan'), 'range'),
    ('gravity', True, 'double'), ('window_size', 2.0, 'int'), ('window_size', 1, 'range'),
    ('autostart', 1, 'bool'), ('label', 3, 'string'), ('init.mode', 'pose', 'static | zero'),
    ('extrinsic', [1.0], '0 or 7'), ('extrinsic', ['a'] * 7, 'double'), ('extrinsic', 1.0, 'double'),
    ('extrinsic', 'abcdefg', 'double'), ('gravty', 9.8, 'did you mean gravity'),
    ('xyz', 1, 'no such parameter')])
def test_each_error_names_the_parameter_and_what_is_wrong(name, value, words):
    with pytest.raises(ParameterError) as error:
        params.build(Config, {name: value})
    assert name in str(error.value) and words in str(error.value)


def test_all_problems_are_reported_at_once():
    with pytest.raises(ParameterError) as error:
        params.build(Config, {'gravity': 'a', 'windw': 1, 'init.window': -1.0})
    assert len(error.value.problems) == 3


def write(tmp_path, text: str):
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    return path


def test_a_ros_parameter_file_reads_like_ros_reads_it(tmp_path):
    path = write(tmp_path, '''
/**:
  ros__parameters: {gravity: 9.7, label: everyone}
imu:
  ros__parameters:
    gravity: 1e-3
    init: {window: 2.0}
    init.mode: zero
other:
  ros__parameters: {gravity: 3.0}
robot:
  imu:
    ros__parameters: {label: namespaced}
/*/imu:
  ros__parameters: {window_size: 5}
''')
    assert params.load_yaml(path, 'imu') == {
        'gravity': 1e-3, 'label': 'everyone', 'init.window': 2.0, 'init.mode': 'zero'}
    assert params.load_yaml(path, 'imu', namespace='/robot') == {
        'gravity': 9.7, 'label': 'namespaced', 'window_size': 5}


@pytest.mark.parametrize('text, words', [
    ('a: [', 'not YAML'), ('just text', 'no parameter file'), ('imu: {gravity: 1.0}', 'ros__parameters'),
    ('', 'no parameter file')])
def test_a_file_that_is_none_is_refused_with_its_name(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ParameterError, match=words) as error:
        params.load_yaml(path, 'imu')
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(ParameterError, match='absent.yaml: No such file'):
        params.load_yaml(tmp_path / 'absent.yaml', 'imu')


@pytest.fixture
def make():
    """Node parameters made from overrides."""
    context = rclpy.Context()
    context.init()
    nodes = []

    def made(*overrides: Parameter, **kwargs):
        node = rclpy.create_node('params_under_test', context=context, parameter_overrides=list(overrides))
        nodes.append(node)
        return node, params.NodeParameters(node, Config, **kwargs)

    yield made
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def test_a_node_reads_its_overrides(make):
    _, parameters = make(Parameter('gravity', value=10), Parameter('init.mode', value='zero'),
                         Parameter('extrinsic', value=[0.0] * 6 + [1.0]))
    config = parameters.read()
    assert (config.gravity, config.init.mode, config.extrinsic[6]) == (10.0, 'zero', 1.0)


def test_bad_overrides_are_an_error_at_read_that_names_them_all(make):
    node, parameters = make(Parameter('gravity', value='heavy'), Parameter('windw_size', value=3),
                            Parameter('qos_overrides./imu.subscription.depth', value=3),
                            Parameter('init.window', value=1e9))
    with pytest.raises(ParameterError) as error:
        parameters.read()
    assert len(error.value.problems) == 3
    assert all(name in str(error.value) for name in ('gravity', 'windw_size', 'init.window'))
    # A value set since then settles what was wrong with that parameter.
    assert node.set_parameters([Parameter('gravity', value=9.8)])[0].successful
    with pytest.raises(ParameterError) as error:
        parameters.read()
    assert len(error.value.problems) == 2


def test_runtime_changes_are_atomic_and_checked(make):
    seen = []

    def check(config):
        if config.gravity == 13.0:
            raise ValueError('gravity: 13 brings bad luck')

    node, parameters = make(on_change=seen.append, check=check)
    parameters.read()
    assert node.set_parameters([Parameter('gravity', value=9.7)])[0].successful
    assert [c.gravity for c in seen] == [9.7]
    for values, words in (({'gravity': 9.6, 'window_size': 7}, 'window_size: may be set while unconfigured'),
                          ({'gravity': 99.0}, 'gravity'), ({'gravity': 13.0}, 'bad luck')):
        result = node.set_parameters_atomically([Parameter(k, value=v) for k, v in values.items()])
        assert not result.successful and words in result.reason
    assert node.get_parameter('gravity').value == 9.7 and len(seen) == 1
    assert not node.set_parameters([Parameter('autostart', value=False)])[0].successful     # read-only
    parameters.release()
    assert node.set_parameters([Parameter('window_size', value=7)])[0].successful
    assert not node.set_parameters([Parameter('extrinsic', value=[1.0])])[0].successful
    assert parameters.read().window_size == 7


def test_descriptors_tell_users_what_was_declared(make):
    node, _ = make()
    descriptor = node.describe_parameter('init.window')
    assert descriptor.description == 's' and not descriptor.read_only
    span = descriptor.floating_point_range[0]
    assert (span.from_value, span.to_value) == (0.1, 60.0)
    assert node.describe_parameter('autostart').read_only
    assert 'static | zero' in node.describe_parameter('init.mode').additional_constraints
    DescribeParameters.Response(descriptors=[descriptor])   # can be sent
