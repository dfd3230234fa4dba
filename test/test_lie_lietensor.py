"""A LieTensor is a tensor that knows its type: through indexing, reshaping, copies, files and processes."""
import copy
import io
import pickle
import time

import pytest
import torch
from test_lie_groups import random

import pypose_core as pp


def test_types_and_shapes():
    X = pp.randn_SE3(2, 3)
    assert X.ltype is pp.SE3_type and X.ltype.dimension == (7,) and X.ltype.manifold == (6,)
    assert not X.ltype.on_manifold and X.Log().ltype.on_manifold
    assert X.shape == (2, 3, 7) and X.lshape == (2, 3)
    assert X.lview(6).lshape == (6,) and X.lview(3, -1).lshape == (3, 2)
    assert isinstance(X, pp.LieTensor) and isinstance(X, pp.SE3) and isinstance(X, torch.Tensor)
    assert type(X.tensor()) is torch.Tensor and X.tensor().data_ptr() == X.data_ptr()
    assert repr(X).startswith('SE3Type LieTensor:\ntensor(')
    assert repr(pp.Parameter(X)).startswith('SE3Type Parameter:\n')
    assert repr(pp.Parameter(X)).endswith('requires_grad=True)') and 'grad_fn' in repr(pp.Parameter(X).Inv())


def test_constructors():
    data = torch.tensor([0.0, 0.0, 0.0, 1.0])
    for X in (pp.SO3(data), pp.SO3([0, 0, 0, 1]), pp.LieTensor(data, ltype=pp.SO3_type)):
        assert type(X) is pp.SO3 and X.tensor().tolist() == [0, 0, 0, 1]
    assert pp.so3(2, 3).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert pp.SE3(2, 7).lshape == (2,)
    with pytest.raises(ValueError, match='last dimension'):
        pp.SE3(torch.zeros(6))
    with pytest.raises(TypeError, match='ltype'):
        pp.LieTensor(data)
    X = pp.randn_like(random('Sim3', 3))
    assert X.dtype == torch.float64 and X.lshape == (3,) and X.ltype is pp.Sim3_type
    assert pp.identity_like(X).tensor()[0].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert pp.randn_SE3(2, sigma=(0.0, 0.0)).tensor().tolist() == pp.identity_SE3(2).tensor().tolist()
    assert pp.randn_so3(2, requires_grad=True).requires_grad


def test_a_plain_leaf_stays_a_leaf_of_coordinates():
    q = torch.tensor([0.0, 0.0, 0.0, 1.0], requires_grad=True)
    X = pp.SO3(q)
    assert not X.is_leaf
    X.tensor()[0].backward()
    assert q.grad.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize('index', [0, -1, slice(1, 3), (0, 1), (slice(None), 0), (..., 0, slice(None)), None,
                                   torch.tensor([0, 2]), torch.tensor([True, False, True])], ids=str)
def test_indexing_whole_elements_keeps_the_type(index):
    X = pp.randn_SE3(3, 2)
    item = X[index]
    assert type(item) is pp.SE3 and torch.equal(item.tensor(), X.tensor()[index])


def test_indexing_into_elements_gives_plain_tensors():
    X = pp.randn_SE3(3)
    for item in (X[..., :3], X[:, 0], X[0][0], X[0][:3], X[..., 0]):
        assert type(item) is torch.Tensor
    assert type(pp.randn_so3(4)[0][1:]) is torch.Tensor


@pytest.mark.parametrize('function', [
    lambda X: torch.stack([X, X]), lambda X: torch.cat([X, X]), lambda X: X.view(-1, 7),
    lambda X: X.reshape(6, 7), lambda X: X.unsqueeze(0), lambda X: X.double(), lambda X: X.to(torch.float64),
    lambda X: X.cpu(), lambda X: X.detach(), lambda X: X.clone(), lambda X: X.expand(4, 3, 2, 7),
    lambda X: X.repeat(2, 1, 1), lambda X: X.transpose(0, 1), lambda X: X.permute(1, 0, 2),
    lambda X: X.narrow(0, 0, 2), lambda X: X.contiguous(), lambda X: X.index_select(0, torch.tensor([1])),
    lambda X: torch.squeeze(X[:, :1], 1), lambda X: X.tile(2, 1, 1)])
def test_moving_whole_elements_keeps_the_type(function):
    X = pp.randn_SE3(3, 2)
    moved = function(X)
    assert type(moved) is pp.SE3 and torch.equal(moved.tensor(), function(X.tensor()))


def test_several_results_keep_the_type():
    X = pp.randn_SO3(4)
    for parts in (X.split(2), X.chunk(2), X.unbind(), torch.tensor_split(X, 2)):
        assert all(type(p) is pp.SO3 for p in parts)


def test_arithmetic_of_coordinates_gives_plain_tensors():
    X = pp.randn_SE3(3)
    for result in (X.sum(), X - X, -X, X.tensor() * 2, X.norm(dim=-1), X == X, torch.zeros_like(X)):
        assert type(result) is torch.Tensor


def test_algebra_arithmetic():
    x, y = pp.randn_se3(3), pp.randn_se3(3)
    assert type(x + y) is pp.se3 and torch.equal((x + y).tensor(), x.tensor() + y.tensor())
    assert type(x * 2) is pp.se3 and torch.equal((x * 2).tensor(), x.tensor() * 2)
    assert torch.equal(x.Inv().tensor(), -x.tensor())
    x += y
    assert type(x) is pp.se3
    with pytest.raises(AttributeError):
        x.Log()
    with pytest.raises(AttributeError):
        pp.randn_SE3().Exp()


def test_mistakes_are_said_in_words():
    X = pp.randn_SE3(3)
    with pytest.raises(ValueError, match='points'):
        X.Act(torch.zeros(5))
    with pytest.raises(TypeError, match='SE3 cannot be multiplied by SO3'):
        X @ pp.randn_SO3(3)
    with pytest.raises(TypeError, match='first argument'):
        pp.Exp(torch.zeros(3))
    with pytest.warns(UserWarning, match='SO3 has no translation'):
        assert pp.randn_SO3(2).translation().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_an_index_into_elements_gives_no_lietensor_though_the_sizes_agree():
    """Of five elements of five numbers each, one number of each is no element."""
    X = pp.randn_RxSO3(5)
    for part in (X[..., 0], X[:, 0], X[..., [4, 3, 2, 1, 0]], X[:, ::1][..., None], X[1, 0:3]):
        assert type(part) is torch.Tensor
    for part in (X[0], X[..., :], X[1:, :], X[None], X[:, None], X[torch.arange(5) > 2], X[..., 0:5], X[[0, 1]]):
        assert type(part) is pp.RxSO3


@pytest.mark.parametrize('weighed', [True, False])
def test_backward_of_a_lietensor_is_that_of_its_coordinates(weighed):
    X, Y = pp.Parameter(pp.randn_SE3(3)), pp.Parameter(pp.randn_SE3(3))
    weight = torch.linspace(-1, 1, 18).view(3, 6)
    for backward in (lambda out: out.backward(weight, retain_graph=True),
                     lambda out: out.backward(weight, inputs=[X]),
                     lambda out: out.tensor().backward(weight)) if weighed else (lambda out: out[0, 2].backward(),):
        X.grad = None
        out = (X @ Y).Log()
        backward(out)
        expected, = torch.autograd.grad((X @ Y).Log().tensor(), X, weight if weighed else torch.zeros(
            3, 6).index_put((torch.tensor(0), torch.tensor(2)), torch.tensor(1.0)))
        assert torch.equal(X.grad, expected)
    with pytest.raises(RuntimeError, match='scalar outputs'):
        (X @ Y).Log().backward()
    with pytest.raises(RuntimeError, match='[Mm]ismatch in shape'):
        (X @ Y).Log().backward(torch.ones(2, 6))


def same(a, b):
    return type(a) is type(b) and torch.equal(a.tensor(), b.tensor()) and a.requires_grad == b.requires_grad


@pytest.mark.parametrize('make', [
    lambda: pp.randn_SE3(3), lambda: pp.randn_sim3(3, requires_grad=True),
    lambda: pp.Parameter(pp.randn_SE3(3)),
    lambda: pp.Parameter(pp.randn_so3(3), False)])
def test_copies_and_files(make):
    X = make()
    assert same(copy.deepcopy(X), X) and copy.deepcopy(X).data_ptr() != X.data_ptr()
    assert same(copy.copy(X), X)
    assert same(pickle.loads(pickle.dumps(X)), X)
    file = io.BytesIO()
    torch.save({'X': X}, file)
    for weights_only in (True, False):
        file.seek(0)
        assert same(torch.load(file, weights_only=weights_only)['X'], X)
    assert pickle.loads(pickle.dumps(X.ltype)) is X.ltype


class Poses(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.T = pp.Parameter(pp.randn_SE3(3))

    def forward(self, p):
        return self.T @ p


def test_modules():
    module, other = Poses(), Poses()
    assert [n for n, _ in module.named_parameters()] == ['T']
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.T.tensor(), module.T.tensor()) and isinstance(other.T, pp.SE3)
    twin = copy.deepcopy(module).double()
    assert twin.T.dtype == torch.float64 and isinstance(twin.T, pp.Parameter)
    twin(torch.ones(3, dtype=torch.float64)).sum().backward()
    assert twin.T.grad[..., 6].abs().max() == 0   # still left-tangent


def collect(index):
    return pp.SE3(torch.tensor([float(index), 0, 0, 0, 0, 0, 1]))


class Dataset(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return collect(index)


@pytest.mark.parametrize('workers', [0, 2])
def test_data_loader_workers_collate_lietensors(workers):
    batches = list(torch.utils.data.DataLoader(Dataset(), batch_size=3, num_workers=workers))
    assert [type(b) for b in batches] == [pp.SE3, pp.SE3]
    assert [b.translation()[:, 0].tolist() for b in batches] == [[0, 1, 2], [3, 4, 5]]


def _train(rank: int, size: int, folder: str) -> None:
    torch.distributed.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=size)
    torch.manual_seed(0)
    module = torch.nn.parallel.DistributedDataParallel(Poses())
    steps = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(3):
        steps.zero_grad()
        module(torch.full((3,), 1.0 + rank + step)).square().sum().backward()
        steps.step()
    torch.save(module.module.T.detach().clone(), f'{folder}/{rank}.pt')
    # A thread of gloo that still holds a tensor of Python's when the group is torn down waits for the interpreter,
    # which waits for the thread.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_distributed_data_parallel_averages_left_tangent_gradients(tmp_path):
    both = torch.multiprocessing.spawn(_train, (2, str(tmp_path)), nprocs=2, join=False)
    end = time.monotonic() + 200
    while not both.join(timeout=1):     # which returns at each process's end
        if time.monotonic() > end:
            for process in both.processes:
                process.kill()
            pytest.fail('the two processes do not end')
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))
    assert torch.equal(first.tensor(), second.tensor())
    torch.manual_seed(0)
    alone = Poses()
    steps = torch.optim.SGD(alone.parameters(), lr=0.1)
    for step in range(3):
        steps.zero_grad()
        sum(alone(torch.full((3,), 1.0 + rank + step)).square().sum() for rank in range(2)).div(2).backward()
        steps.step()
    assert torch.allclose(first.tensor(), alone.T.tensor(), atol=1e-5)


@pytest.mark.parametrize('length', [1, 2, 5, 8])
@pytest.mark.parametrize('left', [True, False])
def test_cumulative_products(length, left):
    X = random('SE3', 3, length)
    expected, running = [], None
    for i in range(length):
        item = X[:, i]
        running = item if running is None else (item @ running if left else running @ item)
        expected.append(running)
    expected = torch.stack(expected, 1)
    pp.testing.assert_close(pp.cumprod(X, 1, left=left), expected)
    pp.testing.assert_close(X.cummul(-2, left=left), expected)
    Y = X.clone()
    assert pp.cumprod_(Y, 1, left=left) is Y
    pp.testing.assert_close(Y, expected)
    t = torch.arange(1.0, 6)
    assert torch.equal(pp.cumops(t, 0, lambda a, b: a + b), t.cumsum(0))


def test_small_functions():
    assert pp.pm(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [-1, 1, 1]
    assert pp.hasnan([1.0, (torch.tensor([float('nan')]),)]) and not pp.hasnan([torch.zeros(2), 1.0])
    assert pp.is_lietensor(pp.randn_so3()) and not pp.is_lietensor(torch.zeros(3))
    assert pp.is_SE3(pp.randn_SE3()) and not pp.is_SE3(pp.randn_SO3())
    M, v = torch.arange(6.0).view(2, 3), torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(pp.bmv(M, v), M @ v) and torch.equal(pp.bvv(v, v), torch.outer(v, v))
    assert torch.equal(pp.bvmv(v[:2], M, v), (v[:2] @ M @ v)[None])
    half = pp.so3(torch.tensor([0.0, 0.0, 0.5])).Exp()
    assert pp.geodesic_loss(pp.identity_SO3(2), half).item() == pytest.approx(0.5)
