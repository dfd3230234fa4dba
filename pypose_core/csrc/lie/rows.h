// Which rows of broadcast tensors meet: the batch dimensions, coalesced, with the distance of each tensor's
// neighbours along them (0 where it is broadcast).  Nothing is copied.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include <array>

namespace pypose {

template <int N>
struct RowPlan {
  struct Dimension {
    int64_t size;
    std::array<int64_t, N> step;
  };
  c10::SmallVector<Dimension, 4> dimensions;   // outermost first; never empty
  int64_t total = 1;
};

// Distance of neighbours along batch dimension d of `shape`, of a tensor whose last dimension is a row.
inline int64_t row_step(const at::Tensor& t, int64_t d, int64_t batch_dims) {
  if (!t.defined()) return 0;
  const int64_t own = d - (batch_dims - (t.dim() - 1));
  return own < 0 || t.size(own) == 1 ? 0 : t.stride(own);
}

template <int N>
RowPlan<N> plan_rows(at::IntArrayRef batch, const std::array<at::Tensor, N>& operands) {
  RowPlan<N> plan;
  const int64_t dims = batch.size();
  for (int64_t d = 0; d < dims; ++d) {
    plan.total *= batch[d];
    if (batch[d] == 1) continue;
    typename RowPlan<N>::Dimension next{batch[d], {}};
    for (int i = 0; i < N; ++i) next.step[i] = row_step(operands[i], d, dims);
    if (!plan.dimensions.empty()) {
      auto& last = plan.dimensions.back();
      bool joined = true;
      for (int i = 0; i < N; ++i) joined = joined && last.step[i] == next.step[i] * next.size;
      if (joined) {
        last = {last.size * next.size, next.step};
        continue;
      }
    }
    plan.dimensions.push_back(next);
  }
  if (plan.dimensions.empty()) plan.dimensions.push_back({1, {}});
  return plan;
}

// Calls run(offset of the first row of each operand, first dense row, number of rows) for the stretches that
// make up the dense rows [begin, end).
template <int N, class Run>
void for_each_stretch(const RowPlan<N>& plan, int64_t begin, int64_t end, const Run& run) {
  const auto& inner = plan.dimensions.back();
  while (begin < end) {
    const int64_t within = begin % inner.size;
    int64_t outer = begin / inner.size;
    std::array<int64_t, N> offset;
    for (int i = 0; i < N; ++i) offset[i] = within * inner.step[i];
    for (int64_t d = static_cast<int64_t>(plan.dimensions.size()) - 2; d >= 0; --d) {
      const auto& dimension = plan.dimensions[d];
      const int64_t at = outer % dimension.size;
      outer /= dimension.size;
      for (int i = 0; i < N; ++i) offset[i] += at * dimension.step[i];
    }
    const int64_t n = std::min(end - begin, inner.size - within);
    run(offset, begin, n);
    begin += n;
  }
}

}  // namespace pypose
