// One step of on-manifold IMU preintegration, and prediction with the result.
//
// A measurement (angular rate w_m, specific force a_m) is held constant over its interval dt; the
// attitude is that of the interval's start.  With w = w_m - bg, a = a_m - ba and R = R(q):
//   p' = p + v dt + R a dt^2 / 2
//   v' = v + R a dt
//   q' = q * Exp(w dt)
// Gravity stays outside.  The error is [rotation, velocity, position, gyroscope bias, accelerometer
// bias], true minus estimate: rotation on the right, R_true = R Exp(dtheta), the others additive, in the
// frame of the interval's start.  With E = Exp(w dt)^T, Jr the right Jacobian at w dt, A = -R [a]x dt:
//       | E       0     0   -Jr dt   0           |
//   F = | A       I     0   0       -R dt        |      P' = F P F^T + Q
//       | A dt/2  dt I  I   0       -R dt^2 / 2  |
//       | 0       0     0   I        0           |
//       | 0       0     0   0        I           |
// The bias Jacobian J = d(rotation, velocity, position) / d(bg, ba) moves by the same F, as one of its
// columns with the identity below it: J' = F_9x9 J + F_9x6.
//
// C. Forster, L. Carlone, F. Dellaert, D. Scaramuzza, "On-Manifold Preintegration for Real-Time
// Visual-Inertial Odometry", TRO 2017, equations (35) to (44), (59) to (63).
#pragma once

#include "inertial/matrix3.h"
#include "lie/host_device.h"
#include "lie/so3.h"

namespace pypose {

// The packed row of 296 numbers: [dt, q(4), v(3), p(3)], bias_hat [bg, ba], J (9x6), P (15x15), row-major.
namespace preintegrated {
constexpr int kDt = 0, kRotation = 1, kVelocity = 5, kPosition = 8, kBias = 11;
constexpr int kJacobian = 17, kCovariance = 71;
constexpr int kSize = 296;
}  // namespace preintegrated

// NavState as a row of 16: [p(3), q(4), v(3), bg(3), ba(3)].
namespace nav_state {
constexpr int kPosition = 0, kRotation = 3, kVelocity = 7, kBias = 10;
constexpr int kSize = 16;
}  // namespace nav_state

// Standard deviations in the order of ImuNoise's fields, the same on the three axes.
template <typename T>
struct IsotropicNoise {
  T gyroscope, accelerometer, gyroscope_walk, accelerometer_walk, integration;   // power spectral densities

  PP_HD explicit IsotropicNoise(const T* sigma)
      : gyroscope(sigma[0] * sigma[0]), accelerometer(sigma[1] * sigma[1]),
        gyroscope_walk(sigma[2] * sigma[2]), accelerometer_walk(sigma[3] * sigma[3]),
        integration(sigma[4] * sigma[4]) {}

  // The blocks of Q: S = Jr Qg Jr^T dt, V = R Qa R^T (times dt, dt^2 / 2, dt^3 / 4 in vv, vp, pp).
  PP_HD void white(const T* Jr, const T* /*R: R Qa R^T = Qa*/, T dt, T* S, T* V) const {
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        S[3 * i + j] = gyroscope * dt * dot3(Jr + 3 * i, Jr + 3 * j);
        V[3 * i + j] = i == j ? accelerometer : T(0);
      }
  }
  PP_HD T integration_at(int i, int j) const { return i == j ? integration : T(0); }
  PP_HD T gyroscope_walk_at(int i, int j) const { return i == j ? gyroscope_walk : T(0); }
  PP_HD T accelerometer_walk_at(int i, int j) const { return i == j ? accelerometer_walk : T(0); }
};

// Power spectral densities as five symmetric 3x3 blocks, in the order of ImuNoise's fields.
template <typename T>
struct MatrixNoise {
  const T* blocks;

  PP_HD void white(const T* Jr, const T* R, T dt, T* S, T* V) const {
    congruence3(Jr, blocks, dt, S);
    congruence3(R, blocks + 9, T(1), V);
  }
  PP_HD T gyroscope_walk_at(int i, int j) const { return blocks[18 + 3 * i + j]; }
  PP_HD T accelerometer_walk_at(int i, int j) const { return blocks[27 + 3 * i + j]; }
  PP_HD T integration_at(int i, int j) const { return blocks[36 + 3 * i + j]; }
};

// What is not zero or one in F, at one step.
template <typename T>
struct StepJacobian {
  T R[9];      // attitude at the start of the interval
  T E[9];      // Exp(w dt)^T
  T Jr[9];     // right Jacobian at w dt
  T JrDt[9];   // Jr dt
  T A[9];      // -R [a]x dt
  T RDt[9];    // R dt
};

// Rows rotation, velocity, position of F X, of which the rows are X (15 x N): out (9 x N).
// JrDt and RDt act on the last six rows, `bias`.
template <int N, typename T>
PP_HD void apply_transition(const StepJacobian<T>& F, T dt, const T* __restrict X, T* __restrict out) {
  for (int i = 0; i < 3; ++i) {
    const T *e = F.E + 3 * i, *jr = F.JrDt + 3 * i, *a = F.A + 3 * i, *r = F.RDt + 3 * i;
    for (int c = 0; c < N; ++c) {
      const T v = X[(3 + i) * N + c];
      const T dv = dot3_column<N>(a, X + c) - dot3_column<N>(r, X + 12 * N + c);
      out[i * N + c] = dot3_column<N>(e, X + c) - dot3_column<N>(jr, X + 9 * N + c);
      out[(3 + i) * N + c] = v + dv;
      out[(6 + i) * N + c] = X[(6 + i) * N + c] + dt * (v + T(0.5) * dv);
    }
  }
}

// P <- F P F^T + Q for symmetric P.
template <typename T, typename Noise>
PP_HD void propagate_covariance(const StepJacobian<T>& F, T dt, const Noise& noise, T* __restrict P) {
  T M[9 * 15];                       // the first nine rows of F P; the last six are P's own
  apply_transition<15>(F, dt, P, M);
  for (int r = 0; r < 9; ++r) {      // times F^T from the right, row by row
    const T* m = M + 15 * r;
    T* out = P + 15 * r;
    for (int j = 0; j < 3; ++j) {
      const T t = dot3(m, F.E + 3 * j) - dot3(m + 9, F.JrDt + 3 * j);
      const T dv = dot3(m, F.A + 3 * j) - dot3(m + 12, F.RDt + 3 * j);
      out[j] = t;
      out[3 + j] = m[3 + j] + dv;
      out[6 + j] = m[6 + j] + dt * (m[3 + j] + T(0.5) * dv);
    }
    for (int j = 9; j < 15; ++j) out[j] = m[j];
  }
  T S[9], V[9];
  noise.white(F.Jr, F.R, dt, S, V);
  const T half = T(0.5) * dt;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const T v = dt * V[3 * i + j];
      P[15 * i + j] += S[3 * i + j];
      P[15 * (3 + i) + 3 + j] += v;
      P[15 * (3 + i) + 6 + j] += half * v;
      P[15 * (6 + i) + 6 + j] += half * half * v + dt * noise.integration_at(i, j);
      P[15 * (9 + i) + 9 + j] += dt * noise.gyroscope_walk_at(i, j);
      P[15 * (12 + i) + 12 + j] += dt * noise.accelerometer_walk_at(i, j);
    }
  for (int i = 0; i < 9; ++i)        // the upper triangle is the truth; symmetric to the last bit
    for (int j = i + 1; j < 15; ++j) P[15 * j + i] = P[15 * i + j];
}

// J <- F_9x9 J + F_9x6.  Rotation does not depend on the accelerometer bias, so that block stays zero.
template <typename T>
PP_HD void propagate_bias_jacobian(const StepJacobian<T>& F, T dt, T* __restrict J) {
  T rotation[9];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      rotation[3 * i + j] = dot3_column<6>(F.E + 3 * i, J + j) - F.JrDt[3 * i + j];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      T* velocity = J + 6 * (3 + i) + j;
      T* position = J + 6 * (6 + i) + j;
      const T dvg = dot3_column<6>(F.A + 3 * i, J + j);
      const T dva = -F.RDt[3 * i + j];
      position[0] += dt * (velocity[0] + T(0.5) * dvg);
      position[3] += dt * (velocity[3] + T(0.5) * dva);
      velocity[0] += dvg;
      velocity[3] += dva;
    }
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) J[6 * i + j] = rotation[3 * i + j];
}

// The step's Jacobian blocks from the state at its start; phi = w dt and a are free of bias.
template <typename T>
PP_HD StepJacobian<T> step_jacobian(const T* q, T dt, const T* phi, const T* a, const T* dq) {
  StepJacobian<T> F;
  T D[9];
  quat_to_matrix(q, F.R);
  quat_to_matrix(dq, D);
  so3_Jr(phi, F.Jr);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      F.E[3 * i + j] = D[3 * j + i];
      F.JrDt[3 * i + j] = F.Jr[3 * i + j] * dt;
      F.RDt[3 * i + j] = F.R[3 * i + j] * dt;
    }
    const T* r = F.RDt + 3 * i;      // -(r x-product matrix of a), row by row: -r^T [a]x = (a x r)^T
    F.A[3 * i] = a[1] * r[2] - a[2] * r[1];
    F.A[3 * i + 1] = a[2] * r[0] - a[0] * r[2];
    F.A[3 * i + 2] = a[0] * r[1] - a[1] * r[0];
  }
  return F;
}

// q, v, p <- one step.  One Newton step of normalization holds |q| = 1 over any number of samples.
template <typename T>
PP_HD void step_delta(const T* R, const T* dq, T dt, const T* a, T* q, T* v, T* p) {
  for (int i = 0; i < 3; ++i) {
    const T dv = dt * dot3(R + 3 * i, a);
    p[i] += dt * (v[i] + T(0.5) * dv);
    v[i] += dv;
  }
  T u[4];
  quat_mul(q, dq, u);
  const T s = T(1.5) - T(0.5) * (u[0] * u[0] + u[1] * u[1] + u[2] * u[2] + u[3] * u[3]);
  for (int i = 0; i < 4; ++i) q[i] = s * u[i];
}

// The whole step on a packed row; without Covariance, the row's P is neither read nor written.
template <bool Covariance = true, typename T, typename Noise>
PP_HD void preintegrate_step(T* row, T dt, const T* gyro, const T* accel, const Noise& noise) {
  using namespace preintegrated;
  const T w[3] = {gyro[0] - row[kBias], gyro[1] - row[kBias + 1], gyro[2] - row[kBias + 2]};
  const T a[3] = {accel[0] - row[kBias + 3], accel[1] - row[kBias + 4], accel[2] - row[kBias + 5]};
  const T phi[3] = {w[0] * dt, w[1] * dt, w[2] * dt};
  T dq[4];
  so3_exp(phi, dq);
  const StepJacobian<T> F = step_jacobian(row + kRotation, dt, phi, a, dq);
  if constexpr (Covariance) propagate_covariance(F, dt, noise, row + kCovariance);
  propagate_bias_jacobian(F, dt, row + kJacobian);
  step_delta(F.R, dq, dt, a, row + kRotation, row + kVelocity, row + kPosition);
  row[kDt] += dt;
}

// A fresh row: identity, no time passed, nothing known to be wrong.
template <typename T>
PP_HD void preintegrate_reset(T* row, const T* bias) {
  for (int i = 0; i < preintegrated::kSize; ++i) row[i] = T(0);
  row[preintegrated::kRotation + 3] = T(1);
  for (int i = 0; i < 6; ++i) row[preintegrated::kBias + i] = bias[i];
}

// Deltas corrected to first order for a bias other than bias_hat: dq (4), dv (3), dp (3), Forster (44).
template <typename T>
PP_HD void corrected_delta(const T* row, const T* bias, T* dq, T* dv, T* dp) {
  using namespace preintegrated;
  T correction[9];
  for (int i = 0; i < 9; ++i) {
    correction[i] = T(0);
    for (int j = 0; j < 6; ++j) correction[i] += row[kJacobian + 6 * i + j] * (bias[j] - row[kBias + j]);
  }
  T small[4];
  so3_exp(correction, small);
  quat_mul(row + kRotation, small, dq);
  for (int i = 0; i < 3; ++i) {
    dv[i] = row[kVelocity + i] + correction[3 + i];
    dp[i] = row[kPosition + i] + correction[6 + i];
  }
}

// The NavState after the interval, with gravity g (3) in the world's frame and the biases of `state`:
//   R_j = R_i dR,  v_j = v_i + g t + R_i dv,  p_j = p_i + v_i t + g t^2 / 2 + R_i dp.
template <typename T>
PP_HD void predict(const T* state, const T* row, const T* gravity, T* out) {
  T dq[4], dv[3], dp[3], wv[3], wp[3], q[4];
  const T t = row[preintegrated::kDt];
  corrected_delta(row, state + nav_state::kBias, dq, dv, dp);
  quat_rotate(state + nav_state::kRotation, dv, wv);
  quat_rotate(state + nav_state::kRotation, dp, wp);
  quat_mul(state + nav_state::kRotation, dq, q);
  for (int i = 0; i < 3; ++i) {
    const T v = state[nav_state::kVelocity + i];
    const T p = state[nav_state::kPosition + i];
    out[nav_state::kPosition + i] = p + t * (v + T(0.5) * gravity[i] * t) + wp[i];
    out[nav_state::kVelocity + i] = v + gravity[i] * t + wv[i];
  }
  const T n = T(1.5) - T(0.5) * (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (int i = 0; i < 4; ++i) out[nav_state::kRotation + i] = n * q[i];
  for (int i = 0; i < 6; ++i) out[nav_state::kBias + i] = state[nav_state::kBias + i];
}

}  // namespace pypose
