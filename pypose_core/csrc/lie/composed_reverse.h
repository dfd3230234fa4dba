// Transposed derivatives of operations that are made of others, in any group.
#pragma once

#include "lie/reverse.h"

namespace pypose {

template <class... Parts>
struct MadeOf {
  static constexpr bool on_packs = (Reverse<Parts>::on_packs && ...);
};

template <class G> struct Reverse<Between<G>> : MadeOf<Mul<G>, Inv<G>> {
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) {
    T inverse[G::width], g_inverse[G::width];
    G::inv(x, inverse);
    Reverse<Mul<G>>::backward(inverse, y, g, g_inverse, gy);
    Reverse<Inv<G>>::backward(x, y, g_inverse, gx, gy);
  }
};

template <class G> struct Reverse<Retract<G>> : MadeOf<Mul<G>, Exp<G>> {
  template <typename T>
  static PP_HD void backward(const T* x, const T* a, const T* g, T* gx, T* ga) {
    using std::sqrt;
    constexpr int lo = G::unit, hi = G::unit + G::unit_length;
    T step[G::width], z[G::width], gz[G::width], g_step[G::width], square = T(0), along = T(0);
    G::exp(a, step);
    G::mul(step, x, z);
    // Of z / |z|: what is across z, divided by |z|.
    for (int i = lo; i < hi; ++i) square = square + z[i] * z[i], along = along + g[i] * z[i];
    const T inv = T(1) / square, scale = sqrt(inv);
    for (int i = 0; i < G::width; ++i) gz[i] = i < lo || i >= hi ? g[i] : T(scale * (g[i] - along * inv * z[i]));
    Reverse<Mul<G>>::backward(step, x, gz, g_step, gx);
    Reverse<Exp<G>>::backward(a, x, g_step, ga, gx);
  }
};

// J_l^-1(Log X) a = d/de Log(Exp(e a) X) at e = 0: with dual numbers in e, the e-part of the gradient of <g, Log> by X
// is the gradient asked for by X, and its value, by the first factor at the identity, the one by a.
template <class G>
struct JinvpByLog : MadeOf<Mul<G>, Log<G>> {
  template <typename T>
  static PP_HD void backward(const T* x, const T* a, const T* g, T* gx, T* ga) {
    using D = Dual<T, 1>;
    D step[G::width], start[G::width], moved[G::width], g_out[G::dof], g_moved[G::width], g_step[G::width],
        g_start[G::width];
    T identity[G::width], tangent[G::width], g_identity[G::width];
    for (int i = 0; i < G::width; ++i) identity[i] = T(i > G::unit + 2 ? 1 : 0), tangent[i] = T(0);
    // Exp(e a): the vector part of the quaternion moves by half; behind it a scale, if any.
    for (int i = 0; i < G::dof; ++i)
      tangent[i < G::unit + 3 ? i : i + 1] = i < G::unit || i >= G::unit + 3 ? a[i] : T(T(0.5) * a[i]);
    for (int i = 0; i < G::width; ++i) {
      step[i].v = identity[i], step[i].d[0] = tangent[i];
      start[i] = D(x[i]);
    }
    for (int i = 0; i < G::dof; ++i) g_out[i] = D(g[i]);
    G::mul(step, start, moved);
    Reverse<Log<G>>::backward(moved, start, g_out, g_moved, g_start);
    Reverse<Mul<G>>::backward(step, start, g_moved, g_step, g_start);
    for (int i = 0; i < G::width; ++i) gx[i] = g_start[i].d[0], g_identity[i] = g_step[i].v;
    G::left_tangent(identity, g_identity, ga);
  }
};
template <> struct Reverse<Jinvp<SE3>> : JinvpByLog<SE3> {};

// g (9, a matrix) of R(q); sets gq.
template <typename T>
PP_HD void quat_to_matrix_reverse(const T* q, const T* g, T* gq) {
  const T x = q[0], y = q[1], z = q[2], w = q[3], two = T(2);
  const T xy = g[1] + g[3], xz = g[2] + g[6], yz = g[5] + g[7];
  const T u = g[7] - g[5], v = g[2] - g[6], s = g[3] - g[1];
  gq[0] = two * (y * xy + z * xz - two * x * (g[4] + g[8]) + w * u);
  gq[1] = two * (x * xy + z * yz - two * y * (g[0] + g[8]) + w * v);
  gq[2] = two * (x * xz + y * yz - two * z * (g[0] + g[4]) + w * s);
  gq[3] = two * (x * u + y * v + z * s);
}

// Of a homogeneous matrix with R(q) to its left: the gradient to q, and that to column 3 + n.
template <int size, typename T>
PP_HD void rotation_block_reverse(const T* q, const T* g, T* gq) {
  T block[9];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) block[3 * i + j] = g[size * i + j];
  quat_to_matrix_reverse(q, block, gq);
}
template <int size, typename T>
PP_HD void column_reverse(const T* g, int n, T* gt) {
  for (int i = 0; i < 3; ++i) gt[i] = g[size * i + 3 + n];
}

template <> struct Reverse<Matrix<SO3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) { quat_to_matrix_reverse(x, g, gx); }
};
template <> struct Reverse<Matrix<SE3>> : WrittenOut {
  template <typename T>
  static PP_HD void backward(const T* x, const T*, const T* g, T* gx, T*) {
    rotation_block_reverse<4>(x + 3, g, gx + 3);
    column_reverse<4>(g, 0, gx);
  }
};

}  // namespace pypose
