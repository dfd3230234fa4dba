// What operators on graphs ask of their arguments.
#pragma once

#include <ATen/core/Tensor.h>

#include "graph/robust.h"

namespace pypose {

inline void check(const at::Tensor& t, at::ScalarType type, at::IntArrayRef shape, const char* name) {
  TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == type && t.is_contiguous(), name, " must be a contiguous ",
              toString(type), " tensor on the CPU; it is ", toString(t.scalar_type()), " on ", t.device());
  TORCH_CHECK(t.sizes() == shape, name, " must have shape ", shape, "; it has ", t.sizes());
}

inline void check_index(const at::Tensor& index, int64_t width, int64_t variables) {
  check(index, at::kLong, {index.size(0), width}, "index");
  const int64_t* p = index.const_data_ptr<int64_t>();
  for (int64_t k = 0; k < index.numel(); ++k)
    TORCH_CHECK(0 <= p[k] && p[k] < variables, "factor ", k / width, " names variable ", p[k], " of ", variables);
}

inline Kernel checked_kernel(int64_t kernel, double width) {
  TORCH_CHECK(0 <= kernel && kernel < int64_t(Kernel::kCount), "no robust kernel ", kernel);
  TORCH_CHECK(kernel == 0 || width > 0, "the width of a robust kernel must be positive, not ", width);
  return Kernel(kernel);
}

// Slots must lie within H; checked once per analysis, on the Python side of the same package, and here again
// because a wrong one would corrupt memory.
inline void check_slots(const at::Tensor& slots, const at::Tensor& column, int64_t largest, const at::Tensor& H,
                 const at::Tensor& g) {
  const int64_t* s = slots.const_data_ptr<int64_t>();
  for (int64_t k = 0; k < slots.numel(); ++k)
    TORCH_CHECK(s[k] < 0 || (s[k] >> 1) + largest <= H.numel(), "slot ", s[k], " lies outside the matrix");
  const int64_t* c = column.const_data_ptr<int64_t>();
  for (int64_t k = 0; k < column.numel(); ++k) TORCH_CHECK(c[k] < g.numel(), "column ", c[k], " lies outside");
}

}  // namespace pypose
