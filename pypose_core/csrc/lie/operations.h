// The operations of a group G (se3.h) as functors over rows: the numbers that go in and come out, the row
// function, and where it pays a hand-written transposed derivative.
#pragma once

#include "lie/dual.h"
#include "lie/se3.h"

namespace pypose {

template <class G> struct Exp {
  static constexpr int in = G::dof, other = 0, rows = 0, out = G::width;
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) { G::exp(x, y); }
};
template <class G> struct Log {
  static constexpr int in = G::width, other = 0, rows = 0, out = G::dof;
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) { G::log(x, y); }
};
template <class G> struct Inv {
  static constexpr int in = G::width, other = 0, rows = 0, out = G::width;
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) { G::inv(x, y); }
};
template <> struct Inv<SO3> {
  static constexpr int in = 4, other = 0, rows = 0, out = 4;
  static constexpr int signs[4] = {-1, -1, -1, 1};   // all it does to the numbers of a row
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) { quat_conj(x, y); }
};
template <class G> struct Matrix {
  static constexpr int in = G::width, other = 0, rows = G::size, out = G::size * G::size;
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) { G::matrix(x, y); }
};
template <class G> struct Jr {
  static constexpr int in = G::dof, other = 0, rows = G::dof, out = G::dof * G::dof;
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) {
    T minus[G::dof], unit[G::dof], column[G::dof];
    for (int i = 0; i < G::dof; ++i) minus[i] = -x[i], unit[i] = T(0);
    for (int j = 0; j < G::dof; ++j) {
      unit[j] = T(1);
      G::jlp(minus, unit, column);
      unit[j] = T(0);
      for (int i = 0; i < G::dof; ++i) y[i * G::dof + j] = column[i];
    }
  }
};
template <> struct Jr<SO3> {
  static constexpr int in = 3, other = 0, rows = 3, out = 9;
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) { so3_Jr(x, y); }
};
template <class G> struct Mul {
  static constexpr int in = G::width, other = G::width, rows = 0, out = G::width;
  template <typename T> static PP_HD void forward(const T* x, const T* y, T* z) { G::mul(x, y, z); }
};
template <class G> struct Between {
  static constexpr int in = G::width, other = G::width, rows = 0, out = G::width;
  template <typename T> static PP_HD void forward(const T* x, const T* y, T* z) {
    T inverse[G::width];
    G::inv(x, inverse);
    G::mul(inverse, y, z);
  }
};
template <class G> struct Retract {
  static constexpr int in = G::width, other = G::dof, rows = 0, out = G::width;
  template <typename T> static PP_HD void forward(const T* x, const T* a, T* z) {
    using std::sqrt;
    T step[G::width], square = T(0);
    G::exp(a, step);
    G::mul(step, x, z);
    for (int i = 0; i < G::unit_length; ++i) square = square + z[G::unit + i] * z[G::unit + i];
    const T scale = T(1) / sqrt(square);
    for (int i = 0; i < G::unit_length; ++i) z[G::unit + i] = z[G::unit + i] * scale;
  }
};
template <class G> struct Act {
  static constexpr int in = G::width, other = G::point, rows = 0, out = G::point;
  template <typename T> static PP_HD void forward(const T* x, const T* p, T* y) { G::act(x, p, y); }
};
template <class G> struct ActHomogeneous {
  static constexpr int in = G::width, other = G::point + 1, rows = 0, out = G::point + 1;
  template <typename T> static PP_HD void forward(const T* x, const T* p, T* y) { G::act_homogeneous(x, p, y); }
};
template <class G> struct Adj {
  static constexpr int in = G::width, other = G::dof, rows = 0, out = G::dof;
  template <typename T> static PP_HD void forward(const T* x, const T* a, T* y) { G::adj(x, a, y); }
};
template <class G> struct AdjT {
  static constexpr int in = G::width, other = G::dof, rows = 0, out = G::dof;
  template <typename T> static PP_HD void forward(const T* x, const T* a, T* y) { G::adjt(x, a, y); }
};
template <class G> struct Jinvp {
  static constexpr int in = G::width, other = G::dof, rows = 0, out = G::dof;
  template <typename T> static PP_HD void forward(const T* x, const T* a, T* y) { G::jinvp(x, a, y); }
};

template <class G> struct Euler {
  static constexpr int in = G::width, other = 0, rows = 0, out = 3;
  template <typename T> static PP_HD void forward(const T* x, const T*, T* y) { G::euler(x, y); }
};
// A gradient to the coordinates as a leaf gets it: left tangent, then zeros.
template <class G> struct ToLeaf {
  static constexpr int in = G::width, other = G::width, rows = 0, out = G::width;
  template <typename T> static PP_HD void forward(const T* x, const T* g, T* y) {
    G::left_tangent(x, g, y);
    for (int i = G::dof; i < G::width; ++i) y[i] = T(0);
  }
};

// The transposed derivative of Op at (x, y) times g, into gx and gy: by dual numbers in all directions at
// once, unless a Reverse<Op> is written out (reverse.h and the files that it names).
template <class Op> struct Reverse {
  static constexpr bool on_packs = false;   // the directions fill the vectors
  template <typename T>
  static PP_HD void backward(const T* x, const T* y, const T* g, T* gx, T* gy) {
    using D = Dual<T, Op::in + Op::other>;
    D a[Op::in], b[Op::other + 1], z[Op::out];
    for (int i = 0; i < Op::in; ++i) a[i] = D::variable(x[i], i);
    for (int i = 0; i < Op::other; ++i) b[i] = D::variable(y[i], Op::in + i);
    Op::forward(a, b, z);
    Tangent<T, Op::in + Op::other> sum;
    sum.zero();
    for (int i = 0; i < Op::out; ++i) sum.combine(T(1), sum, g[i], z[i].d);
    for (int i = 0; i < Op::in; ++i) gx[i] = sum[i];
    for (int i = 0; i < Op::other; ++i) gy[i] = sum[Op::in + i];
  }
};

}  // namespace pypose
