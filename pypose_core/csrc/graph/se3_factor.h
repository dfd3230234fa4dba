// Rigid motions [t, q] as variables of a graph: X = [x y z | qx qy qz qw], tangent [rho, phi], perturbed on the
// right: X Exp(d).
#pragma once

#include "inertial/matrix3.h"
#include "lie/so3.h"

namespace pypose {

struct Se3 {
  static constexpr int kStorage = 7, kDof = 6;

  // out = A^-1 B
  template <typename S>
  static void between(const S* A, const S* B, S* out) {
    const S d[3] = {B[0] - A[0], B[1] - A[1], B[2] - A[2]};
    S conj[4];
    quat_conj(A + 3, conj);
    quat_rotate(conj, d, out);
    quat_mul(conj, B + 3, out + 3);
  }

  // out = A B
  template <typename S>
  static void compose(const S* A, const S* B, S* out) {
    S t[3], q[4];
    quat_rotate(A + 3, B, t);
    quat_mul(A + 3, B + 3, q);
    for (int k = 0; k < 3; ++k) out[k] = A[k] + t[k];
    for (int k = 0; k < 4; ++k) out[3 + k] = q[k];
  }

  template <typename S>
  static void inverse(const S* A, S* out) {
    S conj[4], t[3];
    quat_conj(A + 3, conj);
    quat_rotate(conj, A, t);
    for (int k = 0; k < 3; ++k) out[k] = -t[k];
    for (int k = 0; k < 4; ++k) out[3 + k] = conj[k];
  }

  // out = X Exp(d), the quaternion renormalised.
  template <typename S>
  static void retract(const S* X, const S* d, S* out) {
    S J[9], step[7];
    so3_Jl(d + 3, J);
    for (int k = 0; k < 3; ++k) step[k] = dot3(J + 3 * k, d);
    so3_exp(d + 3, step + 3);
    compose(X, step, out);
    using std::sqrt;
    const S norm = sqrt(out[3] * out[3] + out[4] * out[4] + out[5] * out[5] + out[6] * out[6]);
    for (int k = 3; k < 7; ++k) out[k] /= norm;
  }

  // r = Log(E)
  template <typename S>
  static void log(const S* E, S* r) {
    S J[9];
    so3_log(E + 3, r + 3);
    so3_Jl_inv(r + 3, J);
    for (int k = 0; k < 3; ++k) r[k] = dot3(J + 3 * k, E);
  }

  // J (6x6): Log(E Exp(d)) = r + J d, r = Log(E): the inverse right Jacobian [[A, -A Q A], [0, A]].
  // Source: Barfoot, State Estimation for Robotics, (7.86) at -r, in Stumpff coefficients.
  template <typename T>
  static void right_jacobian(const T* /* E */, const T* r, T* J) {
    const T *rho = r, *phi = r + 3;
    const Stumpff<T> s = stumpff(dot3(phi, phi));
    T A[9], P[9], H[9], PH[9], HP[9], HPH[9], HHP[9], PHH[9], B[9], Q[9];
    hat_polynomial(T(1), T(0.5), so3_jinv_coefficient(s), phi, A);
    hat(rho, P);
    hat(phi, H);
    mul3(P, H, PH), mul3(H, P, HP), mul3(HP, H, HPH), mul3(H, HP, HHP), mul3(PH, H, PHH);
    const T c = T(0.5) * (s.c4 - T(3) * s.c5);
    T HPHH[9], HHPH[9];
    mul3(HPH, H, HPHH), mul3(HHP, H, HHPH);
    for (int k = 0; k < 9; ++k)   // terms of odd degree change sign at -r
      Q[k] = T(-0.5) * P[k] + s.c3 * (HP[k] + PH[k] - HPH[k]) - s.c4 * (HHP[k] + PHH[k] - T(3) * HPH[k]) +
             c * (HPHH[k] + HHPH[k]);
    mul3(A, Q, B), mul3(B, A, Q, T(-1));
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        J[6 * i + j] = J[6 * (i + 3) + j + 3] = A[3 * i + j];
        J[6 * i + j + 3] = Q[3 * i + j];
        J[6 * (i + 3) + j] = T(0);
      }
  }

  // Ji = -Jj Ad(T^-1) for T = Xi^-1 Xj: what a perturbation of Xi does, from what one of Xj does.
  template <typename S>
  static void first_jacobian(const S* T, const S* Jj, S* Ji) {
    S R[9], Rt[9], tR[9];
    quat_to_matrix(T + 3, R);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) Rt[3 * i + j] = -R[3 * j + i];
    // -R^T t^ = (t^ R)^T, and the sign of Ji is in Rt already
    S that[9];
    hat(T, that);
    mul3(Rt, that, tR, S(-1));
    S A[9], B[9], left[9], right[9], more[9];
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) A[3 * i + j] = Jj[6 * i + j], B[3 * i + j] = Jj[6 * i + j + 3];
    mul3(A, Rt, left), mul3(A, tR, right), mul3(B, Rt, more);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        Ji[6 * i + j] = Ji[6 * (i + 3) + j + 3] = left[3 * i + j];
        Ji[6 * i + j + 3] = right[3 * i + j] + more[3 * i + j];
        Ji[6 * (i + 3) + j] = 0;
      }
  }
};

}  // namespace pypose
