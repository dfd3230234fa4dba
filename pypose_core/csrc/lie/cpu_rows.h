// Loops over rows for the CPU, and the table of a group's kernels made of them.  No torch headers, so that
// a group compiles in seconds.
#pragma once

#include "lie/blocks.h"
#include "lie/kernel.h"
#include "lie/composed_reverse.h"
#include "lie/simd_trigonometry.h"

namespace pypose {

// Where the rows of an input or a result lie, and how far a pack's rows are from the next pack's.
template <typename T, int width>
struct Source {
  const T* row;
  int64_t step;
  Source(const Rows& r, int i) : row(static_cast<const T*>(r.in[i])), step(r.step[i]) {}
  PP_HD void load(int64_t count, Pack<T>* out) {
    if constexpr (width > 0) {
      pypose::load<width>(row, step, count, out);
      row += Pack<T>::width * step;
    }
  }
  PP_HD bool dense() const { return width == 0 || step == width; }
  PP_HD void load_dense(Pack<T>* out) {
    if constexpr (width > 0) {
      pypose::load_dense<width>(row, out);
      row += Pack<T>::width * width;
    }
  }
};
template <typename T, int width>
struct Target {
  T* row;   // null where not wanted
  explicit Target(void* rows) : row(static_cast<T*>(rows)) {}
  PP_HD void store(const Pack<T>* in, int64_t count) {
    if constexpr (width > 0) {
      if (!row) return;
      pypose::store<width>(in, count, row);
      row += Pack<T>::width * width;
    }
  }
  PP_HD void store_dense(const Pack<T>* in) {
    if constexpr (width > 0) {
      if (!row) return;
      pypose::store_dense<width>(in, row);
      row += Pack<T>::width * width;
    }
  }
};

// Dense rows whose signs change, at the price of a copy: they need not come apart into packs.
template <class Op, typename T>
void change_signs(const Rows& r, int64_t n) {
  constexpr int W = Pack<T>::width;
  static_assert(W % Op::in == 0);
  const T* from = static_cast<const T*>(r.in[0]);
  T* to = static_cast<T*>(r.out[0]);
  Pack<T> signs, numbers;
  for (int l = 0; l < W; ++l) signs.v[l] = T(Op::signs[l % Op::in]);
  int64_t i = 0;
  for (; i + W <= n * Op::in; i += W) {
    std::memcpy(&numbers.v, from + i, sizeof numbers.v);
    numbers.v *= signs.v;
    std::memcpy(to + i, &numbers.v, sizeof numbers.v);
  }
  for (; i < n * Op::in; ++i) to[i] = T(Op::signs[i % Op::in]) * from[i];
}

// As many rows as a pack holds at once; the last pack may be partly filled.
template <class Op, typename T>
void forward_rows(const Rows& r, int64_t n) {
  if constexpr (requires { Op::signs; }) {
    if (r.step[0] == Op::in) return change_signs<Op, T>(r, n);
  }
  Source<T, Op::in> x(r, 0);
  Source<T, Op::other> y(r, 1);
  Target<T, Op::out> z(r.out[0]);
  if (x.dense() && y.dense()) {
    for (; n >= Pack<T>::width; n -= Pack<T>::width) {
      Pack<T> a[Op::in], b[Op::other + 1], c[Op::out];
      x.load_dense(a), y.load_dense(b);
      Op::forward(a, b, c);
      z.store_dense(c);
    }
  }
  for (; n > 0; n -= Pack<T>::width) {
    Pack<T> a[Op::in], b[Op::other + 1], c[Op::out];
    x.load(n, a), y.load(n, b);
    Op::forward(a, b, c);
    z.store(c, n);
  }
}

template <class Op, typename T>
void backward_packs(const Rows& r, int64_t n) {
  Source<T, Op::in> x(r, 0);
  Source<T, Op::other> y(r, 1);
  Source<T, Op::out> g(r, 2);
  Target<T, Op::in> gx(r.out[0]);
  Target<T, Op::other> gy(r.out[1]);
  if (x.dense() && y.dense() && g.dense()) {
    for (; n >= Pack<T>::width; n -= Pack<T>::width) {
      Pack<T> a[Op::in], b[Op::other + 1], c[Op::out], da[Op::in], db[Op::other + 1];
      x.load_dense(a), y.load_dense(b), g.load_dense(c);
      Reverse<Op>::backward(a, b, c, da, db);
      gx.store_dense(da), gy.store_dense(db);
    }
  }
  for (; n > 0; n -= Pack<T>::width) {
    Pack<T> a[Op::in], b[Op::other + 1], c[Op::out], da[Op::in], db[Op::other + 1];
    x.load(n, a), y.load(n, b), g.load(n, c);
    Reverse<Op>::backward(a, b, c, da, db);
    gx.store(da, n), gy.store(db, n);
  }
}

// The derivatives in all directions fill the vectors: one row after the other.
template <class Op, typename T>
void backward_one_by_one(const Rows& r, int64_t n) {
  const T *x = static_cast<const T*>(r.in[0]), *y = static_cast<const T*>(r.in[1]), *g = static_cast<const T*>(r.in[2]);
  T *gx = static_cast<T*>(r.out[0]), *gy = static_cast<T*>(r.out[1]);
  for (int64_t i = 0; i < n; ++i, x += r.step[0], y += r.step[1], g += r.step[2]) {
    T da[Op::in], db[Op::other + 1];
    Reverse<Op>::backward(x, y, g, da, db);
    for (int j = 0; gx && j < Op::in; ++j) gx[i * Op::in + j] = da[j];
    for (int j = 0; gy && j < Op::other; ++j) gy[i * Op::other + j] = db[j];
  }
}

template <class Op, typename T>
void backward_rows(const Rows& r, int64_t n) {
  if constexpr (Reverse<Op>::on_packs) {
    backward_packs<Op, T>(r, n);
  } else {
    backward_one_by_one<Op, T>(r, n);
  }
}

// With x + e hx and y + e hy for x and y: the e-part of z is the derivative of <h, J' g> by g, and that of (gx, gy)
// its derivative by (x, y), since second derivatives are symmetric.  In packs where the reverse is, S is a Pack.
template <class Op, typename S>
PP_HD void double_backward_row(const S* x, const S* y, const S* g, const S* hx, const S* hy, S* gg, S* gx, S* gy) {
  using D = Dual<S, 1>;
  D a[Op::in], b[Op::other + 1], c[Op::out], z[Op::out], da[Op::in], db[Op::other + 1];
  for (int j = 0; j < Op::in; ++j) a[j].v = x[j], a[j].d[0] = hx[j];
  for (int j = 0; j < Op::other; ++j) b[j].v = y[j], b[j].d[0] = hy[j];
  for (int j = 0; j < Op::out; ++j) c[j] = D(g[j]);
  Op::forward(a, b, z);
  for (int j = 0; j < Op::out; ++j) gg[j] = z[j].d[0];
  Reverse<Op>::backward(a, b, c, da, db);
  for (int j = 0; j < Op::in; ++j) gx[j] = da[j].d[0];
  for (int j = 0; j < Op::other; ++j) gy[j] = db[j].d[0];
}

template <class Op, typename T>
void double_backward_rows(const Rows& r, int64_t n) {
  if constexpr (Reverse<Op>::on_packs) {
    Source<T, Op::in> x(r, 0), hx(r, 3);
    Source<T, Op::other> y(r, 1), hy(r, 4);
    Source<T, Op::out> g(r, 2);
    Target<T, Op::out> gg(r.out[0]);
    Target<T, Op::in> gx(r.out[1]);
    Target<T, Op::other> gy(r.out[2]);
    for (; n > 0; n -= Pack<T>::width) {
      Pack<T> a[Op::in], b[Op::other + 1], c[Op::out], ha[Op::in], hb[Op::other + 1], dc[Op::out], da[Op::in],
          db[Op::other + 1];
      x.load(n, a), y.load(n, b), g.load(n, c), hx.load(n, ha), hy.load(n, hb);
      double_backward_row<Op>(a, b, c, ha, hb, dc, da, db);
      gg.store(dc, n), gx.store(da, n), gy.store(db, n);
    }
  } else {
    const auto row = [&](int i, int64_t at) { return static_cast<const T*>(r.in[i]) + at * r.step[i]; };
    const auto keep = [](const T* from, void* rows, int64_t at, int width) {
      for (int j = 0; rows && j < width; ++j) static_cast<T*>(rows)[at * width + j] = from[j];
    };
    for (int64_t i = 0; i < n; ++i) {
      T gg[Op::out], gx[Op::in], gy[Op::other + 1];
      double_backward_row<Op>(row(0, i), row(1, i), row(2, i), row(3, i), row(4, i), gg, gx, gy);
      keep(gg, r.out[0], i, Op::out), keep(gx, r.out[1], i, Op::in), keep(gy, r.out[2], i, Op::other);
    }
  }
}

template <class Op>
constexpr Kernel kernel(const char* group, const char* name) {
  return {group, name, Op::in, Op::other, Op::rows, Op::out,
          {{&forward_rows<Op, float>, &forward_rows<Op, double>},
           {&backward_rows<Op, float>, &backward_rows<Op, double>},
           {&double_backward_rows<Op, float>, &double_backward_rows<Op, double>}}};
}

}  // namespace pypose

#define PYPOSE_GROUP_KERNELS(G)                                                              \
  extern const ::pypose::Kernel G##_kernels[::pypose::kernels_per_group];                    \
  const ::pypose::Kernel G##_kernels[::pypose::kernels_per_group] = {                        \
      kernel<Exp<G>>(#G, "exp"), kernel<Log<G>>(#G, "log"), kernel<Inv<G>>(#G, "inv"),       \
      kernel<Matrix<G>>(#G, "matrix"), kernel<Jr<G>>(#G, "jr"), kernel<Mul<G>>(#G, "mul"),   \
      kernel<Between<G>>(#G, "between"), kernel<Retract<G>>(#G, "retract"),                  \
      kernel<Act<G>>(#G, "act"), kernel<ActHomogeneous<G>>(#G, "act_homogeneous"),           \
      kernel<Adj<G>>(#G, "adj"), kernel<AdjT<G>>(#G, "adjt"), kernel<Jinvp<G>>(#G, "jinvp"),   \
      kernel<Euler<G>>(#G, "euler"), kernel<ToLeaf<G>>(#G, "to_leaf")}
