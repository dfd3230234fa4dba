"""A way between walls: shortest over free cells, then smooth, then with a clearance that is learned.

    end - state --smoothness-- state --smoothness-- state ... state - end
               \\__ obstacle _/     \\__ obstacle _/
"""
import torch

from pypose_core.geometry import DistanceField
from pypose_core.graph import SolverLayer
from pypose_core.planning import PlanConfig, Planner, grid_path

occupied = torch.zeros(60, 80, dtype=torch.bool)
occupied[:45, 25:28] = occupied[15:, 50:53] = True                         # two walls in 8 m x 6 m
occupied[[0, -1]] = occupied[:, [0, -1]] = True
field = DistanceField.from_occupancy(occupied, resolution=0.1)
start, goal = torch.tensor([1.0, 1.0]).double(), torch.tensor([7.0, 5.0]).double()

planner = Planner(field, PlanConfig(radius=0.25, speed=0.5))
plan = planner(start, goal)
print(f'plan: {plan.status}; {len(plan.poses(0.05))} poses for the controller')

# The plan as a layer: with which clearance asked does it leave 10 cm beside the robot?
built = planner.build(grid_path(field, start, goal, 0.25))
layer = SolverLayer(built.graph, [(built.obstacles, 'clearance')])
clearance = torch.tensor(0.45, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.SGD([clearance], lr=0.3)
for _ in range(8):
    states = layer(clearance.expand(len(built.obstacles), 1))['state']
    room = field(states[:, :2]).amin() - 0.25
    optimizer.zero_grad()
    (room - 0.1).square().backward()
    optimizer.step()
    print(f'{room * 100:.1f} cm of room; clearance {clearance:.3f} m')
print(f'off by {(room - 0.1).abs() * 100:.2f} cm')
