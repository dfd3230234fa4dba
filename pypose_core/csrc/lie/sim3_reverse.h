// Transposed derivatives of RxSO3 and Sim3, written out (see reverse.h).
#pragma once

#include "lie/composed_reverse.h"
#include "lie/sim3.h"

namespace pypose {

// out = s R(q) p, of x = [q, s]:  gx (5, set), gp (set)
template <typename T>
PP_HD void scaled_rotate_reverse(const T* x, const T* p, const T* g, T* gx, T* gp) {
  T turned[3], scaled[3];
  quat_rotate(x, p, turned);
  for (int i = 0; i < 3; ++i) scaled[i] = x[4] * g[i];
  zero(gx, 4);
  quat_rotate_reverse(x, p, scaled, gx, gp);
  gx[4] = dot3(turned, g);
}

template <> struct Reverse<Exp<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) {
    using std::exp;
    Reverse<Exp<SO3>>::backward(x, y, g, gx, gy);
    gx[3] = g[4] * exp(x[3]);
  }
};
template <> struct Reverse<Log<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    so3_log_reverse(x, g, gx);
    gx[4] = g[3] / x[4];
  }
};
template <> struct Reverse<Inv<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    quat_conj(g, gx);
    gx[4] = -g[4] / (x[4] * x[4]);
  }
};
template <> struct Reverse<Mul<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) {
    quat_mul_reverse(x, y, g, gx, gy);
    gx[4] = g[4] * y[4], gy[4] = g[4] * x[4];
  }
};
template <> struct Reverse<Act<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    scaled_rotate_reverse(x, p, g, gx, gp);
  }
};
template <> struct Reverse<ActHomogeneous<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    scaled_rotate_reverse(x, p, g, gx, gp);
    gp[3] = g[3];
  }
};

// As of SO3, the logarithm of the scale beside.
template <class OfSO3>
struct ScaleBeside : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* a, const T* g, T* gx, T* ga) {
    Reverse<OfSO3>::backward(x, a, g, gx, ga);
    gx[4] = T(0), ga[3] = g[3];
  }
};
template <> struct Reverse<Adj<RxSO3>> : ScaleBeside<Adj<SO3>> {};
template <> struct Reverse<AdjT<RxSO3>> : ScaleBeside<AdjT<SO3>> {};
template <> struct Reverse<Jinvp<RxSO3>> : ScaleBeside<Jinvp<SO3>> {};

template <> struct Reverse<ToLeaf<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* g, const T* h, T* gx, T* gg) {
    quat_left_tangent_reverse(x, g, h, gx, gg);
    gx[4] = h[3] * g[4], gg[4] = h[3] * x[4];
  }
};
template <> struct Reverse<ToLeaf<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* g, const T* h, T* gx, T* gg) {
    Reverse<ToLeaf<SE3>>::backward(x, g, h, gx, gg);
    for (int i = 0; i < 3; ++i) gx[i] = gx[i] + h[6] * g[i], gg[i] = gg[i] + h[6] * x[i];
    gx[7] = h[6] * g[7], gg[7] = h[6] * x[7];
  }
};

// The block s R(q) of a homogeneous 4x4 matrix, to x = [q, s].
template <typename T>
PP_HD void scaled_block_reverse(const T* x, const T* g, T* gx) {
  T R[9], along = T(0);
  quat_to_matrix(x, R);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) along = along + R[3 * i + j] * g[4 * i + j];
  rotation_block_reverse<4>(x, g, gx);
  for (int i = 0; i < 4; ++i) gx[i] = x[4] * gx[i];
  gx[4] = along;
}
template <> struct Reverse<Matrix<RxSO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) { scaled_block_reverse(x, g, gx); }
};
template <> struct Reverse<Matrix<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    scaled_block_reverse(x + 3, g, gx + 3);
    column_reverse<4>(g, 0, gx);
  }
};

template <> struct Reverse<Inv<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) {
    // t' = -Y t of Y = [q, s]^-1
    T Y[5], minus[3], g_Y[5];
    RxSO3::inv(x + 3, Y);
    for (int i = 0; i < 3; ++i) minus[i] = -g[i];
    scaled_rotate_reverse(Y, x, minus, g_Y, gx);
    accumulate(g + 3, 5, g_Y);
    Reverse<Inv<RxSO3>>::backward(x + 3, y, g_Y, gx + 3, gy);
  }
};
template <> struct Reverse<Mul<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) {
    T turning[5];
    scaled_rotate_reverse(x + 3, y, g, turning, gy);
    Reverse<Mul<RxSO3>>::backward(x + 3, y + 3, g + 3, gx + 3, gy + 3);
    accumulate(turning, 5, gx + 3);
    copy3(g, gx);
  }
};
template <> struct Reverse<Act<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    scaled_rotate_reverse(x + 3, p, g, gx + 3, gp);
    copy3(g, gx);
  }
};
template <> struct Reverse<ActHomogeneous<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    scaled_rotate_reverse(x + 3, p, g, gx + 3, gp);
    for (int i = 0; i < 3; ++i) gx[i] = p[3] * g[i];
    gp[3] = g[3] + dot3(x, g);
  }
};

template <> struct Reverse<Adj<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* a, const T* g, T* gx, T* ga) {
    // tau' = s R tau + t x phi' - sigma t, phi' = R phi, sigma' = sigma
    T phi[3], g_phi[3];
    quat_rotate(x + 3, a + 3, phi);
    cross(phi, g, gx);
    for (int i = 0; i < 3; ++i) gx[i] = gx[i] - a[6] * g[i];
    cross(g, x, g_phi);
    accumulate(g + 3, 3, g_phi);
    scaled_rotate_reverse(x + 3, a, g, gx + 3, ga);
    quat_rotate_reverse(x + 3, a + 3, g_phi, gx + 3, ga + 3);
    ga[6] = g[6] - dot3(x, g);
  }
};
template <> struct Reverse<AdjT<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* a, const T* g, T* gx, T* ga) {
    // tau' = R(q*) rest, rest = (tau - t x phi + sigma t)/s, phi' = R(q*) phi
    T conj[4], gq[4], rest[3], turned[3];
    const T inv = T(1) / x[7];
    cross(x, a + 3, turned);
    for (int i = 0; i < 3; ++i) rest[i] = inv * (a[i] - turned[i] + a[6] * x[i]);
    quat_conj(x + 3, conj);
    zero(gq, 4);
    quat_rotate_reverse(conj, rest, g, gq, ga);
    quat_rotate_reverse(conj, a + 3, g + 3, gq, ga + 3);
    quat_conj(gq, gx + 3);
    gx[7] = -inv * dot3(ga, rest);
    for (int i = 0; i < 3; ++i) ga[i] = inv * ga[i];
    cross(ga, a + 3, gx);
    for (int i = 0; i < 3; ++i) gx[i] = gx[i] + a[6] * ga[i];
    cross(x, ga, turned);
    accumulate(turned, 3, ga + 3);
    ga[6] = g[6] + dot3(x, ga);
  }
};

// g of out = (C I + A [phi]x + B [phi]x^2) v by sigma, on which the coefficients depend with the given slopes.
template <typename T>
PP_HD T slope_along(const Similarity<T>& slope, const T* phi, const T* v, const T* g) {
  T pv[3], pg[3];
  cross(phi, v, pv);
  cross(phi, g, pg);
  return slope.C * dot3(v, g) + slope.A * dot3(pv, g) - slope.B * dot3(pv, pg);
}

template <> struct Reverse<Exp<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    using std::exp;
    const T* phi = x + 3;
    const T square = dot3(phi, phi);
    const SimilaritySlopes<T> s = similarity(square, x[6]);
    zero(gx + 3, 3);
    hat_polynomial_reverse(s.w.C, s.w.A, s.w.B, s.x.A, s.x.B, phi, x, g, gx + 3, gx);
    so3_exp_reverse(stumpff(T(square * T(0.25))), phi, g + 3, gx + 3);
    gx[6] = slope_along(s.sigma, phi, x, g) + g[7] * exp(x[6]);
  }
};

// The slopes of the inverse's coefficients (sim3.h).
template <typename T>
PP_HD SimilaritySlopes<T> inverse(const SimilaritySlopes<T>& s, const T& x) {
  const Similarity<T>& w = s.w;
  const T across = w.C - w.B * x, square = across * across + w.A * w.A * x;
  const T inv = T(1) / square, inv_C = T(1) / w.C;
  const Similarity<T> v{-w.A * inv, (w.A * w.A - w.B * across) * inv * inv_C, inv_C};
  // Along x, x itself grows by one; along sigma it stays.
  const auto along = [&](const Similarity<T>& d, bool grows) {
    const T across_d = grows ? T(d.C - d.B * x - w.B) : T(d.C - d.B * x);
    T square_d = T(2) * (across * across_d + w.A * d.A * x);
    if (grows) square_d = square_d + w.A * w.A;
    const T bottom = d.C * square + w.C * square_d;
    return Similarity<T>{-(d.A + v.A * square_d) * inv,
                         (T(2) * w.A * d.A - d.B * across - w.B * across_d - v.B * bottom) * inv * inv_C,
                         -d.C * inv_C * inv_C};
  };
  return {v, along(s.x, true), along(s.sigma, false)};
}

template <> struct Reverse<Log<Sim3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    using std::log;
    T phi[3], g_phi[3];
    so3_log(x + 3, phi);
    const T square = dot3(phi, phi);
    const SimilaritySlopes<T> s = inverse(similarity(square, T(log(x[7]))), square);
    copy3(g + 3, g_phi);
    hat_polynomial_reverse(s.w.C, s.w.A, s.w.B, s.x.A, s.x.B, phi, x, g, g_phi, gx);
    so3_log_reverse(x + 3, g_phi, gx + 3);
    gx[7] = (g[6] + slope_along(s.sigma, phi, x, g)) / x[7];
  }
};
template <> struct Reverse<Jinvp<Sim3>> : JinvpByLog<Sim3> {};

}  // namespace pypose
