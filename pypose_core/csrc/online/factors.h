// Residuals and Jacobians of the factors in a fixed-lag window; see pypose_core/online/window.py for the
// equations. States are rows of 16, perturbed by [rotation (right), velocity, position, biases].
#pragma once

#include "inertial/preintegration.h"
#include "lie/so3.h"
#include "online/dense.h"

namespace pypose {

constexpr int kDof = 15;

template <typename T>
inline void transpose3(const T* A, T* B) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) B[3 * i + j] = A[3 * j + i];
}

// Block (row, column) of a matrix with N columns <- scale * B (3 x 3).
template <int N, typename T>
inline void put3(T* J, int row, int column, const T* B, T scale = T(1)) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) J[N * (row + i) + column + j] = scale * B[3 * i + j];
}

inline void retract(const double* x, const double* d, double* out) {
  double dq[4], q[4];
  so3_exp(d, dq);
  quat_mul(x + nav_state::kRotation, dq, q);
  const double norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (int i = 0; i < 4; ++i) out[nav_state::kRotation + i] = q[i] / norm;
  for (int i = 0; i < 3; ++i) {
    out[nav_state::kVelocity + i] = x[nav_state::kVelocity + i] + d[3 + i];
    out[nav_state::kPosition + i] = x[nav_state::kPosition + i] + d[6 + i];
  }
  for (int i = 0; i < 6; ++i) out[nav_state::kBias + i] = x[nav_state::kBias + i] + d[9 + i];
}

// The 15 numbers that move `origin` to x: the inverse of retract.
inline void local(const double* origin, const double* x, double* d) {
  double inverse[4], dq[4];
  quat_conj(origin + nav_state::kRotation, inverse);
  quat_mul(inverse, x + nav_state::kRotation, dq);
  so3_log(dq, d);
  for (int i = 0; i < 3; ++i) {
    d[3 + i] = x[nav_state::kVelocity + i] - origin[nav_state::kVelocity + i];
    d[6 + i] = x[nav_state::kPosition + i] - origin[nav_state::kPosition + i];
  }
  for (int i = 0; i < 6; ++i) d[9 + i] = x[nav_state::kBias + i] - origin[nav_state::kBias + i];
}

// Unwhitened IMU residual r (15), with gravity (3) in the world; Jacobians Ji, Jj (15 x 15) where they are not null.
template <typename T>
inline void imu_factor(const T* xi, const T* xj, const T* row, const T* gravity, T* r, T* Ji, T* Jj) {
  const T dt = row[preintegrated::kDt];
  T dq[4], dv[3], dp[3];
  corrected_delta(row, xi + nav_state::kBias, dq, dv, dp);

  T q_ij[4], dq_inverse[4], qi_inverse[4], q_error[4];
  quat_conj(xi + nav_state::kRotation, qi_inverse);
  quat_mul(qi_inverse, xj + nav_state::kRotation, q_ij);
  quat_conj(dq, dq_inverse);
  quat_mul(dq_inverse, q_ij, q_error);
  so3_log(q_error, r);

  T moved_v[3], moved_p[3], body_v[3], body_p[3];
  for (int i = 0; i < 3; ++i) {
    const T g = gravity[i], v = xi[nav_state::kVelocity + i];
    moved_v[i] = xj[nav_state::kVelocity + i] - v - g * dt;
    moved_p[i] = xj[nav_state::kPosition + i] - xi[nav_state::kPosition + i] - dt * (v + T(0.5) * g * dt);
  }
  quat_rotate(qi_inverse, moved_v, body_v);
  quat_rotate(qi_inverse, moved_p, body_p);
  for (int i = 0; i < 3; ++i) {
    r[3 + i] = body_v[i] - dv[i];
    r[6 + i] = body_p[i] - dp[i];
  }
  for (int i = 0; i < 6; ++i) r[9 + i] = xj[nav_state::kBias + i] - xi[nav_state::kBias + i];
  if (!Ji) return;

  std::fill(Ji, Ji + kDof * kDof, T(0));
  std::fill(Jj, Jj + kDof * kDof, T(0));
  T Jr_inv[9], R_ij[9], Ri_T[9], B[9], C[9];
  so3_Jr_inv(r, Jr_inv);
  quat_to_matrix(q_ij, R_ij);
  quat_to_matrix(qi_inverse, Ri_T);

  put3<kDof>(Jj, 0, 0, Jr_inv);
  transpose3(R_ij, B);
  mul3(Jr_inv, B, C);
  put3<kDof>(Ji, 0, 0, C, T(-1));

  // d r_rotation / d gyroscope bias = -Jr^-1(r) Exp(r)^T Jr(J db) J
  T db[3], correction[3], E[9], Jr[9];
  const T* J = row + preintegrated::kJacobian;
  for (int i = 0; i < 3; ++i) db[i] = xi[nav_state::kBias + i] - row[preintegrated::kBias + i];
  for (int i = 0; i < 3; ++i) correction[i] = J[6 * i] * db[0] + J[6 * i + 1] * db[1] + J[6 * i + 2] * db[2];
  quat_to_matrix(q_error, E);
  transpose3(E, B);
  mul3(Jr_inv, B, C);
  so3_Jr(correction, Jr);
  mul3(C, Jr, B);
  T J_rotation[9];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) J_rotation[3 * i + j] = J[6 * i + j];
  mul3(B, J_rotation, C);
  put3<kDof>(Ji, 0, 9, C, T(-1));

  hat(body_v, B);
  put3<kDof>(Ji, 3, 0, B);
  hat(body_p, B);
  put3<kDof>(Ji, 6, 0, B);
  put3<kDof>(Ji, 3, 3, Ri_T, T(-1));
  put3<kDof>(Jj, 3, 3, Ri_T);
  put3<kDof>(Ji, 6, 3, Ri_T, -dt);
  put3<kDof>(Ji, 6, 6, Ri_T, T(-1));
  put3<kDof>(Jj, 6, 6, Ri_T);
  for (int i = 3; i < 9; ++i)
    for (int j = 0; j < 6; ++j) Ji[kDof * i + 9 + j] = -J[6 * i + j];
  for (int i = 9; i < 15; ++i) {
    Ji[kDof * i + i] = T(-1);
    Jj[kDof * i + i] = T(1);
  }
}

// Unwhitened residual [rotation, position] (6) of a measured pose, Jacobian J (6 x 15) where not null.
inline void pose_factor(const double* x, const double* measured, double* r, double* J) {
  double inverse[4], q[4];
  quat_conj(measured + 3, inverse);
  quat_mul(inverse, x + nav_state::kRotation, q);
  so3_log(q, r);
  for (int i = 0; i < 3; ++i) r[3 + i] = x[nav_state::kPosition + i] - measured[i];
  if (!J) return;
  std::fill(J, J + 6 * kDof, 0.0);
  double B[9];
  so3_Jr_inv(r, B);
  put3<kDof>(J, 0, 0, B);
  for (int i = 0; i < 3; ++i) J[kDof * (3 + i) + 6 + i] = 1.0;
}

// Unwhitened residual [rotation, position] (6) of a measured relative pose.
inline void relative_factor(const double* xi, const double* xj, const double* measured, double* r,
                            double* Ji, double* Jj) {
  double qi_inverse[4], q_ij[4], inverse[4], q[4], moved[3], body[3];
  quat_conj(xi + nav_state::kRotation, qi_inverse);
  quat_mul(qi_inverse, xj + nav_state::kRotation, q_ij);
  quat_conj(measured + 3, inverse);
  quat_mul(inverse, q_ij, q);
  so3_log(q, r);
  for (int i = 0; i < 3; ++i) moved[i] = xj[i] - xi[i];
  quat_rotate(qi_inverse, moved, body);
  for (int i = 0; i < 3; ++i) r[3 + i] = body[i] - measured[i];
  if (!Ji) return;
  std::fill(Ji, Ji + 6 * kDof, 0.0);
  std::fill(Jj, Jj + 6 * kDof, 0.0);
  double Jr_inv[9], R[9], B[9], C[9];
  so3_Jr_inv(r, Jr_inv);
  put3<kDof>(Jj, 0, 0, Jr_inv);
  quat_to_matrix(q_ij, R);
  transpose3(R, B);
  mul3(Jr_inv, B, C);
  put3<kDof>(Ji, 0, 0, C, -1.0);
  hat(body, B);
  put3<kDof>(Ji, 3, 0, B);
  quat_to_matrix(qi_inverse, R);
  put3<kDof>(Ji, 3, 6, R, -1.0);
  put3<kDof>(Jj, 3, 6, R);
}

// Unwhitened residual (3) of the base's velocity along its own axes; Jacobian J (3 x 15) where not null.
inline void velocity_factor(const double* x, const double* rate, const double* measured, const double* T_imu_base,
                            double* r, double* J) {
  double Rt[9], R_base_imu[9], q[4], in_imu[3], unbiased[3], swing[3], B[9], C[9];
  quat_conj(x + nav_state::kRotation, q);
  quat_to_matrix(q, Rt);
  quat_conj(T_imu_base + 3, q);
  quat_to_matrix(q, R_base_imu);
  multiply<3, 3, 1>(Rt, x + nav_state::kVelocity, in_imu);
  for (int i = 0; i < 3; ++i) unbiased[i] = rate[i] - x[nav_state::kBias + i];
  cross(unbiased, T_imu_base, swing);
  double total[3] = {in_imu[0] + swing[0], in_imu[1] + swing[1], in_imu[2] + swing[2]};
  multiply<3, 3, 1>(R_base_imu, total, r);
  for (int i = 0; i < 3; ++i) r[i] -= measured[i];
  if (!J) return;
  std::fill(J, J + 3 * kDof, 0.0);
  hat(in_imu, B);
  mul3(R_base_imu, B, C);
  put3<kDof>(J, 0, 0, C);
  mul3(R_base_imu, Rt, C);
  put3<kDof>(J, 0, 3, C);
  hat(T_imu_base, B);                       // d (rate - bias) x t / d bias = [t]x
  mul3(R_base_imu, B, C);
  put3<kDof>(J, 0, 9, C);
}

}  // namespace pypose
