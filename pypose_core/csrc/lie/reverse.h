// Transposed derivatives written out: products, actions, adjoints, Exp, Log and the angles of SO3 and SE3.  Those of
// RxSO3 and Sim3 are in sim3_reverse.h, what follows from these in any group in composed_reverse.h.
#pragma once

#include "lie/operations.h"

namespace pypose {

// c = a o b:  ga = gc o b*, gb = a* o gc
template <typename T>
PP_HD void quat_mul_reverse(const T* a, const T* b, const T* gc, T* ga, T* gb) {
  T conj[4];
  quat_conj(b, conj);
  quat_mul(gc, conj, ga);
  quat_conj(a, conj);
  quat_mul(conj, gc, gb);
}

// out = v + 2w u x v + 2 u x (u x v):  gq (added to), gv (set)
template <typename T>
PP_HD void quat_rotate_reverse(const T* q, const T* v, const T* g, T* gq, T* gv) {
  T ug[3], uv[3], vg[3], uug[3];
  cross(q, g, ug);
  cross(q, v, uv);
  cross(v, g, vg);
  cross(q, ug, uug);
  const T two = T(2), ugd = dot3(q, g), uvd = dot3(q, v), vgd = dot3(v, g), w = q[3];
  for (int i = 0; i < 3; ++i) {
    gq[i] = gq[i] + two * (w * vg[i] + v[i] * ugd + g[i] * uvd - two * q[i] * vgd);
    gv[i] = g[i] + two * (uug[i] - w * ug[i]);
  }
  gq[3] = gq[3] + two * dot3(uv, g);
}

struct WrittenOut {
  static constexpr bool on_packs = true;
};

template <typename T>
PP_HD void zero(T* x, int n) {
  for (int i = 0; i < n; ++i) x[i] = T(0);
}

template <typename T>
PP_HD void accumulate(const T* x, int n, T* sum) {
  for (int i = 0; i < n; ++i) sum[i] = sum[i] + x[i];
}

template <> struct Reverse<Inv<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T*, const T*, const T* g, T* gx, T*) { quat_conj(g, gx); }
};
template <> struct Reverse<Mul<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) { quat_mul_reverse(x, y, g, gx, gy); }
};

template <> struct Reverse<Mul<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) {
    quat_mul_reverse(x + 3, y + 3, g + 3, gx + 3, gy + 3);
    quat_rotate_reverse(x + 3, y, g, gx + 3, gy);
    copy3(g, gx);
  }
};

template <> struct Reverse<Inv<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    // t' = -R(q*) t, q' = q*
    T conj[4], minus[3], gq[4];
    quat_conj(x + 3, conj);
    for (int i = 0; i < 3; ++i) minus[i] = -g[i];
    for (int i = 0; i < 4; ++i) gq[i] = g[3 + i];
    quat_rotate_reverse(conj, x, minus, gq, gx);
    quat_conj(gq, gx + 3);
  }
};

template <> struct Reverse<Act<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    zero(gx, 4);
    quat_rotate_reverse(x, p, g, gx, gp);
  }
};
template <> struct Reverse<Adj<SO3>> : Reverse<Act<SO3>> {};
template <> struct Reverse<AdjT<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    T conj[4], gq[4];
    zero(gq, 4);
    quat_conj(x, conj);
    quat_rotate_reverse(conj, p, g, gq, gp);
    quat_conj(gq, gx);
  }
};

template <> struct Reverse<Act<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    zero(gx + 3, 4);
    quat_rotate_reverse(x + 3, p, g, gx + 3, gp);
    copy3(g, gx);
  }
};

// Homogeneous points: t is taken p[3] times.
template <> struct Reverse<ActHomogeneous<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    Reverse<Act<SO3>>::backward(x, p, g, gx, gp);
    gp[3] = g[3];
  }
};
template <> struct Reverse<ActHomogeneous<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    Reverse<Act<SO3>>::backward(x + 3, p, g, gx + 3, gp);
    for (int i = 0; i < 3; ++i) gx[i] = p[3] * g[i];
    gp[3] = g[3] + dot3(x, g);
  }
};

template <> struct Reverse<Adj<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* a, const T* g, T* gx, T* ga) {
    // rho' = R rho + t x phi', phi' = R phi
    T phi[3], g_phi[3];
    quat_rotate(x + 3, a + 3, phi);
    cross(phi, g, gx);
    cross(g, x, g_phi);
    accumulate(g + 3, 3, g_phi);
    zero(gx + 3, 4);
    quat_rotate_reverse(x + 3, a, g, gx + 3, ga);
    quat_rotate_reverse(x + 3, a + 3, g_phi, gx + 3, ga + 3);
  }
};

template <> struct Reverse<AdjT<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* a, const T* g, T* gx, T* ga) {
    // rho' = R(q*) (rho - t x phi), phi' = R(q*) phi
    T conj[4], gq[4], rest[3], turned[3];
    quat_conj(x + 3, conj);
    zero(gq, 4);
    cross(x, a + 3, turned);
    subtract3(a, turned, rest);
    quat_rotate_reverse(conj, rest, g, gq, ga);
    quat_rotate_reverse(conj, a + 3, g + 3, gq, ga + 3);
    quat_conj(gq, gx + 3);
    cross(ga, a + 3, gx);
    cross(x, ga, turned);
    accumulate(turned, 3, ga + 3);
  }
};

// g of q = [h phi, c_0(y)], h = c_1(y)/2, y = theta^2/4, s = stumpff(y); adds to gx.
template <typename T>
PP_HD void so3_exp_reverse(const Stumpff<T>& s, const T* phi, const T* g, T* gx) {
  const T half = T(0.5) * s.c1;
  const T along = T(0.125) * (s.c3 - s.c2) * dot3(phi, g) - T(0.25) * s.c1 * g[3];
  for (int i = 0; i < 3; ++i) gx[i] = gx[i] + half * g[i] + along * phi[i];
}

template <> struct Reverse<Exp<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    zero(gx, 3);
    so3_exp_reverse(stumpff(T(dot3(x, x) * T(0.25))), x, g, gx);
  }
};

// g of out = a v + b phi x v + c phi x (phi x v) with a constant, and b, c functions of x = |phi|^2 with the
// given slopes: g_phi (added to), gv (set).
template <typename T>
PP_HD void hat_polynomial_reverse(const T& a, const T& b, const T& c, const T& b_x, const T& c_x, const T* phi,
                                  const T* v, const T* g, T* g_phi, T* gv) {
  T pv[3], pg[3], ppg[3], vg[3];
  cross(phi, v, pv);
  cross(phi, g, pg);
  cross(phi, pg, ppg);
  cross(v, g, vg);
  const T pgd = dot3(phi, g), pvd = dot3(phi, v), vgd = dot3(v, g);
  // (phi x v).g and (phi x (phi x v)).g = -(phi x v).(phi x g)
  const T along = T(2) * (b_x * dot3(pv, g) - c_x * dot3(pv, pg)) - T(2) * c * vgd;
  for (int i = 0; i < 3; ++i) {
    g_phi[i] = g_phi[i] + b * vg[i] + c * (v[i] * pgd + g[i] * pvd) + along * phi[i];
    gv[i] = a * g[i] - b * pg[i] + c * ppg[i];
  }
}

template <> struct Reverse<Exp<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    const T* phi = x + 3;
    const T y = dot3(phi, phi) * T(0.25);
    const Stumpff<T> s = stumpff(y);
    // The whole angle's coefficients from the half angle's: one sine and cosine.
    const T c2 = T(0.5) * s.c1 * s.c1, c3 = T(0.25) * (s.c1 * s.c2 + s.c3);
    const T c2_y = T(0.5) * s.c1 * (s.c3 - s.c2);
    const T c3_y = T(0.125) * ((s.c3 - s.c2) * s.c2 + s.c1 * (T(2) * s.c4 - s.c3) + T(3) * s.c5 - s.c4);
    zero(gx + 3, 3);
    hat_polynomial_reverse(T(1), c2, c3, T(0.25) * c2_y, T(0.25) * c3_y, phi, x, g, gx + 3, gx);
    so3_exp_reverse(s, phi, g + 3, gx + 3);
  }
};

// g of phi = 2 f(n2, w) u; sets gq.
template <typename T>
PP_HD void so3_log_reverse(const T* q, const T* g, T* gq) {
  const auto flip = primal(q[3]) < 0;
  const T along = select(flip, T(-q[3]), q[3]);
  const AtanRatio<T> f = atan_ratio_slopes(T(dot3(q, q)), along);
  const T ug = dot3(q, g), sign = select(flip, T(-2), T(2));
  for (int i = 0; i < 3; ++i) gq[i] = sign * (f.value * g[i] + T(2) * f.by_n2 * ug * q[i]);
  gq[3] = T(2) * f.by_w * ug;
}

template <> struct Reverse<Log<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) { so3_log_reverse(x, g, gx); }
};

// d = (c_3 - 2c_4)/(2c_2) and its slope by x.
template <typename T>
PP_HD void jinv_coefficient_slope(const Stumpff<T>& c, T* d, T* d_x) {
  const T inv = T(0.5) / c.c2;
  *d = (c.c3 - T(2) * c.c4) * inv;
  const T top = T(0.5) * (T(3) * c.c5 - c.c4) - (T(4) * c.c6 - c.c5), bottom = T(2) * c.c4 - c.c3;
  *d_x = (top - *d * bottom) * inv;
}

// g (9, a matrix) of Jr = I - c_2 [x]x + c_3 [x]x^2; sets gx.
template <> struct Reverse<Jr<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    const T square = dot3(x, x), half = T(0.5);
    const Stumpff<T> c = stumpff(square);
    const T c2_x = half * (T(2) * c.c4 - c.c3), c3_x = half * (T(3) * c.c5 - c.c4);
    const T skew[3] = {g[7] - g[5], g[2] - g[6], g[3] - g[1]}, trace = g[0] + g[4] + g[8];
    T turned[3];   // (g + g') x
    for (int i = 0; i < 3; ++i) {
      turned[i] = T(0);
      for (int j = 0; j < 3; ++j) turned[i] = turned[i] + (g[3 * i + j] + g[3 * j + i]) * x[j];
    }
    const T along = T(2) * (c3_x * (half * dot3(x, turned) - square * trace) - c2_x * dot3(x, skew));
    const T twice = T(2) * trace;
    for (int i = 0; i < 3; ++i) gx[i] = c.c3 * (turned[i] - twice * x[i]) - c.c2 * skew[i] + along * x[i];
  }
};

template <> struct Reverse<Log<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    T phi[3], g_phi[3], d, d_x;
    so3_log(x + 3, phi);
    jinv_coefficient_slope(stumpff(dot3(phi, phi)), &d, &d_x);
    copy3(g + 3, g_phi);
    hat_polynomial_reverse(T(1), T(-0.5), d, T(0), d_x, phi, x, g, g_phi, gx);
    so3_log_reverse(x + 3, g_phi, gx + 3);
  }
};

template <> struct Reverse<Jinvp<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* p, const T* g, T* gx, T* gp) {
    T phi[3], g_phi[3], d, d_x;
    so3_log(x, phi);
    jinv_coefficient_slope(stumpff(dot3(phi, phi)), &d, &d_x);
    zero(g_phi, 3);
    hat_polynomial_reverse(T(1), T(-0.5), d, T(0), d_x, phi, p, g, g_phi, gp);
    so3_log_reverse(x, g_phi, gx);
  }
};

// h (3) of half the vector part of g o q*; sets gq and gg.
template <typename T>
PP_HD void quat_left_tangent_reverse(const T* q, const T* g, const T* h, T* gq, T* gg) {
  T conj[4], half[4], g_conj[4];
  for (int i = 0; i < 3; ++i) half[i] = T(0.5) * h[i];
  half[3] = T(0);
  quat_conj(q, conj);
  quat_mul_reverse(g, conj, half, gg, g_conj);
  quat_conj(g_conj, gq);
}

template <> struct Reverse<ToLeaf<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* g, const T* h, T* gx, T* gg) {
    quat_left_tangent_reverse(x, g, h, gx, gg);
  }
};
template <> struct Reverse<ToLeaf<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T* g, const T* h, T* gx, T* gg) {
    quat_left_tangent_reverse(x + 3, g + 3, h + 3, gx + 3, gg + 3);
    cross(g, h + 3, gx);
    cross(h + 3, x, gg);
    accumulate(h, 3, gg);
  }
};

// g of angle = atan2(y, x): into gy and gx.
template <typename T>
PP_HD void atan2_reverse(const T& y, const T& x, const T& g, T* gy, T* gx) {
  const T scaled = g / (x * x + y * y);
  *gy = scaled * x;
  *gx = -scaled * y;
}

// g of quat_euler(q); sets gq.  Where roll is 0 by definition, it has no derivative; nor has pitch at the pole.
template <typename T>
PP_HD void quat_euler_reverse(const T* q, const T* g, T* gq) {
  using std::sqrt;
  const T x = q[0], y = q[1], z = q[2], w = q[3], two = T(2), zero = T(0);
  const EulerParts<T> e(q);
  const auto locked = e.locked(), pole = e.pole();
  const T near = T(1) / sqrt(select(pole, T(1), e.across)), square = near * near;
  // By the numerator of the sine and by n, and by both arguments of roll and yaw, whose squares' sum is `across`.
  const T top = select(pole, zero, T(two * near * g[1])), bottom = -e.y[1] / e.n * top;
  const T roll = select(locked, zero, T(square * g[0])), yaw = select(locked, zero, T(square * g[2]));
  const T a = roll * e.x[0], b = -roll * e.y[0], c = yaw * e.x[2], d = -yaw * e.y[2];
  gq[0] = two * (w * a - x * b + y * c + x * d) - z * top + x * bottom;
  gq[1] = two * (z * a - y * b + x * c - y * d) + w * top + y * bottom;
  gq[2] = two * (y * a + z * b + w * c - z * d) - x * top + z * bottom;
  gq[3] = two * (x * a + w * b + z * c + w * d) + y * top + w * bottom;
  if (!any(locked)) return;
  T gx, gw;
  atan2_reverse(x, w, T(select(primal(e.y[1]) < 0, two, T(-two)) * g[2]), &gx, &gw);
  gq[0] = gq[0] + select(locked, gx, zero);
  gq[3] = gq[3] + select(locked, gw, zero);
}

template <class G> struct Reverse<Euler<G>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    zero(gx, G::width);
    if constexpr (G::unit_length == 4) {
      quat_euler_reverse(x + G::unit, g, gx + G::unit);
    } else {
      atan2_reverse(x[G::unit + 1], x[G::unit], g[2], gx + G::unit + 1, gx + G::unit);
    }
  }
};

}  // namespace pypose
