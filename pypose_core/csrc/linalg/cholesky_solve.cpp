#include <algorithm>

#include "linalg/cholesky.h"
#include "linalg/dense_kernels.h"

namespace pypose {
namespace {

inline void subtract_multiple(int n, double factor, const double* __restrict x, double* __restrict y) {
  for (int i = 0; i < n; ++i) y[i] -= factor * x[i];
}

inline double dot(int n, const double* x, const double* y) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

}  // namespace

void Cholesky::solve(double* X, int count, int64_t ldx) const {
  const Symbolic& symbolic = *symbolic_;
  const BlockPattern& pattern = symbolic.pattern;
  const int n = pattern.blocks();
  std::vector<double> x(pattern.dimension()), front(symbolic.largest_front);
  // The rows below a supernode, as runs of the eliminated numbering.
  const auto each_row_block = [&](const Supernode& node, auto&& call) {
    for (size_t r = 0; r < node.row_blocks.size(); ++r)
      call(front.data() + node.columns + node.row_start[r], x.data() + symbolic.eliminated_start[node.row_blocks[r]],
           node.row_start[r + 1] - node.row_start[r]);
  };
  for (int right = 0; right < count; ++right, X += ldx) {
    for (int k = 0; k < n; ++k)
      std::copy_n(X + pattern.start[symbolic.order[k]], pattern.size[symbolic.order[k]],
                  x.data() + symbolic.eliminated_start[k]);
    for (const Supernode& node : symbolic.supernodes) {   // L y = P b
      const double* panel = factor_.get() + node.panel;
      const int ld = node.columns + node.rows;
      std::copy_n(x.data() + node.first_column, node.columns, front.data());
      std::fill_n(front.data() + node.columns, node.rows, 0.0);
      for (int j = 0; j < node.columns; ++j, panel += ld) {
        front[j] /= panel[j];
        subtract_multiple(ld - j - 1, front[j], panel + j + 1, front.data() + j + 1);
      }
      std::copy_n(front.data(), node.columns, x.data() + node.first_column);
      each_row_block(node, [](const double* from, double* to, int size) {
        for (int i = 0; i < size; ++i) to[i] += from[i];
      });
    }
    for (auto node = symbolic.supernodes.rbegin(); node != symbolic.supernodes.rend(); ++node) {   // L^T P x = y
      const int ld = node->columns + node->rows;
      const double* panel = factor_.get() + node->panel + size_t(ld) * node->columns;
      std::copy_n(x.data() + node->first_column, node->columns, front.data());
      each_row_block(*node, [](double* to, const double* from, int size) { std::copy_n(from, size, to); });
      for (int j = node->columns - 1; j >= 0; --j) {
        panel -= ld;
        front[j] = (front[j] - dot(ld - j - 1, panel + j + 1, front.data() + j + 1)) / panel[j];
      }
      std::copy_n(front.data(), node->columns, x.data() + node->first_column);
    }
    for (int k = 0; k < n; ++k)
      std::copy_n(x.data() + symbolic.eliminated_start[k], pattern.size[symbolic.order[k]],
                  X + pattern.start[symbolic.order[k]]);
  }
}

}  // namespace pypose
