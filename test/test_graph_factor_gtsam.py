"""Residuals against those of GTSAM 4.3.0, computed once on these values and written down here."""
import pytest
import torch

from pypose_core.graph import (
    SE2,
    SE3,
    SIM3,
    Bearing,
    Between,
    Euclidean,
    FactorGraph,
    Gnss,
    Landmark,
    Range,
    Reprojection,
)

f64 = torch.float64
P3 = [-1.64139729458, -0.00520326417193, -0.623463740988, -0.340798616832, -0.0913535130426, 0.869902625686,
      0.344645122184]
S3 = [1.57562603143, 0.316645016472, 0.510546661698, 0.0900843916629, -0.97470990708, 0.146536023941, 0.142662514718]
P2, POINT2 = [1.10180185582, -0.329904073874, 0.794198003612, 0.607659058237], [-0.220117390556, 2.96514232607]
POINT3 = [-2.98623336993, 4.50545824945, -3.83129111592]
DIRECTION = [-1.82960402345, -0.00308096466585, -0.892055788322]
FIX, ARM = [0.775871847458, -2.11806004219, -0.343694350099], [0.210172927336, -1.484268584, 0.985215582858]
PIXEL, LENS = [330., 250.], torch.tensor([500., 480., 320., 240.], dtype=f64)
SIM_A = [-0.79779575789, -0.203332485772, 0.747959725963, 0.104479524711, 0.588629054762, 0.560759080269,
         -0.572843014012, 1.53033037809]
SIM_B = [-0.237923377565, -0.13181504769, 2.0581144685, -0.521742950746, -0.446396512305, -0.586539884267,
         -0.429517649594, 0.776311183208]
SIM_Z = [0.013318481161, 0.774145947017, -1.31601485875, -0.249616333557, 0.396462870679, -0.823979133815,
         -0.318696195823, 1.9852299051]


def tensor(x):
    return torch.tensor(x, dtype=f64)


def residual(factors, **variables):
    graph = FactorGraph()
    for name, (group, rows) in variables.items():
        graph.add_variables(name, group, tensor(rows))
    graph.add(factors)
    return factors.residual(factors.at(graph.values), factors.data)[0]


def seen(kind, pose, point, z, **more):
    space = len(point)
    return residual(kind(('pose', 'point'), torch.tensor([[0, 0]]), tensor(z), **more),
                    pose=(SE3 if space == 3 else SE2, [pose]), point=(Euclidean(space), [point]))


@pytest.mark.parametrize('found, expected', [
    (lambda: seen(Range, P3, POINT3, [1.5]), [4.19603439485]),
    (lambda: seen(Range, P2, POINT2, [1.5]), [2.05032410798]),
    (lambda: seen(Range, P3, POINT3, [1.5], sensor=tensor(S3)), [3.01200941703]),
    (lambda: seen(Bearing, P2, POINT2, [1.2]), [0.0992131060533]),
    (lambda: seen(Bearing, P3, POINT3, DIRECTION).norm()[None], [2.4347333137]),      # GTSAM's axes are others
    (lambda: residual(Gnss('pose', torch.tensor([0]), tensor(FIX)), pose=(SE3, [P3])),
     [-2.41726914204, 2.11285677801, -0.279769390889]),
    (lambda: residual(Gnss('pose', torch.tensor([0]), tensor(FIX), lever_arm=tensor(ARM)), pose=(SE3, [P3])),
     [-2.37731770536, 3.43370617776, 0.933340818207]),
    (lambda: seen(Reprojection, P3, [-3.00475771887, 0.494454634862, 0.798362668045], PIXEL, calibration=LENS),
     [65., -58.]),
    (lambda: seen(Reprojection, P3, [-1.02257168015, 0.854958065243, -1.73963969205], PIXEL, calibration=LENS,
                  sensor=tensor(S3)), [65., -58.]),
], ids=['range in space', 'range in the plane', 'range of a sensor', 'bearing in the plane', 'bearing in space', 'gnss',
        'gnss with lever arm', 'reprojection', 'reprojection of a sensor'])
def test_residual_equals_that_of_gtsam(found, expected):
    torch.testing.assert_close(found(), tensor(expected), rtol=1e-8, atol=1e-9)


def test_between_similarities_equals_that_of_gtsam():
    """GTSAM's tangent is [rotation, translation, logarithm of the scale]."""
    r = residual(Between('x', torch.tensor([[0, 1]]), tensor(SIM_Z)), x=(SIM3, [SIM_A, SIM_B]))
    expected = tensor([-2.96722637955, 0.625125393448, -0.218978902741, 0.485966614232, -1.65167807533, -0.584913823371,
                       -1.36442020402])
    torch.testing.assert_close(r[[3, 4, 5, 0, 1, 2, 6]], expected, rtol=1e-8, atol=1e-9)


def test_landmark_is_the_point_in_the_axes_of_the_pose():
    """EDGE_SE3_TRACKXYZ of g2o: sensor^-1 pose^-1 point - z."""
    moved = tensor(POINT3) - tensor(P3[:3])
    expected = SE3.relative(tensor(S3), SE3.relative(tensor(P3), tensor([*POINT3, 0., 0., 0., 1.])))[:3]
    assert moved.norm() == pytest.approx(float(seen(Landmark, P3, POINT3, [0., 0., 0.]).norm()))
    torch.testing.assert_close(seen(Landmark, P3, POINT3, [0., 0., 0.], sensor=tensor(S3)), expected)
