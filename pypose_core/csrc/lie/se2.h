// SO2 and SE2 as groups of row functions (see se3.h): unit complex numbers (cos, sin).
#pragma once

#include "lie/se3.h"

namespace pypose {

// out = z v of complex numbers
template <typename T>
PP_HD void complex_mul(const T* z, const T* v, T* out) {
  const T x = z[0] * v[0] - z[1] * v[1], y = z[0] * v[1] + z[1] * v[0];
  out[0] = x, out[1] = y;
}

template <typename T>
PP_HD void complex_conj_mul(const T* z, const T* v, T* out) {
  const T x = z[0] * v[0] + z[1] * v[1], y = z[0] * v[1] - z[1] * v[0];
  out[0] = x, out[1] = y;
}

struct SO2 {
  static constexpr int width = 2, dof = 1, point = 2, size = 2, unit = 0, unit_length = 2;

  template <typename T> static PP_HD void exp(const T* x, T* X) {
    const T theta = x[0];
    sine_and_cosine(theta, X + 1, X);
  }
  template <typename T> static PP_HD void log(const T* X, T* x) {
    using std::atan2;
    x[0] = atan2(X[1], X[0]);
  }
  template <typename T> static PP_HD void inv(const T* X, T* Y) { Y[0] = X[0], Y[1] = -X[1]; }
  template <typename T> static PP_HD void mul(const T* X, const T* Y, T* Z) { complex_mul(X, Y, Z); }
  template <typename T> static PP_HD void act(const T* X, const T* p, T* out) { complex_mul(X, p, out); }
  template <typename T> static PP_HD void act_homogeneous(const T* X, const T* p, T* out) {
    complex_mul(X, p, out);
    out[2] = p[2];
  }
  template <typename T> static PP_HD void adj(const T*, const T* a, T* out) { out[0] = a[0]; }
  template <typename T> static PP_HD void adjt(const T*, const T* a, T* out) { out[0] = a[0]; }
  template <typename T> static PP_HD void jlp(const T*, const T* b, T* out) { out[0] = b[0]; }
  template <typename T> static PP_HD void jinvp(const T*, const T* a, T* out) { out[0] = a[0]; }
  template <typename T> static PP_HD void matrix(const T* X, T* out) {
    out[0] = X[0], out[1] = -X[1], out[2] = X[1], out[3] = X[0];
  }
  template <typename T> static PP_HD void left_tangent(const T* X, const T* g, T* out) {
    out[0] = X[0] * g[1] - X[1] * g[0];
  }
  template <typename T> static PP_HD void euler(const T* X, T* out) {
    out[0] = T(0), out[1] = T(0);
    log(X, out + 2);
  }
};

struct SE2 {
  static constexpr int width = 4, dof = 3, point = 2, size = 3, unit = 2, unit_length = 2;

  // (a I + b J) v
  template <typename T> static PP_HD void turn(const T& a, const T& b, const T* v, T* out) {
    const T z[2] = {a, b};
    complex_mul(z, v, out);
  }
  template <typename T> static PP_HD void v_inverse(const Stumpff<T>& c, const T& theta, const T* t, T* out) {
    turn(T(T(1) - theta * theta * so3_jinv_coefficient(c)), T(T(-0.5) * theta), t, out);
  }
  template <typename T> static PP_HD void v_slope(const Stumpff<T>& c, const T& theta, const T* rho, T* out) {
    turn(T(theta * (c.c3 - c.c2)), T(c.c2 + theta * theta * (T(2) * c.c4 - c.c3)), rho, out);
  }
  template <typename T> static PP_HD void exp(const T* x, T* X) {
    const T theta = x[2];
    const Stumpff<T> c = stumpff(T(theta * theta));
    turn(c.c1, T(theta * c.c2), x, X);
    SO2::exp(&theta, X + 2);
  }
  template <typename T> static PP_HD void log(const T* X, T* x) {
    SO2::log(X + 2, x + 2);
    v_inverse(stumpff(T(x[2] * x[2])), x[2], X, x);
  }
  template <typename T> static PP_HD void inv(const T* X, T* Y) {
    T t[2];
    SO2::inv(X + 2, Y + 2);
    complex_mul(Y + 2, X, t);
    Y[0] = -t[0], Y[1] = -t[1];
  }
  template <typename T> static PP_HD void mul(const T* X, const T* Y, T* Z) {
    T t[2];
    complex_mul(X + 2, Y, t);
    complex_mul(X + 2, Y + 2, Z + 2);
    Z[0] = X[0] + t[0], Z[1] = X[1] + t[1];
  }
  template <typename T> static PP_HD void act(const T* X, const T* p, T* out) {
    T r[2];
    complex_mul(X + 2, p, r);
    out[0] = X[0] + r[0], out[1] = X[1] + r[1];
  }
  template <typename T> static PP_HD void act_homogeneous(const T* X, const T* p, T* out) {
    T r[2];
    complex_mul(X + 2, p, r);
    out[0] = r[0] + p[2] * X[0], out[1] = r[1] + p[2] * X[1], out[2] = p[2];
  }
  template <typename T> static PP_HD void adj(const T* X, const T* a, T* out) {
    T rho[2];
    complex_mul(X + 2, a, rho);
    out[0] = rho[0] + a[2] * X[1], out[1] = rho[1] - a[2] * X[0], out[2] = a[2];
  }
  template <typename T> static PP_HD void adjt(const T* X, const T* a, T* out) {
    const T rest[2] = {a[0] - a[2] * X[1], a[1] + a[2] * X[0]};
    complex_conj_mul(X + 2, rest, out);
    out[2] = a[2];
  }
  template <typename T> static PP_HD void jlp(const T* x, const T* b, T* out) {
    const T theta = x[2];
    const Stumpff<T> c = stumpff(T(theta * theta));
    T t[2], moved[2], slope[2];
    turn(c.c1, T(theta * c.c2), x, t);
    turn(c.c1, T(theta * c.c2), b, moved);
    v_slope(c, theta, x, slope);
    out[0] = moved[0] + b[2] * (slope[0] + t[1]), out[1] = moved[1] + b[2] * (slope[1] - t[0]), out[2] = b[2];
  }
  template <typename T> static PP_HD void jinvp(const T* X, const T* a, T* out) {
    T theta, rho[2], slope[2];
    SO2::log(X + 2, &theta);
    const Stumpff<T> c = stumpff(T(theta * theta));
    v_inverse(c, theta, X, rho);
    v_slope(c, theta, rho, slope);
    const T rest[2] = {a[0] - a[2] * (slope[0] + X[1]), a[1] - a[2] * (slope[1] - X[0])};
    v_inverse(c, theta, rest, out);
    out[2] = a[2];
  }
  template <typename T> static PP_HD void matrix(const T* X, T* out) {
    out[0] = X[2], out[1] = -X[3], out[2] = X[0];
    out[3] = X[3], out[4] = X[2], out[5] = X[1];
    out[6] = T(0), out[7] = T(0), out[8] = T(1);
  }
  template <typename T> static PP_HD void left_tangent(const T* X, const T* g, T* out) {
    out[0] = g[0], out[1] = g[1];
    out[2] = X[0] * g[1] - X[1] * g[0] + X[2] * g[3] - X[3] * g[2];
  }
  template <typename T> static PP_HD void euler(const T* X, T* out) { SO2::euler(X + 2, out); }
};

}  // namespace pypose
