// Loops over rows for the CPU, and the table of a group's kernels made of them.  No torch headers, so that
// a group compiles in seconds.
#pragma once

#include "lie/kernel.h"
#include "lie/reverse.h"

namespace pypose {

template <class Op, typename T>
void forward_rows(const RowsForward& r, int64_t n) {
  const T *x = static_cast<const T*>(r.x), *y = static_cast<const T*>(r.y);
  T* __restrict out = static_cast<T*>(r.out);
  for (int64_t i = 0; i < n; ++i, x += r.x_stride, y += r.y_stride, out += Op::out) Op::forward(x, y, out);
}

template <class Op, typename T>
void backward_rows(const RowsBackward& r, int64_t n) {
  const T *x = static_cast<const T*>(r.x), *y = static_cast<const T*>(r.y), *g = static_cast<const T*>(r.g);
  T *gx = static_cast<T*>(r.gx), *gy = static_cast<T*>(r.gy);
  T unwanted_x[Op::in], unwanted_y[Op::other + 1];
  const int64_t gx_step = gx ? Op::in : 0, gy_step = gy ? Op::other : 0;
  if (!gx) gx = unwanted_x;
  if (!gy) gy = unwanted_y;
  for (int64_t i = 0; i < n; ++i, x += r.x_stride, y += r.y_stride, g += r.g_stride, gx += gx_step, gy += gy_step)
    Reverse<Op>::backward(x, y, g, gx, gy);
}

template <class Op>
constexpr Kernel kernel(const char* group, const char* name) {
  return {group, name, Op::in, Op::other, Op::rows, Op::out,
          {&forward_rows<Op, float>, &forward_rows<Op, double>},
          {&backward_rows<Op, float>, &backward_rows<Op, double>}};
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
