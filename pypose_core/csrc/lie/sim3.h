// RxSO3 and Sim3 as groups of row functions (see se3.h).
#pragma once

#include "lie/se3.h"

namespace pypose {

// W(phi, sigma) = integral over u in [0, 1] of exp(u (sigma I + [phi]x)) = C I + A [phi]x + B [phi]x^2.
template <typename T>
struct Similarity {
  T A, B, C;
};

// W's coefficients with their derivatives by x and by sigma.
template <typename T>
struct SimilaritySlopes {
  Similarity<T> w, x, sigma;
};

// With m_n = integral of u^n e^{u sigma}:  A = sum m_{2j+1} (-x)^j/(2j+1)!, B = sum m_{2j+2} (-x)^j/(2j+2)!;
// m_19 by its series, the others by m_{n-1} = (e^sigma - sigma m_n)/n; dm_n/dsigma = m_{n+1}.  For sigma^2 + x < 1.
template <typename T>
PP_HD SimilaritySlopes<T> similarity_series(const T& x, const T& sigma, const T& scale) {
  T above = T(0);
  for (int i = 13; i >= 0; --i) above = T(1.0 / (20 + i)) + above * sigma * T(1.0 / (i + 1));
  T m = (scale - sigma * above) * T(1.0 / 19);
  T A = T(0), A_x = T(0), A_sigma = T(0), B = T(0), B_x = T(0), B_sigma = T(0);
  // Horner's rule in -x from the highest power down, as the recurrence delivers the m_n.
  for (int n = 18; n >= 2; n -= 2) {
    const T b = T(1.0 / ((n + 1) * (n + 2))), a = T(1.0 / (n * (n + 1)));
    B_x = -b * (B + x * B_x);
    B = m - b * x * B;
    B_sigma = above - b * x * B_sigma;
    above = m;
    m = (scale - sigma * above) * T(1.0 / n);
    A_x = -a * (A + x * A_x);
    A = m - a * x * A;
    A_sigma = above - a * x * A_sigma;
    above = m;
    m = (scale - sigma * above) * T(1.0 / (n - 1));
  }
  return {{A, B * T(0.5), m}, {A_x, B_x * T(0.5), T(0)}, {A_sigma, B_sigma * T(0.5), above}};
}

// Otherwise by parts: (sigma^2 + x) A = 1 - e^sigma (c_0 - sigma c_1), (sigma^2 + x) B = C - e^sigma (c_1 - sigma c_2).
template <typename T>
PP_CALLED SimilaritySlopes<T> similarity_by_parts(const T& x, const T& sigma, const T& scale) {
  const Stumpff<T> c = stumpff(x);
  const T inv = T(1) / (sigma * sigma + x), half = T(0.5), twice = sigma + sigma;
  const T c0_x = -half * c.c1, c1_x = half * (c.c3 - c.c2), c2_x = half * (c.c4 + c.c4 - c.c3);
  T C = T(0), C_sigma = T(0);
  for (int i = 14; i >= 0; --i) {
    C_sigma = (C + sigma * C_sigma) * T(1.0 / (i + 2));
    C = T(1) + C * sigma * T(1.0 / (i + 2));
  }
  const auto near = primal(sigma) > -0.25 && primal(sigma) < 0.25;
  const T away = select(near, T(1), sigma);   // no division by zero where it is not used
  SimilaritySlopes<T> s;
  s.w.C = select(near, C, T((scale - T(1)) / away));
  s.sigma.C = select(near, C_sigma, T((scale - s.w.C) / away));
  s.x.C = T(0);
  s.w.A = (T(1) - scale * (c.c0 - sigma * c.c1)) * inv;
  s.x.A = -(scale * (c0_x - sigma * c1_x) + s.w.A) * inv;
  s.sigma.A = (scale * (c.c1 - c.c0 + sigma * c.c1) - twice * s.w.A) * inv;
  s.w.B = (s.w.C - scale * (c.c1 - sigma * c.c2)) * inv;
  s.x.B = -(scale * (c1_x - sigma * c2_x) + s.w.B) * inv;
  s.sigma.B = (s.sigma.C + scale * (c.c2 - c.c1 + sigma * c.c2) - twice * s.w.B) * inv;
  return s;
}

template <typename M, typename T>
PP_HD Similarity<T> select(const M& condition, const Similarity<T>& a, const Similarity<T>& b) {
  return {select(condition, a.A, b.A), select(condition, a.B, b.B), select(condition, a.C, b.C)};
}

// What a function does not use of the series is not computed, being inlined.
template <typename T>
PP_HD SimilaritySlopes<T> similarity(const T& x, const T& sigma) {
  using std::exp;
  const T scale = exp(sigma);
  const auto small = primal(x) + primal(sigma) * primal(sigma) < 1;
  if (all(small)) return similarity_series(x, sigma, scale);
  const SimilaritySlopes<T> by_parts = similarity_by_parts(x, sigma, scale);
  if (!any(small)) return by_parts;
  const SimilaritySlopes<T> series = similarity_series(x, sigma, scale);
  return {select(small, series.w, by_parts.w), select(small, series.x, by_parts.x),
          select(small, series.sigma, by_parts.sigma)};
}

// W^-1 = C' I + A' [phi]x + B' [phi]x^2
template <typename T>
PP_HD Similarity<T> inverse(const Similarity<T>& w, const T& x) {
  const T across = w.C - w.B * x;
  const T square = across * across + w.A * w.A * x;
  return {-w.A / square, (w.A * w.A - w.B * across) / (w.C * square), T(1) / w.C};
}

struct RxSO3 {
  static constexpr int width = 5, dof = 4, point = 3, size = 4, unit = 0, unit_length = 4;

  template <typename T> static PP_HD void exp(const T* x, T* X) {
    using std::exp;
    so3_exp(x, X);
    X[4] = exp(x[3]);
  }
  template <typename T> static PP_HD void log(const T* X, T* x) {
    using std::log;
    so3_log(X, x);
    x[3] = log(X[4]);
  }
  template <typename T> static PP_HD void inv(const T* X, T* Y) {
    quat_conj(X, Y);
    Y[4] = T(1) / X[4];
  }
  template <typename T> static PP_HD void mul(const T* X, const T* Y, T* Z) {
    quat_mul(X, Y, Z);
    Z[4] = X[4] * Y[4];
  }
  template <typename T> static PP_HD void act(const T* X, const T* p, T* out) {
    T r[3];
    quat_rotate(X, p, r);
    for (int i = 0; i < 3; ++i) out[i] = X[4] * r[i];
  }
  template <typename T> static PP_HD void act_homogeneous(const T* X, const T* p, T* out) {
    act(X, p, out);
    out[3] = p[3];
  }
  template <typename T> static PP_HD void adj(const T* X, const T* a, T* out) {
    quat_rotate(X, a, out);
    out[3] = a[3];
  }
  template <typename T> static PP_HD void adjt(const T* X, const T* a, T* out) {
    quat_rotate_inv(X, a, out);
    out[3] = a[3];
  }
  template <typename T> static PP_HD void jlp(const T* x, const T* b, T* out) {
    SO3::jlp(x, b, out);
    out[3] = b[3];
  }
  template <typename T> static PP_HD void jinvp(const T* X, const T* a, T* out) {
    SO3::jinvp(X, a, out);
    out[3] = a[3];
  }
  template <typename T> static PP_HD void matrix(const T* X, T* out) {
    const T* columns[] = {nullptr};
    homogeneous(X[4], X, columns, 1, out);
  }
  template <typename T> static PP_HD void left_tangent(const T* X, const T* g, T* out) {
    quat_left_tangent(X, g, out);
    out[3] = X[4] * g[4];
  }
  template <typename T> static PP_HD void euler(const T* X, T* out) { quat_euler(X, out); }
};

struct Sim3 {
  static constexpr int width = 8, dof = 7, point = 3, size = 4, unit = 3, unit_length = 4;

  template <typename T> static PP_HD void exp(const T* x, T* X) {
    using std::exp;
    const Similarity<T> w = similarity(dot3(x + 3, x + 3), x[6]).w;
    hat_polynomial_times(w.C, w.A, w.B, x + 3, x, X);
    so3_exp(x + 3, X + 3);
    X[7] = exp(x[6]);
  }
  template <typename T> static PP_HD void log(const T* X, T* x) {
    using std::log;
    so3_log(X + 3, x + 3);
    x[6] = log(X[7]);
    const T square = dot3(x + 3, x + 3);
    const Similarity<T> w = inverse(similarity(square, x[6]).w, square);
    hat_polynomial_times(w.C, w.A, w.B, x + 3, X, x);
  }
  template <typename T> static PP_HD void inv(const T* X, T* Y) {
    T t[3];
    RxSO3::inv(X + 3, Y + 3);
    RxSO3::act(Y + 3, X, t);
    for (int i = 0; i < 3; ++i) Y[i] = -t[i];
  }
  template <typename T> static PP_HD void mul(const T* X, const T* Y, T* Z) {
    T t[3];
    RxSO3::act(X + 3, Y, t);
    RxSO3::mul(X + 3, Y + 3, Z + 3);
    add3(X, t, Z);
  }
  template <typename T> static PP_HD void act(const T* X, const T* p, T* out) {
    T r[3];
    RxSO3::act(X + 3, p, r);
    add3(X, r, out);
  }
  template <typename T> static PP_HD void act_homogeneous(const T* X, const T* p, T* out) {
    T r[3];
    RxSO3::act(X + 3, p, r);
    for (int i = 0; i < 3; ++i) out[i] = r[i] + p[3] * X[i];
    out[3] = p[3];
  }
  template <typename T> static PP_HD void adj(const T* X, const T* a, T* out) {
    T tau[3], turned[3];
    RxSO3::act(X + 3, a, tau);
    quat_rotate(X + 3, a + 3, out + 3);
    cross(X, out + 3, turned);
    for (int i = 0; i < 3; ++i) out[i] = tau[i] + turned[i] - a[6] * X[i];
    out[6] = a[6];
  }
  template <typename T> static PP_HD void adjt(const T* X, const T* a, T* out) {
    T turned[3], rest[3];
    const T inv = T(1) / X[7];
    cross(X, a + 3, turned);
    for (int i = 0; i < 3; ++i) rest[i] = inv * (a[i] - turned[i] + a[6] * X[i]);
    quat_rotate_inv(X + 3, rest, out);
    quat_rotate_inv(X + 3, a + 3, out + 3);
    out[6] = a[6];
  }
  // Directional derivative of W(phi, sigma) tau along phi -> b_phi, sigma -> b_sigma.
  template <typename T>
  static PP_HD void w_derivative(const SimilaritySlopes<T>& s, const T* phi, const T* tau, const T* b_phi,
                                 const T& b_sigma, T* out) {
    const T dx = T(2) * dot3(phi, b_phi);
    hat_polynomial_derivative(s.w.A, s.w.B, T(dx * s.x.A + b_sigma * s.sigma.A), T(dx * s.x.B + b_sigma * s.sigma.B),
                              phi, tau, b_phi, out);
    const T stretch = b_sigma * s.sigma.C;
    for (int i = 0; i < 3; ++i) out[i] = out[i] + stretch * tau[i];
  }
  template <typename T> static PP_HD void jlp(const T* x, const T* b, T* out) {
    const T* phi = x + 3;
    const SimilaritySlopes<T> s = similarity(T(dot3(phi, phi)), x[6]);
    const Similarity<T>& w = s.w;
    T t[3], moved[3], dt[3], turned[3];
    SO3::jlp(phi, b + 3, out + 3);
    hat_polynomial_times(w.C, w.A, w.B, phi, x, t);
    hat_polynomial_times(w.C, w.A, w.B, phi, b, moved);
    w_derivative(s, phi, x, b + 3, b[6], dt);
    cross(t, out + 3, turned);
    for (int i = 0; i < 3; ++i) out[i] = moved[i] + dt[i] + turned[i] - b[6] * t[i];
    out[6] = b[6];
  }
  template <typename T> static PP_HD void jinvp(const T* X, const T* a, T* out) {
    using std::log;
    T phi[3], tau[3], dt[3], turned[3], rest[3];
    so3_log(X + 3, phi);
    const T square = dot3(phi, phi);
    const SimilaritySlopes<T> s = similarity(square, T(log(X[7])));
    const Similarity<T> v = inverse(s.w, square);
    hat_polynomial_times(v.C, v.A, v.B, phi, X, tau);
    v_inverse_times(stumpff(square), phi, a + 3, out + 3);
    w_derivative(s, phi, tau, out + 3, a[6], dt);
    cross(X, a + 3, turned);
    for (int i = 0; i < 3; ++i) rest[i] = a[i] - turned[i] + a[6] * X[i] - dt[i];
    hat_polynomial_times(v.C, v.A, v.B, phi, rest, out);
    out[6] = a[6];
  }
  template <typename T> static PP_HD void matrix(const T* X, T* out) {
    const T* columns[] = {X};
    homogeneous(X[7], X + 3, columns, 1, out);
  }
  template <typename T> static PP_HD void left_tangent(const T* X, const T* g, T* out) {
    SE3::left_tangent(X, g, out);
    out[6] = dot3(X, g) + X[7] * g[7];
  }
  template <typename T> static PP_HD void euler(const T* X, T* out) { quat_euler(X + 3, out); }
};

}  // namespace pypose
