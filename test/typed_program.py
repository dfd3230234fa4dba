"""What users write, for the type checker (`make lint`); test_typing.py runs it too."""
import torch
from torch import Tensor
from typing_extensions import assert_type

import pypose_core as pp
from pypose_core.filter import ErrorStateEKF
from pypose_core.geometry import DistanceField, register
from pypose_core.graph import SE3, Between, FactorGraph, GraphResult, Prior
from pypose_core.inertial import ImuNoise, Preintegrated, preintegrate
from pypose_core.lie.group import LieGroup
from pypose_core.online import ImuSmoother, ImuSmootherConfig
from pypose_core.planning import Plan, PlanConfig, Planner
from pypose_ros.bag import BagReader
from pypose_ros.bag.reader import Topic


def poses() -> Tensor:
    a: pp.LieTensor = pp.randn_SE3(3)
    b = a.Inv() @ pp.randn_SE3(3)
    points: Tensor = b @ torch.randn(3, 3)
    twist: pp.LieTensor = b.Log()
    return twist.Exp().translation() + b.rotation().Act(points) + a.tensor()[..., :3]


def known(reader: BagReader) -> None:
    """These types are known to the checker; Any would not do."""
    x = pp.randn_SE3(3)
    assert_type(x.Inv() @ x, LieGroup)
    assert_type(x @ torch.zeros(3, 3), Tensor)
    assert_type(x.Log().Exp(), LieGroup)
    assert_type(x.tensor(), Tensor)
    assert_type(reader.topics, list[Topic])


class Inverse(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pose = pp.Parameter(pp.randn_SE3(2))

    def forward(self, x: pp.LieTensor) -> Tensor:
        return (self.pose @ x).Log().tensor()


def optimization() -> Tensor:
    model = Inverse()
    optimizer = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive())
    return optimizer.step(pp.randn_SE3(2))


def graph() -> float:
    built = FactorGraph()
    built.add_variables('pose', SE3, pp.identity_SE3(2).tensor())
    prior = built.add(Prior('pose', torch.tensor([0]), pp.identity_SE3().tensor()))
    assert_type(prior, Prior)
    built.add(Between('pose', torch.tensor([[0, 1]]), pp.randn_SE3(1).tensor(), information=torch.eye(6)))
    result = built.optimize()
    assert_type(result, GraphResult)
    return result.stats.chi2 + float(built.marginals().covariance('pose').sum())


def estimation() -> str:
    noise = ImuNoise(gyroscope_noise_density=1e-3, accelerometer_noise_density=1e-2, gyroscope_random_walk=1e-5,
                     accelerometer_random_walk=1e-4)
    deltas: Preintegrated = preintegrate(torch.full((10,), 0.01), torch.zeros(10, 3), torch.ones(10, 3), noise=noise)
    smoother = ImuSmoother(ImuSmootherConfig(noise=noise))
    ekf = ErrorStateEKF(pp.identity_SE3(), torch.eye(6))
    ekf.predict(lambda X: X @ pp.identity_SE3(), torch.eye(6))
    return f'{deltas.delta_position} {smoother.status} {ekf.P.shape}'


def planning() -> Plan:
    field = DistanceField.from_occupancy(torch.zeros(20, 20, dtype=torch.bool), resolution=0.2)
    moved = register(torch.rand(50, 3), torch.rand(50, 3), method='point')
    assert moved.covariance.shape == (6, 6)
    return Planner(field, PlanConfig(radius=0.1))(torch.tensor([1.0, 1.0]), torch.tensor([3.0, 3.0]))
