"""The fixed-lag window as a least-squares problem over tensors: its factors, and its reference solver.

Unknowns are the NavStates of W keyframes, perturbed by 15 numbers each,

    R <- R Exp(d_theta),   v <- v + d_v,   p <- p + d_p,   b <- b + d_b,

and the cost is half the sum of

* IMU factors between neighbours (Forster et al., TRO 2017, eq. 45, with the biases' random walk inside
  the 15 x 15 covariance),
* pose factors on single keyframes and relative-pose factors between two, under a robust kernel,
* body-velocity factors on single keyframes: what the base cannot do, such as leave the ground,
* the prior that marginalized keyframes left: d^T H d + 2 g^T d, d counted from where it was linearized.

`solve` and `marginalize` dispatch to native kernels that do the same; this file is their reference.
"""
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from pypose_core import native
from pypose_core.lie import so3
from pypose_core.online.packed import BIAS, COVARIANCE, JACOBIAN, unpack_delta

KERNELS = {'none': 0, 'huber': 1, 'cauchy': 2}
DOF = 15


class SolveStatus(IntEnum):
    """How a solve ended."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    TIME_BUDGET = 2
    NO_DECREASE = 3
    SINGULAR = 4
    NOT_FINITE = 5

    @property
    def success(self) -> bool:
        return self <= SolveStatus.NO_DECREASE

    def __str__(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    SolveStatus.CONVERGED: 'converged',
    SolveStatus.MAX_ITERATIONS: 'stopped at max_iterations; the estimate is the best so far',
    SolveStatus.TIME_BUDGET: 'stopped at time_budget; the estimate is the best so far',
    SolveStatus.NO_DECREASE: 'no step lowers the cost any more; the estimate is the best so far',
    SolveStatus.SINGULAR: 'the normal equations are singular: a keyframe is not constrained',
    SolveStatus.NOT_FINITE: 'the cost is not finite',
}


@dataclass(frozen=True)
class WindowProblem:
    """One fixed-lag problem; all float64 on the CPU, indices int64."""

    states: Tensor
    """(W, 16) NavStates [p, q, v, gyroscope bias, accelerometer bias], in time order."""
    imu: Tensor
    """(W - 1, 296) packed preintegrated rows, one between each two neighbours."""
    pose_index: Tensor
    """(A,) keyframe of each pose factor."""
    pose: Tensor
    """(A, 7) measured T_odom_imu."""
    pose_information: Tensor
    """(A, 6, 6) W with W^T W the information; rotation (body), position."""
    relative_index: Tensor
    """(B, 2) earlier and later keyframe of each relative factor."""
    relative: Tensor
    """(B, 7) measured T_earlier_later."""
    relative_information: Tensor
    """(B, 6, 6) as pose_information, in the frame of the earlier keyframe."""
    velocity_index: Tensor
    """(C,) keyframe of each body-velocity factor."""
    velocity_rate: Tensor
    """(C, 3) measured angular rate there, rad/s in the IMU's frame: the base swings around the IMU."""
    velocity: Tensor
    """(C, 3) m/s of the base's origin along the base's axes."""
    velocity_information: Tensor
    """(C, 3, 3) as pose_information; zero rows leave an axis free."""
    T_imu_base: Tensor
    """(7,)"""
    prior_states: Tensor
    """(M, 16) where the prior on the first M keyframes was linearized."""
    prior_information: Tensor
    """(15 M, 15 M)"""
    prior_gradient: Tensor
    """(15 M,)"""
    gravity: float
    kernel: int = KERNELS['none']
    kernel_width: float = 4.0
    max_iterations: int = 5
    tolerance: float = 1e-7
    """Relative decrease of the cost below which it has converged."""
    time_budget: float = 0.0


@dataclass(frozen=True)
class WindowSolution:
    """Result of `solve`."""

    states: Tensor
    """(W, 16)"""
    covariance: Tensor
    """(15, 15) marginal covariance of the newest keyframe."""
    status: SolveStatus
    iterations: int
    cost_initial: float
    cost_final: float


def solve(problem: WindowProblem) -> WindowSolution:
    """Minimize the window's cost by Levenberg-Marquardt from its present states.

    The damping starts at zero (Gauss-Newton) and grows only when a step does not lower the cost.
    """
    if native.available:
        states, covariance, stats = torch.ops.pypose.window_solve(
            *_arguments(problem), problem.max_iterations, problem.tolerance, problem.time_budget)
        status, iterations, initial, final = stats.tolist()
        return WindowSolution(states, covariance, SolveStatus(int(status)), int(iterations), initial, final)
    return _solve_reference(problem)


def marginalize(problem: WindowProblem) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the first keyframe and its factors into a prior on those that it is connected to.

    Returns:
        prior_states (M, 16), prior_information (15 M, 15 M), prior_gradient (15 M,) for the window
        without its first keyframe.
    """
    if native.available:
        return torch.ops.pypose.window_marginalize(*_arguments(problem))
    return _marginalize_reference(problem)


def _arguments(problem: WindowProblem) -> tuple:
    return (problem.states, problem.imu, problem.pose_index, problem.pose, problem.pose_information,
            problem.relative_index, problem.relative, problem.relative_information,
            problem.velocity_index, problem.velocity_rate, problem.velocity, problem.velocity_information,
            problem.T_imu_base, problem.prior_states, problem.prior_information, problem.prior_gradient,
            problem.gravity, problem.kernel, problem.kernel_width)


# --- reference ---------------------------------------------------------------------------------

def retract(states: Tensor, delta: Tensor) -> Tensor:
    """NavStates (..., 16) moved by (..., 15)."""
    rotation = so3.mul(states[..., 3:7], so3.exp(delta[..., :3]))
    return torch.cat([states[..., :3] + delta[..., 6:9], rotation,
                      states[..., 7:10] + delta[..., 3:6], states[..., 10:] + delta[..., 9:]], -1)


def local(origin: Tensor, states: Tensor) -> Tensor:
    """Inverse of `retract`: the (..., 15) that moves origin to states."""
    rotation = so3.log(so3.mul(so3.inv(origin[..., 3:7]), states[..., 3:7]))
    return torch.cat([rotation, states[..., 7:10] - origin[..., 7:10],
                      states[..., :3] - origin[..., :3], states[..., 10:] - origin[..., 10:]], -1)


def imu_residual(earlier: Tensor, later: Tensor, imu: Tensor, gravity: float) -> Tensor:
    """(N, 15) unwhitened residuals of preintegrated rows (N, 296) between NavStates (N, 16)."""
    dt, rotation, velocity, position = unpack_delta(imu)
    correction = (imu[:, JACOBIAN].reshape(-1, 9, 6) @ (earlier[:, 10:] - imu[:, BIAS])[..., None])[..., 0]
    rotation = so3.mul(rotation, so3.exp(correction[:, :3]))
    g = earlier.new_tensor([0.0, 0.0, -gravity])
    to_body = so3.inv(earlier[:, 3:7])
    moved_v = later[:, 7:10] - earlier[:, 7:10] - g * dt
    moved_p = later[:, :3] - earlier[:, :3] - earlier[:, 7:10] * dt - 0.5 * g * dt**2
    return torch.cat([
        so3.log(so3.mul(so3.inv(rotation), so3.mul(to_body, later[:, 3:7]))),
        so3.act(to_body, moved_v) - velocity - correction[:, 3:6],
        so3.act(to_body, moved_p) - position - correction[:, 6:9],
        later[:, 10:] - earlier[:, 10:]], -1)


def relative_residual(earlier: Tensor, later: Tensor, measured: Tensor) -> Tensor:
    """(N, 6) unwhitened residuals [rotation, position] of measured T_earlier_later (N, 7)."""
    to_body = so3.inv(earlier[:, 3:7])
    return torch.cat([so3.log(so3.mul(so3.inv(measured[:, 3:]), so3.mul(to_body, later[:, 3:7]))),
                      so3.act(to_body, later[:, :3] - earlier[:, :3]) - measured[:, :3]], -1)


def pose_residual(state: Tensor, measured: Tensor) -> Tensor:
    """(N, 6) unwhitened residuals [rotation, position] of measured T_odom_imu (N, 7)."""
    return torch.cat([so3.log(so3.mul(so3.inv(measured[:, 3:]), state[:, 3:7])),
                      state[:, :3] - measured[:, :3]], -1)


def velocity_residual(state: Tensor, rate: Tensor, measured: Tensor, T_imu_base: Tensor) -> Tensor:
    """(N, 3) unwhitened residuals of measured velocities of the base's origin along its own axes."""
    in_imu = so3.act(so3.inv(state[:, 3:7]), state[:, 7:10])
    swing = torch.linalg.cross(rate - state[:, 10:13], T_imu_base[:3].expand_as(rate))
    return so3.act(so3.inv(T_imu_base[3:]), in_imu + swing) - measured


def _robust(problem: WindowProblem, squared: Tensor) -> tuple[Tensor, Tensor]:
    """rho(s) and its derivative, the weight, of squared norms s."""
    width = problem.kernel_width
    if problem.kernel == KERNELS['huber']:
        root = squared.clamp(min=width**2).sqrt()
        inside = squared <= width**2
        return (torch.where(inside, squared, 2 * width * root - width**2),
                torch.where(inside, torch.ones_like(squared), width / root))
    if problem.kernel == KERNELS['cauchy']:
        return width**2 * torch.log1p(squared / width**2), 1 / (1 + squared / width**2)
    return squared, torch.ones_like(squared)


def _whitened(problem: WindowProblem, states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Whitened residuals of the IMU, pose, relative and body-velocity factors."""
    factor = torch.linalg.cholesky(problem.imu[:, COVARIANCE].reshape(-1, DOF, DOF) + _floor(states))
    imu = imu_residual(states[:-1], states[1:], problem.imu, problem.gravity)
    imu = torch.linalg.solve_triangular(factor, imu[..., None], upper=False)[..., 0]
    pose = pose_residual(states[problem.pose_index], problem.pose)
    earlier, later = problem.relative_index.unbind(-1)
    relative = relative_residual(states[earlier], states[later], problem.relative)
    velocity = velocity_residual(states[problem.velocity_index], problem.velocity_rate, problem.velocity,
                                 problem.T_imu_base)
    return (imu, (problem.pose_information @ pose[..., None])[..., 0],
            (problem.relative_information @ relative[..., None])[..., 0],
            (problem.velocity_information @ velocity[..., None])[..., 0])


def _floor(like: Tensor) -> Tensor:
    """Least covariance of a preintegrated row: one sample alone gives velocity and position errors
    that are multiples of each other, which has no inverse. 1e-6 rad, 3e-5 m/s and 0.1 mm are far below
    what a correction can tell, and keep the information within what float64 can add to that of a
    direction which nobody measures (a wheel odometry's height)."""
    return torch.diag(like.new_tensor([1e-12] * 3 + [1e-9] * 3 + [1e-8] * 3 + [1e-16] * 6))


def _prior_delta(problem: WindowProblem, states: Tensor) -> Tensor:
    return local(problem.prior_states, states[:len(problem.prior_states)]).reshape(-1)


def cost(problem: WindowProblem, states: Tensor) -> Tensor:
    """Half the robustified sum of squares, and the prior's quadratic."""
    imu, pose, relative, velocity = _whitened(problem, states)
    delta = _prior_delta(problem, states)
    total = (imu**2).sum() + (velocity**2).sum()
    total = total + delta @ problem.prior_information @ delta + 2 * problem.prior_gradient @ delta
    for residual in (pose, relative):
        total = total + _robust(problem, (residual**2).sum(-1))[0].sum()
    return 0.5 * total


def normal_equations(problem: WindowProblem, states: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Newton H (15 W, 15 W) and gradient (15 W,) of the cost, robust factors reweighted."""
    def stacked(delta: Tensor) -> Tensor:
        moved = retract(states, delta.reshape(-1, DOF))
        return torch.cat([r.reshape(-1) for r in _whitened(problem, moved)])

    zero = states.new_zeros(len(states) * DOF)
    residual, jacobian = stacked(zero), torch.func.jacfwd(stacked)(zero)
    imu, pose, relative, velocity = _whitened(problem, states)
    weight = torch.cat([torch.ones_like(imu).reshape(-1)] + [
        _robust(problem, (r**2).sum(-1))[1].repeat_interleave(6) for r in (pose, relative)] + [
        torch.ones_like(velocity).reshape(-1)])
    information = jacobian.T @ (weight[:, None] * jacobian)
    gradient = jacobian.T @ (weight * residual)
    size = len(problem.prior_gradient)
    information[:size, :size] += problem.prior_information
    gradient[:size] += problem.prior_information @ _prior_delta(problem, states) + problem.prior_gradient
    return information, gradient


def _solve_reference(problem: WindowProblem) -> WindowSolution:
    states, value = problem.states, cost(problem, problem.states)
    initial, damping, status, iteration = float(value), 0.0, SolveStatus.MAX_ITERATIONS, 0
    if not torch.isfinite(value):
        return WindowSolution(states, states.new_full((DOF, DOF), torch.nan), SolveStatus.NOT_FINITE, 0,
                              initial, initial)
    while iteration < problem.max_iterations:
        iteration += 1
        information, gradient = normal_equations(problem, states)
        accepted = False
        while not accepted and damping <= 1e6:
            damped = information + damping * torch.diag(information.diagonal())
            factor, singular = torch.linalg.cholesky_ex(damped)
            if not singular:
                step = -torch.cholesky_solve(gradient[:, None], factor)[:, 0]
                trial = retract(states, step.reshape(-1, DOF))
                trial_value = cost(problem, trial)
                # A promise below the tolerance is the minimum, whatever rounding says of the trial.
                promised = -0.5 * float(gradient @ step)
                if promised <= problem.tolerance * abs(float(value)) + 1e-12:
                    status = SolveStatus.CONVERGED
                accepted = bool(trial_value <= value)
                if status is SolveStatus.CONVERGED:
                    break
            damping = (0.0 if damping < 1e-5 else damping / 10) if accepted else max(10 * damping, 1e-6)
        if not accepted:
            if status is not SolveStatus.CONVERGED:
                status = SolveStatus.SINGULAR if singular else SolveStatus.NO_DECREASE
            break
        decrease, states, value = value - trial_value, trial, trial_value
        if decrease <= problem.tolerance * value.abs() + 1e-12:
            status = SolveStatus.CONVERGED
        if status is SolveStatus.CONVERGED:
            break
    information, _ = normal_equations(problem, states)
    factor, singular = torch.linalg.cholesky_ex(information)
    if singular:
        return WindowSolution(states, states.new_full((DOF, DOF), torch.nan), SolveStatus.SINGULAR, iteration,
                              initial, float(value))
    # The last keyframe is eliminated last, so its block of the factor holds its marginal.
    covariance = torch.cholesky_inverse(factor[-DOF:, -DOF:])
    return WindowSolution(states, covariance, status, iteration, initial, float(value))


def _marginalize_reference(problem: WindowProblem) -> tuple[Tensor, Tensor, Tensor]:
    on_pose = problem.pose_index == 0
    on_relative = problem.relative_index[:, 0] == 0
    on_velocity = problem.velocity_index == 0
    partners = problem.relative_index[on_relative, 1]
    size = max(2, len(problem.prior_states), int(partners.max()) + 1 if len(partners) else 0)
    # Other IMU factors stay in the window: an infinite covariance takes them out of this system.
    imu = problem.imu[:size - 1].clone()
    imu[1:, COVARIANCE] += 1e30 * torch.eye(DOF, dtype=imu.dtype).reshape(-1)
    part = replace(
        problem, states=problem.states[:size], imu=imu,
        pose_index=problem.pose_index[on_pose], pose=problem.pose[on_pose],
        pose_information=problem.pose_information[on_pose],
        relative_index=problem.relative_index[on_relative], relative=problem.relative[on_relative],
        relative_information=problem.relative_information[on_relative],
        velocity_index=problem.velocity_index[on_velocity], velocity_rate=problem.velocity_rate[on_velocity],
        velocity=problem.velocity[on_velocity], velocity_information=problem.velocity_information[on_velocity])
    information, gradient = normal_equations(part, part.states)
    factor = torch.linalg.cholesky(information[:DOF, :DOF])
    coupling = torch.cholesky_solve(information[:DOF, DOF:], factor)
    kept = information[DOF:, DOF:] - information[DOF:, :DOF] @ coupling
    return part.states[1:], 0.5 * (kept + kept.T), gradient[DOF:] - coupling.T @ gradient[:DOF]
