// SE_2(3), extended poses [t, q, v], as a group of row functions (see se3.h).
#pragma once

#include "lie/se3.h"

namespace pypose {

struct SE23 {
  static constexpr int width = 10, dof = 9, point = 3, size = 5, unit = 3, unit_length = 4;

  template <typename T> static PP_HD void exp(const T* x, T* X) {
    const Stumpff<T> c = stumpff(dot3(x + 3, x + 3));
    v_times(c, x + 3, x, X);
    so3_exp(x + 3, X + 3);
    v_times(c, x + 3, x + 6, X + 7);
  }
  template <typename T> static PP_HD void log(const T* X, T* x) {
    so3_log(X + 3, x + 3);
    const Stumpff<T> c = stumpff(dot3(x + 3, x + 3));
    v_inverse_times(c, x + 3, X, x);
    v_inverse_times(c, x + 3, X + 7, x + 6);
  }
  template <typename T> static PP_HD void inv(const T* X, T* Y) {
    SE3::inv(X, Y);
    T v[3];
    quat_rotate(Y + 3, X + 7, v);
    for (int i = 0; i < 3; ++i) Y[7 + i] = -v[i];
  }
  template <typename T> static PP_HD void mul(const T* X, const T* Y, T* Z) {
    T v[3];
    quat_rotate(X + 3, Y + 7, v);
    SE3::mul(X, Y, Z);
    add3(X + 7, v, Z + 7);
  }
  template <typename T> static PP_HD void act(const T* X, const T* p, T* out) { SE3::act(X, p, out); }
  template <typename T> static PP_HD void act_homogeneous(const T* X, const T* p, T* out) {
    SE3::act_homogeneous(X, p, out);
  }
  template <typename T> static PP_HD void adj(const T* X, const T* a, T* out) {
    T nu[3], turned[3];
    SE3::adj(X, a, out);
    quat_rotate(X + 3, a + 6, nu);
    cross(X + 7, out + 3, turned);
    add3(nu, turned, out + 6);
  }
  template <typename T> static PP_HD void adjt(const T* X, const T* a, T* out) {
    T turned[3], rest[3];
    cross(X + 7, a + 3, turned);
    subtract3(a + 6, turned, rest);
    quat_rotate_inv(X + 3, rest, out + 6);
    SE3::adjt(X, a, out);
  }
  template <typename T> static PP_HD void jlp(const T* x, const T* b, T* out) {
    const T* phi = x + 3;
    const Stumpff<T> c = stumpff(dot3(phi, phi));
    v_times(c, phi, b + 3, out + 3);
    vector_jlp(c, phi, x, b, b + 3, out + 3, out);
    vector_jlp(c, phi, x + 6, b + 6, b + 3, out + 3, out + 6);
  }
  template <typename T> static PP_HD void jinvp(const T* X, const T* a, T* out) {
    T phi[3], rho[3], nu[3];
    so3_log(X + 3, phi);
    const Stumpff<T> c = stumpff(dot3(phi, phi));
    v_inverse_times(c, phi, X, rho);
    v_inverse_times(c, phi, X + 7, nu);
    v_inverse_times(c, phi, a + 3, out + 3);
    vector_jl_invp(c, phi, rho, X, a, a + 3, out + 3, out);
    vector_jl_invp(c, phi, nu, X + 7, a + 6, a + 3, out + 3, out + 6);
  }
  template <typename T> static PP_HD void matrix(const T* X, T* out) {
    const T* columns[] = {X + 7, X};
    homogeneous(T(1), X + 3, columns, 2, out);
  }
  template <typename T> static PP_HD void left_tangent(const T* X, const T* g, T* out) {
    T turned[3];
    SE3::left_tangent(X, g, out);
    cross(X + 7, g + 7, turned);
    add3(turned, out + 3, out + 3);
    copy3(g + 7, out + 6);
  }
  template <typename T> static PP_HD void euler(const T* X, T* out) { quat_euler(X + 3, out); }
};

}  // namespace pypose
