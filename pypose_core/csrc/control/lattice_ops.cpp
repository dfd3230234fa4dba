// torch.ops.pypose.cheapest_way: dynamic programming over offsets beside a path.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace pypose {
namespace {

// The column (K,) at each of K stations that together cost least: start[j_0] + sum over k > 0 of cost[k, j_k] +
// change[j_k - j_{k-1} + R].  Of equal ones, those with the lower columns.
//   cost (K, M), its first row unused; start (M); change (2 R + 1), for a step of -R to R columns; no others are made.
at::Tensor cheapest_way(const at::Tensor& cost, const at::Tensor& start, const at::Tensor& change) {
  for (const at::Tensor* t : {&cost, &start, &change})
    TORCH_CHECK(t->scalar_type() == at::kDouble && t->is_contiguous(),
                "cheapest_way: arguments must be contiguous float64");
  TORCH_CHECK(cost.dim() == 2 && cost.size(0) > 0 && cost.size(1) > 0 && start.dim() == 1 &&
                  start.size(0) == cost.size(1) && change.dim() == 1 && change.size(0) % 2 == 1,
              "cheapest_way: cost must be (K, M), start (M,) and change (2 R + 1,), got ", cost.sizes(), ", ",
              start.sizes(), " and ", change.sizes());
  const int64_t K = cost.size(0), M = cost.size(1), R = change.size(0) / 2;
  const double *each = cost.const_data_ptr<double>(), *step = change.const_data_ptr<double>() + R;
  std::vector<double> best(start.const_data_ptr<double>(), start.const_data_ptr<double>() + M), next(M);
  std::vector<int64_t> came(K * M);
  for (int64_t k = 1; k < K; ++k) {
    for (int64_t i = 0; i < M; ++i) {
      double least = std::numeric_limits<double>::infinity();
      int64_t from = std::max<int64_t>(i - R, 0);
      for (int64_t j = from; j <= std::min(i + R, M - 1); ++j)
        if (const double total = best[j] + step[i - j]; total < least) least = total, from = j;
      next[i] = least + each[k * M + i];
      came[k * M + i] = from;
    }
    best.swap(next);
  }
  at::Tensor way = at::empty({K}, cost.options().dtype(at::kLong));
  int64_t* to = way.mutable_data_ptr<int64_t>();
  int64_t j = std::min_element(best.begin(), best.end()) - best.begin();
  for (int64_t k = K - 1; k >= 0; --k) {
    to[k] = j;
    j = came[k * M + j];
  }
  return way;
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) { m.def("cheapest_way(Tensor cost, Tensor start, Tensor change) -> Tensor"); }

TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("cheapest_way", pypose::cheapest_way); }
