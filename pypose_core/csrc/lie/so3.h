// Rotations as unit quaternions (x, y, z, w) and rotation vectors phi; 3x3 matrices are row-major.
// Any output may be one of the inputs.
#pragma once

#include "lie/atan_ratio.h"
#include "lie/dual.h"
#include "lie/host_device.h"
#include "lie/stumpff.h"

namespace pypose {

// out = a x b
template <typename T>
PP_HD void cross(const T* a, const T* b, T* out) {
  const T x = a[1] * b[2] - a[2] * b[1];
  const T y = a[2] * b[0] - a[0] * b[2];
  const T z = a[0] * b[1] - a[1] * b[0];
  out[0] = x, out[1] = y, out[2] = z;
}

template <typename T>
PP_HD T dot3(const T* a, const T* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// out (9) = [v]x, so that [v]x u = v x u
template <typename T>
PP_HD void hat(const T* v, T* out) {
  const T x = v[0], y = v[1], z = v[2];
  out[0] = T(0), out[1] = -z, out[2] = y;
  out[3] = z, out[4] = T(0), out[5] = -x;
  out[6] = -y, out[7] = x, out[8] = T(0);
}

// out = a o b, Hamilton product: R(out) = R(a) R(b)
template <typename T>
PP_HD void quat_mul(const T* a, const T* b, T* out) {
  const T x = a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1];
  const T y = a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0];
  const T z = a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3];
  const T w = a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2];
  out[0] = x, out[1] = y, out[2] = z, out[3] = w;
}

template <typename T>
PP_HD void quat_conj(const T* q, T* out) {
  const T x = -q[0], y = -q[1], z = -q[2], w = q[3];
  out[0] = x, out[1] = y, out[2] = z, out[3] = w;
}

// out = R(q) v = v + 2 w (u x v) + 2 u x (u x v), u the vector part
template <typename T>
PP_HD void quat_rotate(const T* q, const T* v, T* out) {
  T a[3], b[3];
  cross(q, v, a);
  a[0] = a[0] + a[0], a[1] = a[1] + a[1], a[2] = a[2] + a[2];
  cross(q, a, b);
  const T x = v[0] + q[3] * a[0] + b[0];
  const T y = v[1] + q[3] * a[1] + b[1];
  const T z = v[2] + q[3] * a[2] + b[2];
  out[0] = x, out[1] = y, out[2] = z;
}

// out = R(q)^T v
template <typename T>
PP_HD void quat_rotate_inv(const T* q, const T* v, T* out) {
  T conj[4];
  quat_conj(q, conj);
  quat_rotate(conj, v, out);
}

// out (9) = R(q)
template <typename T>
PP_HD void quat_to_matrix(const T* q, T* out) {
  const T x = q[0], y = q[1], z = q[2], w = q[3], two = T(2);
  out[0] = T(1) - two * (y * y + z * z), out[1] = two * (x * y - w * z), out[2] = two * (x * z + w * y);
  out[3] = two * (x * y + w * z), out[4] = T(1) - two * (x * x + z * z), out[5] = two * (y * z - w * x);
  out[6] = two * (x * z - w * y), out[7] = two * (y * z + w * x), out[8] = T(1) - two * (x * x + y * y);
}

// out = [phi sin(theta/2)/theta, cos(theta/2)]
template <typename T>
PP_HD void so3_exp(const T* phi, T* out) {
  const Stumpff<T> s = stumpff(dot3(phi, phi) * T(0.25));
  const T half = s.c1 * T(0.5);
  out[0] = half * phi[0], out[1] = half * phi[1], out[2] = half * phi[2], out[3] = s.c0;
}

// out = 2 atan2(n, |w|)/n sign(w) u, n = |u|: the rotation vector with |out| <= pi; q and -q give the same.
template <typename T>
PP_HD void so3_log(const T* q, T* out) {
  const auto flip = primal(q[3]) < 0;
  T factor = T(2) * atan_ratio(dot3(q, q), select(flip, T(-q[3]), q[3]));
  factor = select(flip, T(-factor), factor);
  out[0] = factor * q[0], out[1] = factor * q[1], out[2] = factor * q[2];
}

// out (9) = a I + b [phi]x + c [phi]x^2
template <typename T>
PP_HD void hat_polynomial(const T& a, const T& b, const T& c, const T* phi, T* out) {
  const T x = phi[0], y = phi[1], z = phi[2];
  const T xx = c * x * x, yy = c * y * y, zz = c * z * z, xy = c * x * y, xz = c * x * z, yz = c * y * z;
  out[0] = a - yy - zz, out[1] = xy - b * z, out[2] = xz + b * y;
  out[3] = xy + b * z, out[4] = a - xx - zz, out[5] = yz - b * x;
  out[6] = xz - b * y, out[7] = yz + b * x, out[8] = a - xx - yy;
}

// Coefficient of [phi]x^2 in the inverse Jacobians: (1 - (theta/2) cot(theta/2))/theta^2 = (c_3 - 2 c_4)/(2 c_2),
// which has no cancellation at 0; singular at theta = 2 pi, as the Jacobian is.
template <typename T>
PP_HD T so3_jinv_coefficient(const Stumpff<T>& s) {
  return (s.c3 - T(2) * s.c4) / (T(2) * s.c2);
}

// out (9): Exp(phi + d) = Exp(Jl d) Exp(phi).  Source: Barfoot, State Estimation for Robotics, (7.77).
template <typename T>
PP_HD void so3_Jl(const T* phi, T* out) {
  const Stumpff<T> s = stumpff(dot3(phi, phi));
  hat_polynomial(T(1), s.c2, s.c3, phi, out);
}

// out (9): Exp(phi + d) = Exp(phi) Exp(Jr d)
template <typename T>
PP_HD void so3_Jr(const T* phi, T* out) {
  const Stumpff<T> s = stumpff(dot3(phi, phi));
  hat_polynomial(T(1), -s.c2, s.c3, phi, out);
}

template <typename T>
PP_HD void so3_Jl_inv(const T* phi, T* out) {
  const Stumpff<T> s = stumpff(dot3(phi, phi));
  hat_polynomial(T(1), T(-0.5), so3_jinv_coefficient(s), phi, out);
}

template <typename T>
PP_HD void so3_Jr_inv(const T* phi, T* out) {
  const Stumpff<T> s = stumpff(dot3(phi, phi));
  hat_polynomial(T(1), T(0.5), so3_jinv_coefficient(s), phi, out);
}

}  // namespace pypose
