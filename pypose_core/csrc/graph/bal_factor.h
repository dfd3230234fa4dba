// A point seen by a camera of "Bundle Adjustment in the Large": T_world_camera [t, q], lens [f, k1, k2]. With
// u = R^T (X - t) and p = -(u_x, u_y) / u_z the residual is f (1 + k1 |p|^2 + k2 |p|^4) p - z.
#pragma once

#include "inertial/matrix3.h"
#include "lie/so3.h"

namespace pypose {

struct Bal {
  static constexpr int kResidual = 2, kPose = 6, kLens = 3, kPoint = 3, kColumns = kPose + kLens + kPoint;

  // r (2), and where J (2 x 12, row-major) is not null its derivatives by the pose [rho, phi] (right), lens and point.
  static void residual(const double* pose, const double* lens, const double* X, const double* z, double* r, double* J) {
    double R[9], u[3];
    quat_to_matrix(pose + 3, R);
    const double d[3] = {X[0] - pose[0], X[1] - pose[1], X[2] - pose[2]};
    for (int k = 0; k < 3; ++k) u[k] = R[k] * d[0] + R[3 + k] * d[1] + R[6 + k] * d[2];
    const double inverse = -1 / u[2], p[2] = {u[0] * inverse, u[1] * inverse}, s = p[0] * p[0] + p[1] * p[1];
    const double f = lens[0], distortion = 1 + s * (lens[1] + lens[2] * s);
    for (int k = 0; k < 2; ++k) r[k] = f * distortion * p[k] - z[k];
    if (!J) return;
    const double slope = 2 * f * (lens[1] + 2 * lens[2] * s);
    for (int k = 0; k < 2; ++k) {
      double* row = J + kColumns * k;
      // by p, by u, then by the point
      const double by_p[2] = {slope * p[k] * p[0] + (k == 0) * f * distortion,
                              slope * p[k] * p[1] + (k == 1) * f * distortion};
      const double by_u[3] = {by_p[0] * inverse, by_p[1] * inverse, (by_p[0] * p[0] + by_p[1] * p[1]) * inverse};
      for (int c = 0; c < 3; ++c) row[c] = -by_u[c];                                     // du = -rho
      cross(by_u, u, row + 3);                                                           // du = u x phi
      row[6] = distortion * p[k], row[7] = f * s * p[k], row[8] = f * s * s * p[k];
      for (int c = 0; c < 3; ++c)
        row[9 + c] = by_u[0] * R[3 * c] + by_u[1] * R[3 * c + 1] + by_u[2] * R[3 * c + 2];
    }
  }
};

}  // namespace pypose
