// Reverse mode over one step of preintegration: from the adjoints of a step's results to the adjoints of
// what went into it.  An adjoint is named like its variable, with _bar; symmetric matrices (P and the
// densities) have symmetric adjoints.
#pragma once

#include "inertial/preintegration.h"
#include "inertial/so3_adjoint.h"

namespace pypose {

// Rows of 15 are kept 16 apart where the layout is ours to choose: whole vector registers.
constexpr int kRow = 16;

// Adjoints of what a packed row accumulates.  Rotation's part of J by the accelerometer bias is constant.
template <typename T>
struct RowAdjoint {
  T q[4], v[3], p[3], J[54];
  alignas(64) T P[15 * kRow];   // the sixteenth column is zero
};

// Adjoints of one sample with the bias taken off.
template <typename T>
struct SampleAdjoint {
  T dt, w[3], a[3];
};

// Adjoints of StepJacobian's blocks, taken as independent of each other.
template <typename T>
struct StepAdjoint {
  T R[9], E[9], Jr[9], JrDt[9], A[9], RDt[9];
};

// Q's part of P' = F P F^T + Q, see propagate_covariance(); noise and noise_bar are five 3x3 blocks.
template <typename T>
PP_HD void noise_adjoint(const StepJacobian<T>& F, T dt, const T* noise, const T* G, StepAdjoint<T>& bar,
                         T& dt_bar, T* noise_bar) {
  const T half = T(0.5) * dt;
  T S[9], V[9], S_bar[9], V_bar[9], left[9], right[9];
  congruence3(F.Jr, noise, T(1), S);
  congruence3(F.R, noise + 9, T(1), V);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const int k = 3 * i + j;
      const T vv = G[kRow * (3 + i) + 3 + j], pp = G[kRow * (6 + i) + 6 + j];
      const T vp = G[kRow * (3 + i) + 6 + j] + G[kRow * (6 + i) + 3 + j];
      const T gg = G[kRow * (9 + i) + 9 + j], aa = G[kRow * (12 + i) + 12 + j];
      S_bar[k] = G[kRow * i + j];
      V_bar[k] = dt * (vv + half * (vp + half * pp));
      dt_bar += S_bar[k] * S[k] + V[k] * (vv + dt * vp + T(3) * half * half * pp) +
                noise[18 + k] * gg + noise[27 + k] * aa + noise[36 + k] * pp;
      noise_bar[18 + k] += dt * gg;
      noise_bar[27 + k] += dt * aa;
      noise_bar[36 + k] += dt * pp;
    }
  mul3(S_bar, F.Jr, left, dt);
  add_mul3_tn(F.Jr, left, T(1), noise_bar);
  mul3(left, noise, right, T(2));
  for (int i = 0; i < 9; ++i) bar.Jr[i] += right[i];
  mul3(V_bar, F.R, left);
  add_mul3_tn(F.R, left, T(1), noise_bar + 9);
  mul3(left, noise + 9, right, T(2));
  for (int i = 0; i < 9; ++i) bar.R[i] += right[i];
}

// out = F^T X, both of 15 rows.
template <typename T>
PP_HD void apply_transposed_transition(const StepJacobian<T>& F, T dt, const T* __restrict X, T* __restrict out) {
  const T half = T(0.5) * dt;
  for (int i = 0; i < 3; ++i)
    for (int c = 0; c < kRow; ++c) {
      const T *x = X + c;
      const T v0 = x[3 * kRow] + half * x[6 * kRow], v1 = x[4 * kRow] + half * x[7 * kRow],
              v2 = x[5 * kRow] + half * x[8 * kRow];    // what reaches the velocity's increment [A, -R dt]
      out[kRow * i + c] = F.E[i] * x[0] + F.E[3 + i] * x[kRow] + F.E[6 + i] * x[2 * kRow] +
                          F.A[i] * v0 + F.A[3 + i] * v1 + F.A[6 + i] * v2;
      out[kRow * (3 + i) + c] = x[kRow * (3 + i)] + dt * x[kRow * (6 + i)];
      out[kRow * (6 + i) + c] = x[kRow * (6 + i)];
      out[kRow * (9 + i) + c] =
          x[kRow * (9 + i)] - (F.JrDt[i] * x[0] + F.JrDt[3 + i] * x[kRow] + F.JrDt[6 + i] * x[2 * kRow]);
      out[kRow * (12 + i) + c] = x[kRow * (12 + i)] - (F.RDt[i] * v0 + F.RDt[3 + i] * v1 + F.RDt[6 + i] * v2);
    }
}

// out (3x6) = 2 rows P[:, first three columns and those from `column` on].
template <typename T>
PP_HD void transition_block_adjoint(const T* rows, const T* P, int column, T* out) {
  T sums[3][8] = {};                              // eight columns, of which six count: one vector register
  for (int k = 0; k < 15; ++k) {
    const T* p = P + 15 * k;
    const T right[8] = {p[0], p[1], p[2], p[column], p[column + 1], p[column + 2], T(0), T(0)};
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 8; ++j) sums[i][j] += rows[kRow * i + k] * right[j];
  }
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 6; ++j) out[6 * i + j] = T(2) * sums[i][j];
}

// F's part of P' = F P F^T + Q: F_bar = 2 G F P, and G <- F^T G F.
template <typename T>
PP_HD void transition_adjoint(const StepJacobian<T>& F, T dt, const T* __restrict P, T* __restrict G,
                              StepAdjoint<T>& bar, T& dt_bar) {
  const T half = T(0.5) * dt;
  alignas(64) T K[15 * kRow], GF[15 * kRow];
  apply_transposed_transition(F, dt, G, K);
  for (int i = 0; i < 15; ++i) {                  // G is symmetric
    for (int j = 0; j < 15; ++j) GF[kRow * i + j] = K[kRow * j + i];
    GF[kRow * i + 15] = T(0);
  }
  apply_transposed_transition(F, dt, GF, G);

  T of_rotation[18], of_velocity[18], velocity[3 * kRow];
  for (int k = 0; k < 3 * kRow; ++k) velocity[k] = GF[3 * kRow + k] + half * GF[6 * kRow + k];
  transition_block_adjoint(GF, P, 9, of_rotation);
  transition_block_adjoint(velocity, P, 12, of_velocity);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      bar.E[3 * i + j] += of_rotation[6 * i + j];
      bar.JrDt[3 * i + j] -= of_rotation[6 * i + 3 + j];
      bar.A[3 * i + j] += of_velocity[6 * i + j];
      bar.RDt[3 * i + j] -= of_velocity[6 * i + 3 + j];
    }
  for (int i = 0; i < 3; ++i) {                   // dt in the position's rows: d(F P)/d(dt) at fixed A, R dt
    T sums[15];
    for (int c = 0; c < 15; ++c)
      sums[c] = GF[kRow * (6 + i) + c] * (T(2) * P[15 * (3 + i) + c] + dot3_column<15>(F.A + 3 * i, P + c) -
                                        dot3_column<15>(F.RDt + 3 * i, P + 180 + c));
    for (int c = 0; c < 15; ++c) dt_bar += sums[c];
  }
}

// J' = F_9x9 J + F_9x6, see propagate_bias_jacobian(); J_bar is replaced.
template <typename T>
PP_HD void bias_jacobian_adjoint(const StepJacobian<T>& F, T dt, const T* J, T* J_bar, StepAdjoint<T>& bar,
                                 T& dt_bar) {
  const T half = T(0.5) * dt;
  T rotation_bar[9] = {};
  for (int i = 0; i < 3; ++i) {
    const T *velocity = J + 6 * (3 + i), *position_bar = J_bar + 6 * (6 + i);
    T step_bar[6];                                // of the velocity's increment [A J_rotation, -R dt]
    for (int c = 0; c < 6; ++c) {
      T* velocity_bar = J_bar + 6 * (3 + i) + c;
      const T increment = c < 3 ? dot3_column<6>(F.A + 3 * i, J + c) : -F.RDt[3 * i + c - 3];
      step_bar[c] = velocity_bar[0] + half * position_bar[c];
      dt_bar += position_bar[c] * (velocity[c] + T(0.5) * increment);
      velocity_bar[0] += dt * position_bar[c];
    }
    for (int j = 0; j < 3; ++j) {
      bar.E[3 * i + j] += dot3(J_bar + 6 * i, J + 6 * j);
      bar.A[3 * i + j] += dot3(step_bar, J + 6 * j);
      bar.JrDt[3 * i + j] -= J_bar[6 * i + j];
      bar.RDt[3 * i + j] -= step_bar[3 + j];
    }
    for (int k = 0; k < 3; ++k)
      for (int c = 0; c < 3; ++c)
        rotation_bar[3 * k + c] += F.E[3 * i + k] * J_bar[6 * i + c] + F.A[3 * i + k] * step_bar[c];
  }
  for (int i = 0; i < 3; ++i)
    for (int c = 0; c < 3; ++c) J_bar[6 * i + c] = rotation_bar[3 * i + c];
}

// The whole step: row is the state before it; `bar` goes from after to before, noise_bar is added to.
// Without `covariance` or `jacobian`, the adjoint of that result is zero and is not looked at.
template <typename T>
PP_HD SampleAdjoint<T> preintegrate_step_adjoint(const T* row, T dt, const T* gyro, const T* accel, const T* noise,
                                                 bool covariance, bool jacobian, RowAdjoint<T>& bar,
                                                 T* noise_bar) {
  using namespace preintegrated;
  const T *bias = row + kBias, *q = row + kRotation, *v = row + kVelocity;
  const T w[3] = {gyro[0] - bias[0], gyro[1] - bias[1], gyro[2] - bias[2]};
  const T a[3] = {accel[0] - bias[3], accel[1] - bias[4], accel[2] - bias[5]};
  const T phi[3] = {w[0] * dt, w[1] * dt, w[2] * dt};
  T dq[4];
  so3_exp(phi, dq);
  const StepJacobian<T> F = step_jacobian(q, dt, phi, a, dq);
  StepAdjoint<T> step = {};
  SampleAdjoint<T> out = {};

  if (covariance) {
    noise_adjoint(F, dt, noise, bar.P, step, out.dt, noise_bar);
    transition_adjoint(F, dt, row + kCovariance, bar.P, step, out.dt);
  }
  if (jacobian) bias_jacobian_adjoint(F, dt, row + kJacobian, bar.J, step, out.dt);

  // p' = p + dt (v + dv / 2), v' = v + dv, dv = RDt a
  for (int i = 0; i < 3; ++i) {
    const T dv = dot3(F.RDt + 3 * i, a), dv_bar = bar.v[i] + T(0.5) * dt * bar.p[i];
    out.dt += bar.p[i] * (v[i] + T(0.5) * dv);
    bar.v[i] += dt * bar.p[i];
    for (int j = 0; j < 3; ++j) {
      step.RDt[3 * i + j] += dv_bar * a[j];
      out.a[j] += F.RDt[3 * i + j] * dv_bar;
    }
  }
  // A = -RDt [a]x
  T hat_a[9], hat_bar[9] = {}, product[9];
  hat(a, hat_a);
  mul3(step.A, hat_a, product);
  add_mul3_tn(F.RDt, step.A, T(-1), hat_bar);
  out.a[0] += hat_bar[7] - hat_bar[5];
  out.a[1] += hat_bar[2] - hat_bar[6];
  out.a[2] += hat_bar[3] - hat_bar[1];
  // RDt = R dt, JrDt = Jr dt
  for (int i = 0; i < 9; ++i) {
    const T RDt_bar = step.RDt[i] + product[i];   // [a]x^T = -[a]x
    step.R[i] += dt * RDt_bar;
    step.Jr[i] += dt * step.JrDt[i];
    out.dt += RDt_bar * F.R[i] + step.JrDt[i] * F.Jr[i];
  }
  // q' = u (3 - |u|^2) / 2, u = q o dq
  T u[4], u_bar[4], q_bar[4] = {}, dq_bar[4] = {}, D_bar[9], phi_bar[3] = {};
  quat_mul(q, dq, u);
  const T scale = T(1.5) - T(0.5) * (dot3(u, u) + u[3] * u[3]);
  const T along = dot3(bar.q, u) + bar.q[3] * u[3];
  for (int i = 0; i < 4; ++i) u_bar[i] = scale * bar.q[i] - along * u[i];
  quat_mul_adjoint(q, dq, u_bar, q_bar, dq_bar);
  quat_to_matrix_adjoint(q, step.R, q_bar);
  // E = D^T, D = quat_to_matrix(dq)
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) D_bar[3 * i + j] = step.E[3 * j + i];
  quat_to_matrix_adjoint(dq, D_bar, dq_bar);
  so3_exp_adjoint(phi, dq_bar, phi_bar);
  if (covariance || jacobian) so3_Jr_adjoint(phi, step.Jr, phi_bar);
  out.dt += dot3(phi_bar, w);
  for (int i = 0; i < 3; ++i) out.w[i] = dt * phi_bar[i];
  for (int i = 0; i < 4; ++i) bar.q[i] = q_bar[i];
  return out;
}

}  // namespace pypose
