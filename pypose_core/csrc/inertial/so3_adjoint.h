// Reverse mode of the rotation functions that preintegration uses: each adds to x_bar the adjoint of
// its argument x.
#pragma once

#include "inertial/matrix3.h"
#include "lie/so3.h"

namespace pypose {

// q = Exp(phi) = [c1 phi / 2, c0] with the Stumpff functions at theta^2 / 4.
template <typename T>
PP_HD void so3_exp_adjoint(const T* phi, const T* q_bar, T* phi_bar) {
  const Stumpff<T> s = stumpff(dot3(phi, phi) * T(0.25));
  const T dc1 = (s.c3 - s.c2) * T(0.5), dc0 = s.c1 * T(-0.5);
  const T along = T(0.25) * dc1 * dot3(phi, q_bar) + T(0.5) * dc0 * q_bar[3];
  for (int i = 0; i < 3; ++i) phi_bar[i] += T(0.5) * s.c1 * q_bar[i] + along * phi[i];
}

// Jr(phi) = I - c2 W + c3 W^2 with W = [phi]x.
template <typename T>
PP_HD void so3_Jr_adjoint(const T* phi, const T* Jr_bar, T* phi_bar) {
  const Stumpff<T> s = stumpff(dot3(phi, phi));
  T W[9], W2[9], JW[9], WJ[9], W_bar[9];
  hat(phi, W);
  mul3(W, W, W2);
  mul3(Jr_bar, W, JW);
  mul3(W, Jr_bar, WJ);
  const T dc2 = (T(2) * s.c4 - s.c3) * T(0.5), dc3 = (T(3) * s.c5 - s.c4) * T(0.5);
  const T along = T(2) * (dot9(Jr_bar, W2) * dc3 - dot9(Jr_bar, W) * dc2);
  for (int i = 0; i < 9; ++i) W_bar[i] = -s.c2 * Jr_bar[i] - s.c3 * (JW[i] + WJ[i]);
  phi_bar[0] += W_bar[7] - W_bar[5] + along * phi[0];
  phi_bar[1] += W_bar[2] - W_bar[6] + along * phi[1];
  phi_bar[2] += W_bar[3] - W_bar[1] + along * phi[2];
}

// R = quat_to_matrix(q): of the polynomial, whatever the length of q.
template <typename T>
PP_HD void quat_to_matrix_adjoint(const T* q, const T* R_bar, T* q_bar) {
  const T x = q[0], y = q[1], z = q[2], w = q[3], two = T(2);
  const T xy = R_bar[1] + R_bar[3], xz = R_bar[2] + R_bar[6], yz = R_bar[5] + R_bar[7];
  const T wx = R_bar[7] - R_bar[5], wy = R_bar[2] - R_bar[6], wz = R_bar[3] - R_bar[1];
  q_bar[0] += two * (y * xy + z * xz + w * wx - two * x * (R_bar[4] + R_bar[8]));
  q_bar[1] += two * (x * xy + z * yz + w * wy - two * y * (R_bar[0] + R_bar[8]));
  q_bar[2] += two * (x * xz + y * yz + w * wz - two * z * (R_bar[0] + R_bar[4]));
  q_bar[3] += two * (x * wx + y * wy + z * wz);
}

// c = a o b: the product is bilinear, so a_bar += c_bar o b^-1 |b|^2 and b_bar += a^-1 |a|^2 o c_bar.
template <typename T>
PP_HD void quat_mul_adjoint(const T* a, const T* b, const T* c_bar, T* a_bar, T* b_bar) {
  T conj[4], out[4];
  quat_conj(b, conj);
  quat_mul(c_bar, conj, out);
  for (int i = 0; i < 4; ++i) a_bar[i] += out[i];
  quat_conj(a, conj);
  quat_mul(conj, c_bar, out);
  for (int i = 0; i < 4; ++i) b_bar[i] += out[i];
}

}  // namespace pypose
