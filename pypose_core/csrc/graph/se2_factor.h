// Rigid motions of the plane as variables of a graph: X = [x y | cos sin], tangent [rho, theta], perturbed on the
// right: X Exp(d). The residual is Log(E), as in GTSAM; g2o itself has [x, y, theta] of E.
#pragma once

#include <cmath>

#include "lie/so3.h"

namespace pypose {

struct Se2 {
  static constexpr int kStorage = 4, kDof = 3;

  template <typename S>
  static void between(const S* A, const S* B, S* out) {
    const S x = B[0] - A[0], y = B[1] - A[1], c = A[2] * B[2] + A[3] * B[3], s = A[2] * B[3] - A[3] * B[2];
    out[0] = A[2] * x + A[3] * y, out[1] = -A[3] * x + A[2] * y, out[2] = c, out[3] = s;
  }

  template <typename S>
  static void compose(const S* A, const S* B, S* out) {
    const S x = A[0] + A[2] * B[0] - A[3] * B[1], y = A[1] + A[3] * B[0] + A[2] * B[1];
    const S c = A[2] * B[2] - A[3] * B[3], s = A[3] * B[2] + A[2] * B[3];
    out[0] = x, out[1] = y, out[2] = c, out[3] = s;
  }

  template <typename S>
  static void inverse(const S* A, S* out) {
    const S x = -(A[2] * A[0] + A[3] * A[1]), y = A[3] * A[0] - A[2] * A[1];
    out[0] = x, out[1] = y, out[2] = A[2], out[3] = -A[3];
  }

  // out = X Exp(d), the rotation renormalised.
  template <typename S>
  static void retract(const S* X, const S* d, S* out) {
    const Stumpff<S> k = stumpff(d[2] * d[2]);
    const S b = d[2] * k.c2;
    const S step[4] = {k.c1 * d[0] - b * d[1], b * d[0] + k.c1 * d[1], k.c0, d[2] * k.c1};
    compose(X, step, out);
    using std::sqrt;
    const S norm = sqrt(out[2] * out[2] + out[3] * out[3]);
    out[2] /= norm, out[3] /= norm;
  }

  // r = Log(E): [V^-1 t, theta] with V^-1 = [[a, theta/2], [-theta/2, a]], a = theta/2 cot(theta/2).
  template <typename S>
  static void log(const S* E, S* r) {
    using std::atan2;
    const S theta = atan2(E[3], E[2]), x = theta * theta;
    const S a = 1 - x * so3_jinv_coefficient(stumpff(x)), b = theta / 2;
    r[0] = a * E[0] + b * E[1], r[1] = -b * E[0] + a * E[1], r[2] = theta;
  }

  // J (3x3): Log(E Exp(d)) = r + J d, r = Log(E): the inverse of the right Jacobian [[V^T, u], [0, 1]].
  // Source: Sola, Deray, Atchuthan, "A micro Lie theory", arXiv 1812.01537, (163), in Stumpff coefficients.
  template <typename S>
  static void right_jacobian(const S* E, const S* r, S* J) {
    const S theta = r[2];
    const Stumpff<S> k = stumpff(theta * theta);
    const S a = 1 - theta * theta * so3_jinv_coefficient(k), b = theta / 2;
    const S u[2] = {theta * k.c3 * r[0] - k.c2 * r[1], k.c2 * r[0] + theta * k.c3 * r[1]};
    J[0] = a, J[1] = -b, J[2] = -a * u[0] + b * u[1];
    J[3] = b, J[4] = a, J[5] = -b * u[0] - a * u[1];
    J[6] = 0, J[7] = 0, J[8] = 1;
  }

  // Ji = -Jj Ad(T^-1) for T = Xi^-1 Xj.
  template <typename S>
  static void first_jacobian(const S* T, const S* Jj, S* Ji) {
    const S c = T[2], s = T[3];
    // Ad(T^-1) with T^-1 = [R^T, p]: [[R^T, (p_y, -p_x)], [0, 1]]
    S p[4];
    inverse(T, p);
    const S Ad[9] = {c, s, p[1], -s, c, -p[0], 0, 0, 1};
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j)
        Ji[3 * i + j] = -(Jj[3 * i] * Ad[j] + Jj[3 * i + 1] * Ad[3 + j] + Jj[3 * i + 2] * Ad[6 + j]);
  }
};

}  // namespace pypose
