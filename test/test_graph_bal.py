"""Bundle adjustment: BAL files, the native linearization against the torch one, and problem 49 to Ceres' cost."""
import pytest
import torch

from pypose_core.graph import (
    SE3,
    BalReprojection,
    Euclidean,
    FactorGraph,
    GraphFileError,
    LevenbergMarquardt,
    RobustKernel,
    read_bal,
    write_bal,
)
from pypose_core.graph.factors.base import Factors

f64 = torch.float64
#: Sum of squares at which Ceres ends on problem 49, and at its start.
CERES, START = 26688.6, 1701825
#: The same with Huber's loss of width 1, by pyceres with the cost of pycolmap, which leaves out points behind a camera.
CERES_HUBER = 15226.8


def scene(seed=0, *, noise=0.0, **kwargs):
    """Six cameras on a line that look along -z at points, every one of which they see."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=f64)

    pose = SE3.retract(torch.tensor(SE3.identity, dtype=f64).expand(6, -1), 0.1 * randn(6, 6))
    pose[:, 0] += torch.arange(6)
    lens = torch.tensor([800., -0.1, 0.02], dtype=f64) * (1 + 0.01 * randn(6, 3))
    point = torch.cat([3 * randn(50, 2), -8 - randn(50, 1).abs()], 1)
    index = torch.cartesian_prod(torch.arange(6), torch.arange(50))[:, [0, 0, 1]]
    graph = FactorGraph()
    for name, group, values in (('pose', SE3, pose), ('camera', Euclidean(3), lens), ('point', Euclidean(3), point)):
        graph.add_variables(name, group, values)
    factors = BalReprojection(('pose', 'camera', 'point'), index, torch.zeros(300, 2), **kwargs)
    graph.add(factors)
    factors.data['measured'] = factors.residual(factors.at(graph.values), factors.data) + noise * randn(300, 2)
    return graph


@pytest.mark.parametrize('settings', [
    {}, {'kernel': RobustKernel.HUBER, 'width': 2.0},
    {'information': torch.tensor([[2., .5], [.5, 1.]]), 'weight': torch.ones(300) / 3},
], ids=['plain', 'huber', 'information and weight'])
def test_native_linearization_equals_the_one_in_torch(settings):
    graph = scene(noise=3.0, **settings)
    graph.fix('pose', [0]), graph.fix('camera', [2, 3]), graph.fix('point', [7])
    problem, factors = graph.problem(), graph.factors[0]
    cost, chi2, H, g = problem.linearize(graph.values)
    H_, g_ = problem.pattern.zeros(), torch.zeros_like(g)
    cost_, chi2_ = Factors.linearize(factors, graph.values, problem.places[0], H_.values, g_)
    assert cost == pytest.approx(cost_, rel=1e-12) and chi2 == pytest.approx(chi2_, rel=1e-12)
    scale = float(H_.values.abs().max())
    torch.testing.assert_close(H.to_dense() / scale, H_.to_dense() / scale, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(g, g_, rtol=1e-9, atol=1e-9 * float(g_.abs().max()))
    assert problem.cost(graph.values)[0] == pytest.approx(cost_, rel=1e-12)


def test_scene_is_recovered_from_a_wrong_start():
    graph = scene()
    truth = dict(graph.values)
    graph.fix('pose', [0, 1])
    generator = torch.Generator().manual_seed(1)
    graph.set_values('point', truth['point'] + 0.2 * torch.randn(50, 3, generator=generator, dtype=f64))
    moved = SE3.retract(truth['pose'], 0.01 * torch.randn(6, 6, generator=generator, dtype=f64))
    graph.set_values('pose', torch.cat([truth['pose'][:2], moved[2:]]))
    result = graph.optimize(LevenbergMarquardt(initial_damping=1e-4))
    assert result.status.ok and graph.problem().eliminated == 'point'
    torch.testing.assert_close(result.value['point'], truth['point'], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('kernel, goal', [(RobustKernel.NONE, CERES * (1 + 1e-4)),
                                          (RobustKernel.HUBER, CERES_HUBER * 1.01)])
def test_problem_49_reaches_the_cost_of_ceres(data, kernel, goal):
    graph = read_bal(data / 'bal' / 'problem-49-7776-pre.txt', kernel=kernel)
    assert [len(graph.values[name]) for name in ('pose', 'camera', 'point')] == [49, 49, 7776]
    assert graph.chi2() == pytest.approx(START, rel=1e-6)
    result = graph.optimize(LevenbergMarquardt(initial_damping=1e-4, tolerance=1e-6))
    assert result.status.ok
    assert result.stats.cost[-1] <= goal and result.stats.iterations <= 100


def test_writing_and_reading_gives_the_problem_back(tmp_path):
    graph = scene(noise=1.0)
    write_bal(tmp_path / 'scene.txt', graph)
    again = read_bal(tmp_path / 'scene.txt')
    assert again.cost() == pytest.approx(graph.cost(), rel=1e-9)
    assert torch.equal(again.values['point'], graph.values['point'])
    assert torch.equal(again.values['camera'], graph.values['camera'])
    assert torch.equal(again.factors[0].measured, graph.factors[0].measured)
    torch.testing.assert_close(again.values['pose'] * again.values['pose'][:, 6:].sign(),
                               graph.values['pose'] * graph.values['pose'][:, 6:].sign(), rtol=1e-12, atol=1e-12)
    assert again.held['pose'].nonzero().tolist() == [[0]]


def test_poses_that_share_a_camera_have_no_place_in_the_format(tmp_path):
    graph = scene()
    graph.factors[0].index[:, 1] = 0
    with pytest.raises(ValueError, match='one camera for each pose'):
        write_bal(tmp_path / 'scene.txt', graph)


HEAD, SEEN, NUMBERS = '1 1 1', '0 0 3.5 4', '\n'.join(['0'] * 8 + ['1'] * 4)


@pytest.mark.parametrize('text, fault', [
    ('', ':1: wanted the numbers of cameras'),
    ('1 1 x', ":1: 'x' is not a number"),
    (f'{HEAD}\n0 0 3.5 nan\n{NUMBERS}', ':2: the number is not finite'),
    (f'{HEAD}\n\n0 1 3.5 4\n{NUMBERS}', ':3: the observation names'),
    (f'{HEAD}\n{SEEN}\n{NUMBERS}\n8', ':15: 1 cameras, 1 points and 1 observations take 19 numbers; there are 20'),
    (f'{HEAD}\n{SEEN}\n0', ':3: 1 cameras, 1 points and 1 observations take 19 numbers; there are 8'),
])
def test_line_at_fault_is_refused(tmp_path, text, fault):
    path = tmp_path / 'bad.txt'
    path.write_text(text)
    with pytest.raises(GraphFileError) as raised:
        read_bal(path)
    assert fault in str(raised.value) and str(path) in str(raised.value)
