#include "graph/chordal.h"

#include <algorithm>
#include <memory>

#include "linalg/cholesky.h"
#include "linalg/minimum_degree.h"

namespace pypose {

Relaxation::Relaxation(std::vector<int> free, int64_t count, const int64_t* index)
    : free_(std::move(free)), count_(count), index_(index) {
  for (int k : free_) unknowns_ += k >= 0;
}

bool Relaxation::solve(int d, int c, const std::vector<double>& A, const std::vector<double>& b,
                       const std::vector<double>& w, double* x) {
  if (unknowns_ == 0) return true;
  std::vector<std::pair<int, int>> couplings;
  couplings.reserve(count_);
  for (int64_t f = 0; f < count_; ++f) {
    const int i = free_[index_[2 * f]], j = free_[index_[2 * f + 1]];
    if (i >= 0 && j >= 0) couplings.push_back({i, j});
  }
  BlockPattern pattern = BlockPattern::from_couplings(std::vector<int>(unknowns_, d), couplings);
  if (order_.empty()) order_ = minimum_degree(pattern.graph(), pattern.size);
  const auto symbolic = std::make_shared<const Symbolic>(std::move(pattern), order_);
  const BlockPattern& blocks = symbolic->pattern;

  // H = sum w [A I]^T [A I], g = sum w [A I]^T r at the held values; the free ones start at 0.
  const int block = d * c;
  const int64_t n = blocks.dimension();
  std::vector<double> H(blocks.values(), 0.0), g(n * c, 0.0), r(block);
  for (int64_t f = 0; f < count_; ++f) {
    const int64_t from = index_[2 * f], to = index_[2 * f + 1];
    const int i = free_[from], j = free_[to];
    const double* Af = A.data() + f * d * d;
    for (int k : {i, j})
      if (k >= 0)
        for (int a = 0; a < d; ++a) H[blocks.value_begin[blocks.column_begin[k]] + a * d + a] += w[f];
    if (i >= 0 && j >= 0) {
      double* at = H.data() + blocks.value_begin[blocks.find(std::max(i, j), std::min(i, j))];
      for (int a = 0; a < d; ++a)
        for (int e = 0; e < d; ++e) at[a * d + e] += w[f] * (j > i ? Af[a * d + e] : Af[e * d + a]);
    }
    for (int a = 0; a < d; ++a)
      for (int k = 0; k < c; ++k) {
        double sum = b[f * block + a * c + k] + (j < 0 ? x[to * block + a * c + k] : 0);
        for (int e = 0; i < 0 && e < d; ++e) sum += Af[a * d + e] * x[from * block + e * c + k];
        r[a * c + k] = w[f] * sum;
      }
    for (int a = 0; a < d; ++a)
      for (int k = 0; k < c; ++k) {
        if (j >= 0) g[k * n + j * d + a] -= r[a * c + k];
        for (int e = 0; i >= 0 && e < d; ++e) g[k * n + i * d + a] -= Af[e * d + a] * r[e * c + k];
      }
  }
  Cholesky cholesky(symbolic);
  if (cholesky.factorize(H.data()) >= 0) return false;
  cholesky.solve(g.data(), c, n);
  for (size_t v = 0; v < free_.size(); ++v)
    for (int a = 0; free_[v] >= 0 && a < d; ++a)
      for (int k = 0; k < c; ++k) x[v * block + a * c + k] = g[k * n + free_[v] * d + a];
  return true;
}

}  // namespace pypose
