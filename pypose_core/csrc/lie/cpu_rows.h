// Loops over rows for the CPU, and the table of a group's kernels made of them.  No torch headers, so that
// a group compiles in seconds.
#pragma once

#include "lie/blocks.h"
#include "lie/kernel.h"
#include "lie/reverse.h"
#include "lie/simd_trigonometry.h"

namespace pypose {

// As many rows as a pack holds at once, the rest one by one.
template <class Op, typename T>
void forward_rows(const Rows& r, int64_t n) {
  constexpr int W = Pack<T>::width;
  const T *x = static_cast<const T*>(r.in[0]), *y = static_cast<const T*>(r.in[1]);
  T* __restrict out = static_cast<T*>(r.out[0]);
  int64_t i = 0;
  for (; i + W <= n; i += W, x += W * r.step[0], y += W * r.step[1], out += W * Op::out) {
    Pack<T> a[Op::in], b[Op::other + 1], z[Op::out];
    load<Op::in>(x, r.step[0], a);
    if constexpr (Op::other > 0) load<Op::other>(y, r.step[1], b);
    Op::forward(a, b, z);
    store<Op::out>(z, out);
  }
  for (; i < n; ++i, x += r.step[0], y += r.step[1], out += Op::out) Op::forward(x, y, out);
}

// A result's rows, or one that takes what is not wanted.
template <typename T, int width>
struct Target {
  T unwanted[width + 1];
  T* row;
  int64_t step;
  explicit Target(void* rows) : row(rows ? static_cast<T*>(rows) : unwanted), step(rows ? width : 0) {}
};

template <class Op, typename T>
void backward_rows(const Rows& r, int64_t n) {
  constexpr int W = Pack<T>::width;
  const T *x = static_cast<const T*>(r.in[0]), *y = static_cast<const T*>(r.in[1]), *g = static_cast<const T*>(r.in[2]);
  Target<T, Op::in> gx(r.out[0]);
  Target<T, Op::other> gy(r.out[1]);
  int64_t i = 0;
  if constexpr (Reverse<Op>::on_packs) {
    for (; i + W <= n; i += W) {
      Pack<T> a[Op::in], b[Op::other + 1], c[Op::out], da[Op::in], db[Op::other + 1];
      load<Op::in>(x, r.step[0], a);
      if constexpr (Op::other > 0) load<Op::other>(y, r.step[1], b);
      load<Op::out>(g, r.step[2], c);
      Reverse<Op>::backward(a, b, c, da, db);
      if (gx.step) store<Op::in>(da, gx.row);
      if constexpr (Op::other > 0)
        if (gy.step) store<Op::other>(db, gy.row);
      x += W * r.step[0], y += W * r.step[1], g += W * r.step[2], gx.row += W * gx.step, gy.row += W * gy.step;
    }
  }
  for (; i < n; ++i, x += r.step[0], y += r.step[1], g += r.step[2], gx.row += gx.step, gy.row += gy.step)
    Reverse<Op>::backward(x, y, g, gx.row, gy.row);
}

// With x + e hx and y + e hy for x and y: the e-part of z is the derivative of <h, J' g> by g, and that of (gx, gy)
// its derivative by (x, y), since second derivatives are symmetric.
template <class Op, typename T>
void double_backward_rows(const Rows& r, int64_t n) {
  using D = Dual<T, 1>;
  const auto row = [&](int i, int64_t at) { return static_cast<const T*>(r.in[i]) + at * r.step[i]; };
  const auto moved = [](const T* value, const T* direction, int width, D* out) {
    for (int j = 0; j < width; ++j) out[j].v = value[j], out[j].d[0] = direction[j];
  };
  Target<T, Op::out> gg(r.out[0]);
  Target<T, Op::in> gx(r.out[1]);
  Target<T, Op::other> gy(r.out[2]);
  for (int64_t i = 0; i < n; ++i, gg.row += gg.step, gx.row += gx.step, gy.row += gy.step) {
    D x[Op::in], y[Op::other + 1], g[Op::out], z[Op::out], dx[Op::in], dy[Op::other + 1];
    moved(row(0, i), row(3, i), Op::in, x);
    if constexpr (Op::other > 0) moved(row(1, i), row(4, i), Op::other, y);
    for (int j = 0; j < Op::out; ++j) g[j] = D(row(2, i)[j]);
    Op::forward(x, y, z);
    for (int j = 0; j < Op::out; ++j) gg.row[j] = z[j].d[0];
    Reverse<Op>::backward(x, y, g, dx, dy);
    for (int j = 0; j < Op::in; ++j) gx.row[j] = dx[j].d[0];
    for (int j = 0; j < Op::other; ++j) gy.row[j] = dy[j].d[0];
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
