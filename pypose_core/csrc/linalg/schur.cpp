#include "linalg/schur.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "linalg/dense_kernels.h"
#include "linalg/minimum_degree.h"

namespace pypose {
namespace {

constexpr double kSmallestPivot = 1e-14;

// The lower Cholesky factor of A (n x n, row-major, lower triangle counts), in place.
bool factorize_small(int n, double* A) {
  for (int j = 0; j < n; ++j) {
    double pivot = A[j * n + j];
    const double floor = kSmallestPivot * std::abs(pivot);
    for (int k = 0; k < j; ++k) pivot -= A[j * n + k] * A[j * n + k];
    if (!(pivot > floor)) return false;
    pivot = A[j * n + j] = std::sqrt(pivot);
    for (int i = j + 1; i < n; ++i) {
      double sum = A[i * n + j];
      for (int k = 0; k < j; ++k) sum -= A[i * n + k] * A[j * n + k];
      A[i * n + j] = sum / pivot;
    }
  }
  return true;
}

void forward(int n, const double* L, double* x) {
  for (int i = 0; i < n; ++i) {
    double sum = x[i];
    for (int k = 0; k < i; ++k) sum -= L[i * n + k] * x[k];
    x[i] = sum / L[i * n + i];
  }
}

void backward(int n, const double* L, double* x) {
  for (int i = n - 1; i >= 0; --i) {
    double sum = x[i];
    for (int k = i + 1; k < n; ++k) sum -= L[k * n + i] * x[k];
    x[i] = sum / L[i * n + i];
  }
}

}  // namespace

Schur::Schur(std::shared_ptr<const BlockPattern> pattern, const std::vector<bool>& eliminated)
    : pattern_(std::move(pattern)) {
  const BlockPattern& A = *pattern_;
  const int n = A.blocks();
  std::vector<int> reduced_of(n, -1), size;
  for (int i = 0; i < n; ++i)
    if (!eliminated[i]) {
      reduced_of[i] = int(kept_.size());
      kept_.push_back(i);
      size.push_back(A.size[i]);
    }
  // Neighbours of each eliminated block: (kept block, 2 * offset + transposed).
  std::vector<std::vector<std::pair<int, int64_t>>> near(n);
  std::vector<std::pair<int, int>> couplings;
  for (int j = 0; j < n; ++j)
    for (int64_t k = A.column_begin[j] + 1; k < A.column_begin[j + 1]; ++k) {
      const int i = A.row[k];
      // The block is (i, j); its rows are to be those of the kept one.
      if (eliminated[i]) near[i].push_back({reduced_of[j], 2 * A.value_begin[k] + 1});
      else if (eliminated[j]) near[j].push_back({reduced_of[i], 2 * A.value_begin[k]});
      else couplings.push_back({reduced_of[i], reduced_of[j]});
    }
  std::map<std::pair<int, std::vector<int>>, std::vector<int>> alike;
  for (int e = 0; e < n; ++e) {
    if (!eliminated[e]) continue;
    std::sort(near[e].begin(), near[e].end());
    std::vector<int> key;
    for (const auto& [kept, at] : near[e]) key.push_back(kept);
    alike[{A.size[e], std::move(key)}].push_back(e);
  }
  std::vector<std::vector<int>> groups_of(kept_.size());
  int64_t panel = 0, inverse = 0;
  int largest = 0;
  for (auto& [key, members] : alike) {
    Group group{key.first, 0, std::move(members), {}, {}, {}, panel, inverse};
    for (int kept : key.second) {
      group.neighbours.push_back({kept, group.rows});
      group.rows += size[kept];
      groups_of[kept].push_back(int(groups_.size()));
    }
    for (int e : group.members)
      for (const auto& [kept, at] : near[e]) group.values.push_back(at);
    panel += int64_t(group.rows) * group.size * group.members.size();
    inverse += int64_t(group.size) * group.size * group.members.size();
    largest = std::max(largest, group.rows);
    groups_.push_back(std::move(group));
  }
  // Neighbours of one block become coupled, each pair of them once.
  std::vector<int> seen(kept_.size(), -1);
  for (int j = 0; j < int(kept_.size()); ++j)
    for (int g : groups_of[j])
      for (const Neighbour& near : groups_[g].neighbours)
        if (near.kept > j && std::exchange(seen[near.kept], j) != j) couplings.push_back({near.kept, j});
  BlockPattern reduced = BlockPattern::from_couplings(std::move(size), couplings);
  for (Group& group : groups_)
    for (size_t a = 0; a < group.neighbours.size(); ++a)
      for (size_t b = 0; b <= a; ++b)
        group.targets.push_back(
            reduced.value_begin[reduced.find(group.neighbours[a].kept, group.neighbours[b].kept)]);
  for (int j = 0; j < n; ++j)
    for (int64_t k = A.column_begin[j]; k < A.column_begin[j + 1]; ++k)
      if (!eliminated[j] && !eliminated[A.row[k]])
        copies_.push_back({k, reduced.find(reduced_of[A.row[k]], reduced_of[j])});
  reduced_.resize(reduced.values());
  update_.resize(size_t(largest) * largest + dense::kPadding);
  panels_.reset(new double[panel + dense::kPadding]());
  inverses_.reset(new double[inverse]());
  std::vector<int> order = minimum_degree(reduced.graph(), reduced.size);
  cholesky_ = std::make_unique<Cholesky>(std::make_shared<const Symbolic>(std::move(reduced), std::move(order)));
}

// G = W L^-T for each member, W its blocks with the neighbours and L L^T its diagonal block.
bool Schur::eliminate(const Group& group, const double* values, double damping, double shift, int* failed) {
  const BlockPattern& A = *pattern_;
  const int d = group.size, rows = group.rows;
  double *G = panels_.get() + group.panel, *L = inverses_.get() + group.inverse;
  const int64_t* at = group.values.data();
  for (int e : group.members) {
    std::copy_n(values + A.value_begin[A.column_begin[e]], d * d, L);
    for (int i = 0; i < d; ++i) L[i * d + i] += damping * L[i * d + i] + shift;
    if (!factorize_small(d, L)) {
      *failed = e;
      return false;
    }
    for (const Neighbour& near : group.neighbours) {
      const double* block = values + (*at >> 1);
      const int height = A.size[kept_[near.kept]];
      for (int j = 0; j < d; ++j) {
        double* __restrict column = G + size_t(rows) * j + near.row;
        if (*at & 1) std::copy_n(block + j * height, height, column);
        else for (int i = 0; i < height; ++i) column[i] = block[i * d + j];
      }
      ++at;
    }
    for (int j = 0; j < d; ++j) {
      double* __restrict column = G + size_t(rows) * j;
      for (int k = 0; k < j; ++k) {
        const double* __restrict before = G + size_t(rows) * k;
        const double factor = L[j * d + k];
        for (int i = 0; i < rows; ++i) column[i] -= factor * before[i];
      }
      const double scale = 1 / L[j * d + j];
      for (int i = 0; i < rows; ++i) column[i] *= scale;
    }
    G += size_t(rows) * d;
    L += d * d;
  }
  return true;
}

// The lower triangle of -G G^T (in update_, column-major) to the blocks of the Schur complement (row-major).
void Schur::scatter(const Group& group) {
  const BlockPattern& S = reduced().pattern;
  const int64_t* target = group.targets.data();
  for (const Neighbour& a : group.neighbours)
    for (const Neighbour& b : group.neighbours) {
      if (b.row > a.row) break;
      const int height = S.size[a.kept], width = S.size[b.kept];
      double* block = reduced_.data() + *target++;
      const double* from = update_.data() + a.row + size_t(b.row) * group.rows;
      for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) block[i * width + j] += from[i + size_t(j) * group.rows];
    }
}

int Schur::factorize(const double* values, double damping, double shift) {
  const BlockPattern &A = *pattern_, &S = reduced().pattern;
  std::fill(reduced_.begin(), reduced_.end(), 0.0);
  for (const auto& [from, to] : copies_)
    std::copy_n(values + A.value_begin[from], A.value_begin[from + 1] - A.value_begin[from],
                reduced_.data() + S.value_begin[to]);
  for (int i = 0; i < S.blocks(); ++i) {
    double* block = reduced_.data() + S.value_begin[S.column_begin[i]];
    for (int k = 0; k < S.size[i]; ++k) block[k * (S.size[i] + 1)] += damping * block[k * (S.size[i] + 1)] + shift;
  }
  int failed = -1;
  for (const Group& group : groups_) {
    if (!eliminate(group, values, damping, shift, &failed)) return failed;
    if (group.rows == 0) continue;
    dense::subtract_square(group.rows, group.size * int(group.members.size()), panels_.get() + group.panel, group.rows,
                           update_.data(), group.rows, true);
    scatter(group);
  }
  failed = cholesky_->factorize(reduced_.data());
  return failed < 0 ? -1 : kept_[failed];
}

void Schur::solve(double* X, int count, int64_t ldx) const {
  const BlockPattern &A = *pattern_, &S = reduced().pattern;
  std::vector<double> b(S.dimension()), near;
  const auto each_neighbour = [&](const Group& group, auto&& call) {
    near.resize(group.rows);
    for (const Neighbour& n : group.neighbours)
      call(near.data() + n.row, b.data() + S.start[n.kept], S.size[n.kept]);
  };
  for (int right = 0; right < count; ++right, X += ldx) {
    for (int i = 0; i < S.blocks(); ++i) std::copy_n(X + A.start[kept_[i]], S.size[i], b.data() + S.start[i]);
    for (const Group& group : groups_) {   // b - W C^-1 c, with W L^-T = G and L L^T = C
      const double *G = panels_.get() + group.panel, *L = inverses_.get() + group.inverse;
      each_neighbour(group, [](double* local, const double*, int size) { std::fill_n(local, size, 0.0); });
      double* __restrict sum = near.data();
      for (int e : group.members) {
        double* y = X + A.start[e];
        forward(group.size, L, y);
        for (int j = 0; j < group.size; ++j, G += group.rows)
          for (int i = 0; i < group.rows; ++i) sum[i] += G[i] * y[j];
        L += group.size * group.size;
      }
      each_neighbour(group, [](const double* local, double* to, int size) {
        for (int i = 0; i < size; ++i) to[i] -= local[i];
      });
    }
    cholesky_->solve(b.data(), 1, S.dimension());
    for (const Group& group : groups_) {   // C^-1 (c - W' x)
      const double *G = panels_.get() + group.panel, *L = inverses_.get() + group.inverse;
      each_neighbour(group, [](double* local, const double* from, int size) { std::copy_n(from, size, local); });
      for (int e : group.members) {
        double* y = X + A.start[e];
        for (int j = 0; j < group.size; ++j, G += group.rows) {
          double sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int i = 0; i < group.rows; ++i) sum += G[i] * near[i];
          y[j] -= sum;
        }
        backward(group.size, L, y);
        L += group.size * group.size;
      }
    }
    for (int i = 0; i < S.blocks(); ++i) std::copy_n(b.data() + S.start[i], S.size[i], X + A.start[kept_[i]]);
  }
}

}  // namespace pypose
