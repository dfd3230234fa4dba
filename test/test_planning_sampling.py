"""Ways by OMPL's sampling: free by the grid's own cells, the same again by the seed, and silent about it."""
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from pypose_core.geometry import DistanceField
from pypose_core.planning import PlanConfig, Planner, grid_path, sampled_path

pytest.importorskip('ompl', reason='OMPL is not installed; it is optional: pip install ompl')
HERE, THERE = torch.tensor([1.0, 1.0], dtype=torch.float64), torch.tensor([7.0, 5.0], dtype=torch.float64)


def rooms(closed: bool = False) -> DistanceField:
    """8 m x 6 m with two walls that leave a way in the shape of an S, or none; cells of 0.1 m."""
    occupied = torch.zeros(60, 80, dtype=torch.bool)
    occupied[:45, 25:28] = occupied[15:, 50:53] = True
    occupied[[0, -1]] = occupied[:, [0, -1]] = True
    occupied[:, 40] |= closed
    return DistanceField.from_occupancy(occupied, resolution=0.1)


def length(way: torch.Tensor) -> float:
    return float(way.diff(dim=0).norm(dim=-1).sum())


@pytest.mark.parametrize('seed', range(1, 4))
def test_a_way_keeps_the_radius_between_its_corners_too(seed):
    field, radius = rooms(), 0.25
    way = sampled_path(field, HERE, THERE, radius, seconds=30.0, seed=seed)
    torch.testing.assert_close(way[[0, -1]], torch.stack([HERE, THERE]))
    fine = torch.cat([torch.lerp(a, b, torch.linspace(0, 1, 400, dtype=a.dtype)[:, None])
                      for a, b in zip(way, way[1:])])
    assert float(field(fine).min()) > radius - field.resolution / 2      # it looks at places a cell apart
    # No way is shorter than about the corners that the walls leave, and shortcuts have been taken.
    assert 12.5 < length(way) < 1.15 * length(grid_path(field, HERE, THERE, radius))


def test_a_seed_gives_its_way_again_in_this_process_and_in_another():
    field = rooms()
    ways = [sampled_path(field, HERE, THERE, 0.25, seconds=30.0, seed=seed) for seed in (4, 9, 4)]
    assert torch.equal(ways[0], ways[2]) and not torch.equal(ways[0][:2], ways[1][:2])
    program = ('from test_planning_sampling import *; '
               'print(sampled_path(rooms(), HERE, THERE, 0.25, seconds=30.0, seed=4).numpy().tobytes().hex())')
    done = subprocess.run([sys.executable, '-c', program], cwd=Path(__file__).parent, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == ways[0].numpy().tobytes().hex()


def test_searches_in_threads_do_not_take_each_others_random_numbers():
    field, found = rooms(), {}

    def search(k: int) -> None:
        found[k] = sampled_path(field, HERE, THERE, 0.25, seconds=30.0, seed=1 + k % 2)
    threads = [threading.Thread(target=search, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])


def test_where_no_way_is_none_is_returned_and_nothing_printed(capfd):
    assert sampled_path(rooms(closed=True), HERE, THERE, 0.25, seconds=0.2) is None
    assert sampled_path(rooms(), torch.tensor([0.1, 1.0]), THERE, 0.25, seconds=0.2) is None      # start in the wall
    assert sampled_path(rooms(), torch.tensor([-9.0, 1.0]), THERE, 0.25, seconds=0.2) is None     # and outside
    assert sampled_path(rooms(), HERE, THERE, 0.25, seconds=30.0) is not None
    assert capfd.readouterr() == ('', '')
    plan = Planner(rooms(closed=True), PlanConfig(start='ompl'))(HERE, THERE)
    assert not plan.success and 'no way' in plan.status


def test_what_the_log_of_ompl_told_before_it_tells_afterwards():
    from ompl import util
    before = util.getLogLevel()
    sampled_path(rooms(), HERE, THERE, 0.25)
    assert util.getLogLevel() == before


def test_an_error_in_the_field_reaches_the_caller():
    class Broken(DistanceField):
        def __call__(self, points):
            raise RuntimeError('no distances today')
    with pytest.raises(RuntimeError, match='no distances'):
        sampled_path(Broken(rooms().values, resolution=0.1), HERE, THERE, 0.25)
    with pytest.raises(ValueError, match='seed'):
        sampled_path(rooms(), HERE, THERE, 0.25, seed=0)


def test_in_space_it_goes_through_the_window():
    occupied = torch.zeros(16, 20, 20, dtype=torch.bool)
    occupied[:, :, 10] = True
    occupied[9:14, 3:8, 10] = False
    field = DistanceField.from_occupancy(occupied, resolution=0.2)
    start, goal = torch.tensor([1.0, 3.0, 0.6], dtype=torch.float64), torch.tensor([3.0, 3.0, 0.6], dtype=torch.float64)
    plan = Planner(field, PlanConfig(start='ompl', radius=0.15, clearance=0.1))(start, goal)
    assert plan.success, plan.status
    at = plan.positions[(plan.positions[:, 0] - 2.1).abs().argmin()]
    assert 0.6 < at[1] < 1.6 and 1.8 < at[2] < 2.8
