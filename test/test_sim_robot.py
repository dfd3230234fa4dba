"""The simulated robot: its motion, what its sensors make of it, and that the estimator can live on them."""
from dataclasses import replace

import numpy as np
import pytest

from pypose_core.inertial import ImuNoise
from pypose_core.online import ImuSmoother, ImuSmootherConfig
from pypose_ros.sim.command import SelfDriver
from pypose_ros.sim.config import ActuatorConfig, ImuErrors, SimulatorConfig, WheelErrors, miscalibrated
from pypose_ros.sim.course import office_patrol
from pypose_ros.sim.local_costmap import LocalCostmap
from pypose_ros.sim.node import planar
from pypose_ros.sim.simulator import Simulator
from pypose_ros.sim.walls import Walls

DT = 0.005
FAR = Walls.polygon(np.array([(-50, -50), (50, -50), (50, 50), (-50, 50)]))
EXACT = SimulatorConfig(
    imu=ImuErrors(gyroscope_noise_density=0, accelerometer_noise_density=0, gyroscope_random_walk=0,
                  accelerometer_random_walk=0, gyroscope_bias_sigma=0, accelerometer_bias_sigma=0),
    wheels=WheelErrors(slip=0, slip_sigma=0, noise=(0, 0)))


def driven(simulator: Simulator, seconds: float, command=lambda t: (0.6, 0.5 * np.sin(t))) -> list:
    return [simulator.step(DT, command(k * DT)) for k in range(round(seconds / DT))]


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    runs = [driven(Simulator(office_patrol(0).walls, SimulatorConfig(seed=seed)), 2.0) for seed in (0, 0, 1)]
    for name in ('imu', 'odometry', 'scan'):
        same, again, other = ([getattr(m, name) for m in run if getattr(m, name) is not None] for run in runs)
        np.testing.assert_array_equal(same, again)
        assert not np.allclose(same, other, rtol=0, atol=1e-6)


def test_every_sensor_keeps_its_rate_and_stamps_rise():
    run = driven(Simulator(FAR), 4.0)
    assert [sum(getattr(m, name) is not None for m in run) for name in ('imu', 'odometry', 'scan')] == [800, 200, 40]
    assert (np.diff([m.stamp_ns for m in run]) == DT * 1e9).all()


def test_without_errors_imu_and_wheels_add_up_to_the_true_motion():
    simulator = Simulator(FAR, EXACT)
    run = driven(simulator, 10.0)
    heading, velocity, position = 0.0, np.zeros(2), np.zeros(2)
    for m in run:
        middle = heading + 0.5 * m.imu[2] * DT
        c, s = np.cos(middle), np.sin(middle)
        a = np.array([c * m.imu[3] - s * m.imu[4], s * m.imu[3] + c * m.imu[4]])
        position, velocity, heading = position + velocity * DT + 0.5 * a * DT ** 2, velocity + a * DT, (
            heading + m.imu[2] * DT)
    np.testing.assert_allclose([*position, heading], simulator.pose, atol=0.02)
    np.testing.assert_allclose([*run[0].imu[:2], run[0].imu[5]], [0, 0, 9.80665])
    np.testing.assert_allclose(simulator.wheels.pose, simulator.pose, atol=1e-3)


def test_calibration_and_slip_do_what_their_numbers_say():
    imu = replace(miscalibrated(0.02), gyroscope_noise_density=0, accelerometer_noise_density=0,
                  gyroscope_random_walk=0, accelerometer_random_walk=0, gyroscope_bias_sigma=0,
                  accelerometer_bias_sigma=0)
    wrong = Simulator(FAR, replace(EXACT, imu=imu, wheels=replace(EXACT.wheels, scale=1.05, turn_scale=0.9)))
    right = Simulator(FAR, EXACT)
    for m, true in zip(driven(wrong, 3.0), driven(right, 3.0)):
        np.testing.assert_allclose(m.imu[:3], np.array(imu.gyroscope_matrix) @ true.imu[:3])
        np.testing.assert_allclose(m.imu[3:], np.array(imu.accelerometer_matrix) @ true.imu[3:])
    np.testing.assert_allclose(wrong.wheels.twist, right.wheels.twist * [1.05, 0.9])
    assert imu.gyroscope_matrix[2][2] == pytest.approx(1.02)
    slipping = Simulator(FAR, replace(EXACT, wheels=replace(EXACT.wheels, slip=0.1)))
    driven(slipping, 5.0, lambda t: (0.5 * (1 + np.sin(3 * t)), 0.0))
    assert 1.02 * slipping.pose[0] < slipping.wheels.pose[0] < 1.2 * slipping.pose[0]


def test_the_actuators_are_late_limited_and_stop_when_nobody_commands():
    limits = ActuatorConfig()
    simulator = Simulator(FAR, EXACT)
    speeds = []
    for k in range(400):
        simulator.step(DT, (9.0, -9.0) if k == 0 else None)
        speeds.append((simulator.v, simulator.w))
    speeds = np.array(speeds)
    changes = np.abs(np.diff(speeds, axis=0)) / DT
    late = round(limits.delay / DT)
    assert not speeds[:late].any() and speeds[late + 1].all()
    assert changes[:, 0].max() == pytest.approx(limits.max_acceleration)
    assert changes[:, 1].max() == pytest.approx(limits.max_turn_acceleration)
    assert speeds[:, 0].max() <= limits.max_speed and -speeds[:, 1].min() <= limits.max_turn_rate
    end = round((limits.timeout + 1.2) / DT)
    assert np.abs(speeds[end:]).max() < 0.01 < speeds[round(0.4 / DT), 0]


def test_a_command_that_is_no_number_stops_the_robot():
    simulator = Simulator(FAR, EXACT)
    driven(simulator, 1.0, lambda t: (0.5, 0.0))
    driven(simulator, 1.5, lambda t: (np.nan, 0.0))
    assert abs(simulator.v) < 1e-3


def test_a_wall_stops_the_body_and_is_counted_once():
    simulator = Simulator(Walls(np.array([[(1.0, -5.0), (1.0, 5.0)]])), EXACT)
    driven(simulator, 4.0, lambda t: (0.8, 0.0))
    assert simulator.collisions == 1
    assert simulator.pose[0] == pytest.approx(1.0 - EXACT.radius, abs=0.01) and simulator.clearance >= 0


def test_scans_are_true_to_the_walls_and_make_the_costmap():
    simulator = Simulator(FAR + Walls.polygon(np.array([(2.0, -0.5), (3.0, -0.5), (3.0, 0.5), (2.0, 0.5)])), EXACT)
    scans = [m.scan for m in driven(simulator, 1.0, lambda t: (0.0, 0.3)) if m.scan is not None]
    points = simulator.lidar.points(scans[-1])
    c, s = np.cos(simulator.pose[2]), np.sin(simulator.pose[2])
    world = points @ np.array([[c, s], [-s, c]]) + simulator.pose[:2]
    assert len(points) > 10 and simulator.walls.distance(world).max() < 5 * simulator.lidar.config.sigma
    costmap = LocalCostmap(size=6.0, resolution=0.1)
    costmap.add(simulator.pose, points)
    cells, corner = costmap.grid(simulator.pose[:2])
    y, x = np.nonzero(cells)
    centres = corner + 0.1 * (np.stack([x, y], 1) + 0.5)
    assert len(x) > 5 and simulator.walls.distance(centres).max() < 0.15


def test_the_estimator_lives_on_what_the_robot_measures():
    course = office_patrol(0, boxes=0, pillars=False)
    simulator, driver = Simulator(course.walls, SimulatorConfig(seed=1)), SelfDriver(course.path)
    imu = simulator.config.imu
    smoother = ImuSmoother(ImuSmootherConfig(body_velocity_sigma=(0.0, 0.05, 0.05), noise=ImuNoise(
        gyroscope_noise_density=imu.gyroscope_noise_density, gyroscope_random_walk=imu.gyroscope_random_walk,
        accelerometer_noise_density=imu.accelerometer_noise_density,
        accelerometer_random_walk=imu.accelerometer_random_walk)), T_base_imu=planar(np.zeros(3)))
    for k in range(round(18 / DT)):
        m = simulator.step(DT, driver(simulator) if k * DT > 1.5 else (0.0, 0.0))
        smoother.add_imu(m.stamp_ns, m.imu)
        if m.odometry is not None and k % 20 == 19:
            smoother.add_odometry(m.stamp_ns, planar(m.odometry), 5 * m.covariance)
            smoother.solve()
    error = smoother.output.T_odom_base[:2] - simulator.pose[:2]
    way = 0.8 * 16
    assert simulator.collisions == 0 and np.linalg.norm(simulator.pose[:2]) > 10
    assert np.linalg.norm(error) < 0.02 * way
    # The wheels alone know the heading worse.
    assert abs(2 * np.arcsin(smoother.output.T_odom_base[5]) - simulator.pose[2]) < 0.03


def test_the_course_is_wide_enough_beside_every_box_and_begins_where_the_robot_stands():
    for seed in range(6):
        course, bare = office_patrol(seed), office_patrol(seed, boxes=0)
        np.testing.assert_allclose(course.path[0], 0, atol=0.1)
        assert np.linalg.norm(np.diff(course.path[:, :2], axis=0), axis=1).max() < 0.11
        assert len(course.walls.segments) == len(bare.walls.segments) + 16
        assert course.walls.distance(course.path[:, :2]).min() < 0.3     # a box is in the way
