"""The distance field: brute-force distances at the centres, interpolation, gradients."""
import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from pypose_core.geometry import DistanceField


def occupancy(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.1


@pytest.mark.parametrize('shape', [(9, 14), (5, 6, 7)])
def test_at_the_centres_it_is_the_distance_to_the_nearest_cell_of_the_other_kind(shape):
    occupied, resolution, origin = occupancy(*shape), 0.25, torch.arange(1., len(shape) + 1).double()
    field = DistanceField.from_occupancy(occupied, resolution=resolution, origin=origin)
    cells = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing='ij'), -1).view(-1, len(shape)).double()
    centres = origin + (cells.flip(-1) + 0.5) * resolution
    full = occupied.view(-1)
    distance = resolution * torch.cdist(cells, cells)
    distance[full[:, None] == full[None]] = torch.inf
    expected = (distance.amin(-1) - resolution / 2) * torch.where(full, -1, 1)
    torch.testing.assert_close(field(centres), expected)


@pytest.mark.parametrize('shape', [(6, 9), (4, 5, 6)])
def test_between_the_centres_it_is_multilinear(shape):
    torch.manual_seed(0)
    values, d = torch.randn(*shape).double(), len(shape)
    field = DistanceField(values, resolution=0.5, origin=torch.full((d,), -1.0))
    axes = [-1 + 0.5 * (np.arange(n) + 0.5) for n in shape]
    points = torch.stack([torch.empty(4, 25).double().uniform_(a[0], a[-1]) for a in axes[::-1]], -1)
    expected = RegularGridInterpolator(axes, values.numpy())(points.flip(-1).numpy())
    np.testing.assert_allclose(field(points).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize('d', [2, 3])
def test_gradients_are_those_of_the_interpolation(d):
    torch.manual_seed(1)
    values = torch.randn(*(5, 6, 7)[:d]).double().requires_grad_()
    points = torch.empty(20, d).double().uniform_(-1, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p: DistanceField(v, resolution=0.9)(p), (values, points))
    field = DistanceField(values.detach(), resolution=0.9)
    distance, gradient = field.with_gradient(points.detach())
    torch.testing.assert_close(distance, field(points.detach()))
    torch.testing.assert_close(gradient, torch.autograd.grad(field(points).sum(), points)[0])
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(torch.func.vmap(jacobian(field))(points.detach()), gradient)


def test_beyond_the_grid_it_keeps_the_value_of_the_border():
    field = DistanceField(torch.arange(12.0).view(3, 4), resolution=1.0)
    points = torch.tensor([[-5.0, 0.5], [9.0, 9.0], [3.5, 1.0]])
    distance, gradient = field.with_gradient(points)
    torch.testing.assert_close(distance, torch.tensor([0.0, 11.0, 5.0]))
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 4.0], [0.0, 0.0], [1.0, 4.0]]))


def test_grids_without_a_surface_are_as_far_as_their_diagonal_or_the_limit():
    free = torch.zeros(3, 4, dtype=torch.bool)
    assert bool((DistanceField.from_occupancy(free, resolution=0.1).values == 0.5).all())
    assert bool((DistanceField.from_occupancy(~free, resolution=0.1, limit=0.2).values == -0.2).all())


def test_mistakes_are_named():
    with pytest.raises(ValueError, match='two cells'):
        DistanceField(torch.zeros(1, 4), resolution=1.0)
    with pytest.raises(ValueError, match='positive'):
        DistanceField(torch.zeros(2, 4), resolution=0.0)
    with pytest.raises(ValueError, match=r'\(2,\)'):
        DistanceField(torch.zeros(2, 4), resolution=1.0, origin=torch.zeros(3))
    with pytest.raises(ValueError, match=r'\(\.\.\., 2\)'):
        DistanceField(torch.zeros(2, 4), resolution=1.0)(torch.zeros(5, 3))
