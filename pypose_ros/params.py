"""Parameters declared once: type, default, description, range and when they may change.

A node's parameters are a frozen dataclass whose fields are made with `parameter(...)`; a field that is
itself such a dataclass is a group, and its fields are named `group.field`. The same declaration serves
a running node (`NodeParameters`), a replay without ROS (`load_yaml` and `build`) and the documentation.
"""
import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

import yaml


class Change(Enum):
    """When a parameter may be set."""
    START = 'at start only'
    CONFIGURE = 'while unconfigured'
    ANY = 'at any time'


class ParameterError(ValueError):
    """Unknown or unfit parameters; one sentence each in `problems`."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__('; '.join(self.problems))


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is declared of one parameter."""
    name: str
    type: type                          # bool, int, float, str, or tuple[float, ...] and its like
    default: typing.Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()       # permitted lengths of an array
    change: Change = Change.CONFIGURE

    @property
    def type_name(self) -> str:
        """As ROS calls it: bool, int, double, string, double[]."""
        names = {bool: 'bool', int: 'int', float: 'double', str: 'string'}
        item = typing.get_args(self.type)
        return names[item[0]] + '[]' if item else names[self.type]

    @property
    def constraint(self) -> str:
        """Readable range: `> 0` is written as a minimum; '' where anything goes."""
        if self.choices:
            return ' | '.join(self.choices)
        if self.lengths:
            return ' or '.join(map(str, self.lengths)) + ' numbers'
        if self.minimum is None and self.maximum is None:
            return ''
        low = '' if self.minimum is None else f'{self.minimum:g}'
        high = '' if self.maximum is None else f'{self.maximum:g}'
        return f'{low} … {high}' if low and high else f'≥ {low}' if low else f'≤ {high}'

    def convert(self, value: typing.Any) -> typing.Any:
        """`value` as this parameter's Python type; ValueError says what is wrong with it.

        An integer stands for a double (a YAML file's `gravity: 10`); nothing else is converted.
        """
        item = typing.get_args(self.type)
        if item:
            if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
                raise ValueError(f'{self.name}: wants {self.type_name}, not {value!r}')
            result = tuple(self._scalar(item[0], v) for v in value)
            if self.lengths and len(result) not in self.lengths:
                raise ValueError(f'{self.name}: wants {self.constraint}, not {len(result)}')
        else:
            result = self._scalar(self.type, value)
        for number in result if item else (result,):
            if isinstance(number, (int, float)) and not isinstance(number, bool) and not (
                    math.isfinite(number)
                    and (self.minimum is None or number >= self.minimum)
                    and (self.maximum is None or number <= self.maximum)):
                raise ValueError(f'{self.name}: {number:g} is out of range ({self.constraint or "finite"})')
        if self.choices and result not in self.choices:
            raise ValueError(f'{self.name}: {result!r} is none of {self.constraint}')
        return result

    def _scalar(self, wanted: object, value: typing.Any) -> typing.Any:
        if wanted is float and type(value) is int:
            return float(value)
        if type(value) is not wanted:
            raise ValueError(f'{self.name}: wants {self.type_name}, not {value!r}')
        return value


def parameter(default, description: str, *, minimum=None, maximum=None, choices=(), lengths=(),
              change: Change = Change.CONFIGURE):
    """A dataclass field that is a parameter; the arguments are those of `Spec`."""
    return dataclasses.field(default=default, metadata={'parameter': {
        'description': description, 'minimum': minimum, 'maximum': maximum,
        'choices': tuple(choices), 'lengths': tuple(lengths), 'change': change}})


def specs(cls: typing.Any) -> dict[str, Spec]:
    """The parameters of a dataclass and its groups by their full names, in order of declaration."""
    hints = typing.get_type_hints(cls)
    result = {}
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            for name, spec in specs(kind).items():
                full = f'{field.name}.{name}'
                result[full] = dataclasses.replace(spec, name=full)
        else:
            result[field.name] = Spec(name=field.name, type=kind, default=field.default,
                                      **field.metadata['parameter'])
    return result


def build(cls: type, values: Mapping[str, typing.Any]):
    """The dataclass with `values` by full name, defaults for the rest; ParameterError names all problems."""
    declared = specs(cls)
    problems, converted = [], {}
    for name, value in values.items():
        if name not in declared:
            problems.append(unknown(name, declared))
            continue
        try:
            converted[name] = declared[name].convert(value)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ParameterError(problems)
    return _assemble(cls, converted, '')


def unknown(name: str, declared: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(declared), n=1)
    return f'{name}: no such parameter' + (f' (did you mean {close[0]}?)' if close else '')


def _assemble(cls: type, values: Mapping[str, typing.Any], prefix: str):
    hints = typing.get_type_hints(cls)
    arguments = {}
    for field in dataclasses.fields(cls):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            arguments[field.name] = _assemble(hints[field.name], values, name + '.')
        elif name in values:
            arguments[field.name] = values[name]
    return cls(**arguments)


def flatten(config, prefix: str = '') -> dict[str, typing.Any]:
    """The values of a parameter dataclass (or of nested mappings) by full name."""
    items = config.items() if isinstance(config, Mapping) else (
        (field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    result = {}
    for name, value in items:
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            result.update(flatten(value, f'{prefix}{name}.'))
        else:
            result[f'{prefix}{name}'] = value
    return result


def dump_yaml(node: str, config, extra: Mapping[str, typing.Any] | None = None) -> str:
    """The values of a parameter dataclass, and `extra` ones by full name, as a ROS parameter file of `node`."""
    nested: dict[str, typing.Any] = {}
    for name, value in (flatten(config) | dict(extra or {})).items():
        *groups, leaf = name.split('.')
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump({node: {'ros__parameters': nested}}, sort_keys=False, default_flow_style=None)


class Loader(yaml.SafeLoader):
    """Reads `1e-3` as a number, as ROS's own parser does and YAML 1.1 does not."""


Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$'),
    list('-+.0123456789'))


def load_yaml(path: str | Path, node: str, *, namespace: str = '/') -> dict[str, typing.Any]:
    """The parameters that a ROS parameter file gives to `node` in `namespace`, by full name.

    Understands `node: ros__parameters:`, `/namespace/node:`, nested namespaces and the wildcards `/**`
    and `/*`; what is more to the end of the file wins, as in ROS. ParameterError where it is no such file.
    """
    try:
        document = yaml.load(Path(path).read_text(encoding='utf-8'), Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError([f'{path}: {getattr(error, "strerror", None) or error}']) from None
    except yaml.YAMLError as error:
        raise ParameterError([f'{path}: not YAML: {" ".join(str(error).split())}']) from None
    if not isinstance(document, Mapping):
        raise ParameterError([f'{path}: no parameter file (want `{node}:` with `ros__parameters:` below)'])
    wanted = '/' + '/'.join(part for part in (*namespace.split('/'), node) if part)
    result: dict[str, typing.Any] = {}
    blocks = list(_blocks(document, ''))
    if not blocks:
        raise ParameterError([f'{path}: no `ros__parameters:` in it'])
    for pattern, values in blocks:
        if _matches(pattern, wanted):
            result.update(flatten(values))
    return result


def _blocks(document: Mapping, prefix: str):
    for key, value in document.items():
        if not isinstance(value, Mapping):
            continue
        name = f'{prefix}/{str(key).strip("/")}'
        if isinstance(value.get('ros__parameters'), Mapping):
            yield name, value['ros__parameters']
        else:
            yield from _blocks(value, name)


def _matches(pattern: str, name: str) -> bool:
    expression = re.escape(pattern).replace(r'/\*\*', '(/[^/]+)*').replace(r'\*', '[^/]+')
    return re.fullmatch(expression, name) is not None


class NodeParameters:
    """The parameters of a running node, declared from a dataclass.

    Declaring never fails: an override that is unknown or unfit is kept in mind and reported by `read`,
    so that a lifecycle node refuses to configure with a sentence that names it, and can be
    corrected while it runs.

    Args:
        node: the rclpy node.
        cls: the parameter dataclass.
        on_change: called with the new dataclass after parameters changed at run time; what it raises
            as ValueError in `check` refuses the change.
        check: called with a candidate; raises ValueError to refuse it.
    """

    def __init__(self, node, cls: type, *, on_change: Callable = lambda value: None,
                 check: Callable = lambda value: None):
        from rcl_interfaces.msg import SetParametersResult  # keeps this module usable without ROS
        self._node, self._cls, self._result = node, cls, SetParametersResult
        self._on_change, self._check = on_change, check
        self._problems: dict[str, str] = {}
        self._live = None       # the dataclass in use; None while unconfigured
        self.specs = specs(cls)
        overrides = node._parameter_overrides       # rclpy has no public name for what was given at start
        for name, spec in self.specs.items():
            if node.has_parameter(name):
                continue        # use_sim_time belongs to rclpy
            value = spec.default
            if name in overrides:
                given = overrides[name].value
                try:
                    # ROS's parser hands on an empty list as nothing.
                    value = spec.convert([] if given is None and typing.get_args(spec.type) else given)
                except ValueError as error:
                    self._problems[name] = str(error)
            node.declare_parameter(name, _ros(value), _descriptor(spec), ignore_override=True)
        self._given = tuple(overrides)
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(self._apply)

    def read(self):
        """The dataclass of the present values; ParameterError names everything unknown or unfit."""
        problems = list(self._problems.values())
        problems += [unknown(name, self.specs) for name in self._given
                     if not name.startswith('qos_overrides.') and not self._node.has_parameter(name)]
        try:
            value = build(self._cls, {name: self._node.get_parameter(name).value for name in self.specs})
            self._check(value)
        except ParameterError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(str(error))
        if problems:
            raise ParameterError(problems)
        self._live = value
        return value

    def release(self) -> None:
        """After clean-up: everything but start-only parameters may change again."""
        self._live = None

    def _candidate(self, parameters):
        changed = {p.name: p.value for p in parameters if p.name in self.specs}
        if self._live is None:
            for name, value in changed.items():
                self.specs[name].convert(value)
            return None
        for name in changed:
            if self.specs[name].change is not Change.ANY:
                raise ValueError(f'{name}: may be set {self.specs[name].change.value}; '
                                 'deactivate and clean up first')
        candidate = build(self._cls, {**flatten(self._live), **changed})
        self._check(candidate)
        return candidate

    def _validate(self, parameters):
        try:
            self._candidate(parameters)
        except ValueError as error:
            return self._result(successful=False, reason=str(error))
        return self._result(successful=True)

    def _apply(self, parameters) -> None:
        for p in parameters:
            self._problems.pop(p.name, None)
        if self._live is None or not any(p.name in self.specs for p in parameters):
            return
        self._live = self._candidate(parameters)
        self._on_change(self._live)


def _ros(value):
    return list(value) if isinstance(value, tuple) else value


def _descriptor(spec: Spec):
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    descriptor = ParameterDescriptor(
        description=spec.description, read_only=spec.change is Change.START,
        additional_constraints='; '.join(filter(None, (spec.constraint, f'set {spec.change.value}'))),
        # rclpy takes an empty array for one of bytes, so arrays are checked by `convert` alone.
        dynamic_typing=bool(typing.get_args(spec.type)))
    if spec.minimum is not None or spec.maximum is not None:
        if spec.type is float:
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=float(-math.inf if spec.minimum is None else spec.minimum),
                to_value=float(math.inf if spec.maximum is None else spec.maximum))]
        elif spec.type is int:
            descriptor.integer_range = [IntegerRange(
                from_value=-2**63 if spec.minimum is None else int(spec.minimum),
                to_value=2**63 - 1 if spec.maximum is None else int(spec.maximum))]
    return descriptor
