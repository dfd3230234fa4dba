// Which rows of two broadcast tensors meet: the batch dimensions, coalesced, with the distance of each
// operand's neighbours along them (0 where it is broadcast).  Nothing is copied.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

namespace pypose {

struct RowPlan {
  struct Dimension {
    int64_t size, x, y, g;
  };
  c10::SmallVector<Dimension, 4> dimensions;   // outermost first; never empty
  int64_t total = 1;
};

// Distance of neighbours along batch dimension d of `shape`, of a tensor whose last dimension is a row.
inline int64_t row_stride(const at::Tensor& t, int64_t d, int64_t batch_dims) {
  if (!t.defined()) return 0;
  const int64_t own = d - (batch_dims - (t.dim() - 1));
  return own < 0 || t.size(own) == 1 ? 0 : t.stride(own);
}

inline RowPlan plan_rows(at::IntArrayRef batch, const at::Tensor& x, const at::Tensor& y, const at::Tensor& g) {
  RowPlan plan;
  const int64_t dims = batch.size();
  for (int64_t d = 0; d < dims; ++d) {
    plan.total *= batch[d];
    if (batch[d] == 1) continue;
    const RowPlan::Dimension next{batch[d], row_stride(x, d, dims), row_stride(y, d, dims), row_stride(g, d, dims)};
    if (!plan.dimensions.empty()) {
      auto& last = plan.dimensions.back();
      if (last.x == next.x * next.size && last.y == next.y * next.size && last.g == next.g * next.size) {
        last = {last.size * next.size, next.x, next.y, next.g};
        continue;
      }
    }
    plan.dimensions.push_back(next);
  }
  if (plan.dimensions.empty()) plan.dimensions.push_back({1, 0, 0, 0});
  return plan;
}

// Calls run(first row's offsets x, y, g; first dense row; number of rows) for the stretches that make up the
// dense rows [begin, end).
template <class Run>
void for_each_stretch(const RowPlan& plan, int64_t begin, int64_t end, const Run& run) {
  const auto& inner = plan.dimensions.back();
  while (begin < end) {
    const int64_t within = begin % inner.size;
    int64_t outer = begin / inner.size, x = within * inner.x, y = within * inner.y, g = within * inner.g;
    for (int64_t d = static_cast<int64_t>(plan.dimensions.size()) - 2; d >= 0; --d) {
      const auto& dimension = plan.dimensions[d];
      const int64_t at = outer % dimension.size;
      outer /= dimension.size;
      x += at * dimension.x, y += at * dimension.y, g += at * dimension.g;
    }
    const int64_t n = std::min(end - begin, inner.size - within);
    run(x, y, g, begin, n);
    begin += n;
  }
}

}  // namespace pypose
