// IMU-rate output: from the last optimized keyframe, through the samples since, to pose and twist of the base.
// What it computes is defined by the reference in pypose_core/online/propagation.py.
#pragma once

#include "online/factors.h"

namespace pypose {

// One block of numbers that Python and C++ share; the same offsets in pypose_core/online/packed.py.
namespace workspace {
constexpr int kAnchor = 0, kAnchorCovariance = 16, kRow = 241, kNoise = 537, kGravity = 545, kExtrinsic = 546,
              kSample = 553, kState = 559, kCovariance = 575, kPose = 800, kLinear = 807, kAngular = 810,
              kPoseCovariance = 813, kTwistCovariance = 849, kMaxVelocity = 885, kDensity = 886, kSize = 892;
}

// Noise of one interval whose axes have densities of their own; a gap longer than noise[5] adds what the signal may
// have done unseen: a deviation of noise[6] (rate) and noise[7] (specific force), held for the whole gap.
struct IntervalNoise {
  double psd[6], gyroscope_walk, accelerometer_walk, integration;

  // noise: the workspace's eight numbers. psd_of_axes: (6) squared densities, or null for noise[0] and noise[1].
  IntervalNoise(const double* noise, const double* psd_of_axes, double dt)
      : gyroscope_walk(noise[2] * noise[2]), accelerometer_walk(noise[3] * noise[3]), integration(noise[4] * noise[4]) {
    const bool gap = dt > noise[5];
    for (int i = 0; i < 6; ++i) {
      const double sigma = noise[i < 3 ? 0 : 1], unseen = noise[i < 3 ? 6 : 7];
      psd[i] = (psd_of_axes ? psd_of_axes[i] : sigma * sigma) + (gap ? unseen * unseen * dt : 0.0);
    }
  }

  void white(const double* Jr, const double* R, double dt, double* S, double* V) const {
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        S[3 * i + j] = V[3 * i + j] = 0;
        for (int k = 0; k < 3; ++k) {
          S[3 * i + j] += psd[k] * dt * Jr[3 * i + k] * Jr[3 * j + k];
          V[3 * i + j] += psd[3 + k] * R[3 * i + k] * R[3 * j + k];
        }
      }
  }
  double integration_at(int i, int j) const { return i == j ? integration : 0; }
  double gyroscope_walk_at(int i, int j) const { return i == j ? gyroscope_walk : 0; }
  double accelerometer_walk_at(int i, int j) const { return i == j ? accelerometer_walk : 0; }
};

// One interval with the mean measurement of its two ends, the attitude taken in its middle: the specific force is
// turned by half the interval's rotation first. With the attitude of the start, a turn at 1 rad/s under gravity
// leaves an error of 0.025 m/s^2 at 200 Hz; with the middle one it is of second order in dt.
inline void integrate_interval(double* row, double dt, const double* mean, const double* noise,
                               const double* psd_of_axes) {
  const double* bias = row + preintegrated::kBias;
  double half[3], q[4], accel[3];
  for (int i = 0; i < 3; ++i) {
    half[i] = 0.5 * dt * (mean[i] - bias[i]);
    accel[i] = mean[3 + i] - bias[3 + i];
  }
  so3_exp(half, q);
  quat_rotate(q, accel, accel);
  for (int i = 0; i < 3; ++i) accel[i] += bias[3 + i];
  preintegrate_step(row, dt, mean, accel, IntervalNoise(noise, psd_of_axes, dt));
}

// Jacobian (15 x 15) of the predicted state to the state it starts from, and G (15 x 15) to the row's errors.
inline void prediction_jacobians(const double* anchor, const double* row, double* F, double* G) {
  std::fill(F, F + kDof * kDof, 0.0);
  std::fill(G, G + kDof * kDof, 0.0);
  double dq[4], dv[3], dp[3], R[9], dR[9], B[9], C[9];
  corrected_delta(row, anchor + nav_state::kBias, dq, dv, dp);
  quat_to_matrix(anchor + nav_state::kRotation, R);
  quat_to_matrix(dq, dR);
  const double dt = row[preintegrated::kDt];
  const double* J = row + preintegrated::kJacobian;

  transpose3(dR, B);
  put3<kDof>(F, 0, 0, B);
  hat(dv, B);
  mul3(R, B, C);
  put3<kDof>(F, 3, 0, C, -1.0);
  hat(dp, B);
  mul3(R, B, C);
  put3<kDof>(F, 6, 0, C, -1.0);
  for (int i = 3; i < 15; ++i) F[kDof * i + i] = 1.0;
  for (int i = 0; i < 3; ++i) F[kDof * (6 + i) + 3 + i] = dt;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 6; ++j) {
      double v = 0, p = 0;
      for (int k = 0; k < 3; ++k) {
        v += R[3 * i + k] * J[6 * (3 + k) + j];
        p += R[3 * i + k] * J[6 * (6 + k) + j];
      }
      F[kDof * i + 9 + j] = J[6 * i + j];
      F[kDof * (3 + i) + 9 + j] = v;
      F[kDof * (6 + i) + 9 + j] = p;
    }
  for (int i = 0; i < 3; ++i) G[kDof * i + i] = 1.0;
  put3<kDof>(G, 3, 3, R);
  put3<kDof>(G, 6, 6, R);
  for (int i = 9; i < 15; ++i) G[kDof * i + i] = 1.0;
}

// The NavState now, and its covariance, from anchor and row.
inline void predict_now(double* w) {
  const double gravity[3] = {0, 0, -w[workspace::kGravity]};
  predict(w + workspace::kAnchor, w + workspace::kRow, gravity, w + workspace::kState);
  double F[kDof * kDof], G[kDof * kDof], Q[kDof * kDof];
  prediction_jacobians(w + workspace::kAnchor, w + workspace::kRow, F, G);
  congruence<kDof, kDof>(F, w + workspace::kAnchorCovariance, w + workspace::kCovariance);
  congruence<kDof, kDof>(G, w + workspace::kRow + preintegrated::kCovariance, Q);
  for (int i = 0; i < kDof * kDof; ++i) w[workspace::kCovariance + i] += Q[i];
}

// Pose T_odom_base, twist in the base frame, and both covariances in ROS order, from the NavState now.
// dt is the last interval: it sets the white noise of the angular velocity.
inline void output_of_base(double* w, double dt) {
  const double *x = w + workspace::kState, *q = x + nav_state::kRotation, *T_imu_base = w + workspace::kExtrinsic;
  double R[9], R_imu_base[9], R_base_imu[9], Rt[9], lever[3], C[9];
  quat_to_matrix(q, R);
  quat_to_matrix(T_imu_base + 3, R_imu_base);
  transpose3(R_imu_base, R_base_imu);
  transpose3(R, Rt);

  quat_rotate(q, T_imu_base, lever);
  for (int i = 0; i < 3; ++i) w[workspace::kPose + i] = x[nav_state::kPosition + i] + lever[i];
  quat_mul(q, T_imu_base + 3, w + workspace::kPose + 3);

  double rate[3], body_v[3], base_v[3];
  for (int i = 0; i < 3; ++i) rate[i] = w[workspace::kSample + i] - x[nav_state::kBias + i];
  const double* t = T_imu_base;
  multiply<3, 3, 1>(Rt, x + nav_state::kVelocity, body_v);
  const double swept[3] = {rate[1] * t[2] - rate[2] * t[1], rate[2] * t[0] - rate[0] * t[2],
                           rate[0] * t[1] - rate[1] * t[0]};
  for (int i = 0; i < 3; ++i) base_v[i] = body_v[i] + swept[i];
  multiply<3, 3, 1>(R_base_imu, base_v, w + workspace::kLinear);
  multiply<3, 3, 1>(R_base_imu, rate, w + workspace::kAngular);

  // ROS order: position, then rotation about the fixed axes of odom (R d_theta).
  double Jp[6 * kDof] = {}, Jt[6 * kDof] = {}, T[9];
  hat(t, T);
  mul3(R, T, C);
  put3<kDof>(Jp, 0, 0, C, -1.0);
  for (int i = 0; i < 3; ++i) Jp[kDof * i + 6 + i] = 1.0;
  put3<kDof>(Jp, 3, 0, R);
  congruence<6, kDof>(Jp, w + workspace::kCovariance, w + workspace::kPoseCovariance);

  double B[9], N[6 * 3];
  hat(body_v, B);
  mul3(R_base_imu, B, C);
  put3<kDof>(Jt, 0, 0, C);
  mul3(R_base_imu, Rt, C);
  put3<kDof>(Jt, 0, 3, C);
  mul3(R_base_imu, T, C);                    // swept = rate x t, so d swept = -[t]x d rate = [t]x d bias
  put3<kDof>(Jt, 0, 9, C);
  put3<kDof>(Jt, 3, 9, R_base_imu, -1.0);
  put3<3>(N, 0, 0, C);
  put3<3>(N, 3, 0, R_base_imu, -1.0);
  congruence<6, kDof>(Jt, w + workspace::kCovariance, w + workspace::kTwistCovariance);
  const double* density = w + workspace::kDensity;
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6 && dt > 0; ++j)
      for (int k = 0; k < 3; ++k)
        w[workspace::kTwistCovariance + 6 * i + j] += density[k] * density[k] / dt * N[3 * i + k] * N[3 * j + k];
}

}  // namespace pypose
