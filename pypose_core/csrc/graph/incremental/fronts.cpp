// The numbers of the tree: assembly and elimination of a front, back-substitution, covariances.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "graph/incremental/bayes_tree.h"
#include "linalg/dense_kernels.h"

namespace pypose::incremental {
namespace {

// A pivot that cancellation has eaten is as good as zero.
constexpr double kSmallestPivot = 1e-14;

inline double dot(int n, const double* x, const double* y) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

// Adds a multiple of the diagonal of a variable's block.
void add_diagonal(const Factor& factor, int variable, double scale, double* to) {
  const double* block = factor.linear.values.data();
  for (size_t a = 0; a < factor.variables.size(); ++a)
    for (size_t b = 0; b <= a; block += factor.dofs[a] * factor.dofs[b++])
      for (int i = 0; a == b && factor.variables[a] == variable && i < factor.dofs[a]; ++i)
        to[i] += scale * block[i * factor.dofs[a] + i];
}

// Consecutive rows of a child that are consecutive in its parent.
struct Run {
  int child, parent, length;
};

}  // namespace

// Adds [H, -g; -g^T, constant] of a factor to its front.
void BayesTree::add_factor(const Factor& factor, Clique& clique) const {
  const double* block = factor.linear.values.data();
  const int count = int(factor.variables.size()), end = clique.height() - 1;
  for (int a = 0; a < count; ++a)
    for (int b = 0; b <= a; ++b) {
      const int va = factor.variables[a], vb = factor.variables[b], da = factor.dofs[a], db = factor.dofs[b];
      if (nodes_[va].dof && nodes_[vb].dof) {
        const int ra = at_[va], rb = at_[vb];
        if (ra >= rb) {
          for (int j = 0; j < db; ++j) {
            double* to = clique.column(rb + j) + ra;
            for (int i = a == b ? j : 0; i < da; ++i) to[i] += block[i * db + j];
          }
        } else {
          for (int i = 0; i < da; ++i) {
            double* to = clique.column(ra + i) + rb;
            for (int j = 0; j < db; ++j) to[j] += block[i * db + j];
          }
        }
      }
      block += da * db;
    }
  for (int a = 0; a < count; block += factor.dofs[a++])
    for (int i = 0; nodes_[factor.variables[a]].dof && i < factor.dofs[a]; ++i)
      clique.column(at_[factor.variables[a]] + i)[end] -= block[i];
  clique.column(end)[end] += factor.linear.constant;
}

void BayesTree::add_complement(const Clique& child, Clique& parent) const {
  std::vector<Run> runs;
  int from = 0;
  const auto append = [&](int to, int length) {
    if (!runs.empty() && runs.back().parent + runs.back().length == to) runs.back().length += length;
    else runs.push_back({from, to, length});
    from += length;
  };
  for (int v : child.rows) append(at_[v], nodes_[v].dof);
  append(parent.height() - 1, 1);
  const int order = child.below + 1;
  for (size_t c = 0; c < runs.size(); ++c) {
    const Run& columns = runs[c];
    for (int j = 0; j < columns.length; ++j) {
      const double* source = child.complement() + size_t(columns.child + j) * order;
      double* target = parent.column(columns.parent + j);
      for (int i = j; i < columns.length; ++i) target[columns.parent + i] += source[columns.child + i];
      for (size_t r = c + 1; r < runs.size(); ++r) {
        const Run& rows = runs[r];
        if (rows.parent > columns.parent) {
          double* __restrict t = target + rows.parent;
          const double* __restrict s = source + rows.child;
          for (int i = 0; i < rows.length; ++i) t[i] += s[i];
        } else {                                  // an orphan's rows may now be in another order
          for (int i = 0; i < rows.length; ++i)
            parent.column(rows.parent + i)[columns.parent + j] += source[rows.child + i];
        }
      }
    }
  }
}

int BayesTree::eliminate(const std::vector<Factor>& factors, const FactorsOf& factors_of,
                         const std::vector<int>& orphans, Clique& clique) {
  const int height = clique.height(), order = clique.below + 1;
  const size_t size = size_t(height) * clique.width + size_t(order) * order;
  clique.values.reset(new double[size + dense::kPadding]);
  std::fill_n(clique.values.get(), size + dense::kPadding, 0.0);
  int row = 0;
  for (const std::vector<int>* variables : {&clique.columns, &clique.rows})
    for (int v : *variables) at_[v] = row, row += nodes_[v].dof;
  for (int f : clique.factors) add_factor(factors[f], clique);
  for (int c : clique.children) add_complement(*cliques_[c], clique);
  for (int c : orphans) add_complement(*cliques_[c], clique);
  floor_.assign(clique.width, 0.0);
  for (int v : clique.columns)
    for (int f : factors_of(v))
      if (factors[f].alive) add_diagonal(factors[f], v, kSmallestPivot, floor_.data() + at_[v]);
  const int failed = dense::factorize_panel(height, clique.width, clique.panel(), height, floor_.data());
  if (failed >= 0) {
    size_t k = 0;
    for (int end = 0; k < clique.columns.size() && (end += nodes_[clique.columns[k]].dof) <= failed;) ++k;
    return clique.columns[k];
  }
  dense::subtract_square(order, clique.width, clique.panel() + clique.width, height, clique.complement(), order, false);
  return -1;
}

bool BayesTree::back_substitute(Clique& clique, double threshold) {
  const int height = clique.height();
  front_.resize(height);
  double* x = front_.data() + clique.width;
  for (int v : clique.rows) x = std::copy_n(delta(v), nodes_[v].dof, x);
  x = front_.data();
  for (int j = clique.width - 1; j >= 0; --j) {
    const double* L = clique.panel() + size_t(j) * height;
    x[j] = (L[height - 1] - dot(height - j - 2, L + j + 1, x + j + 1)) / L[j];
  }
  double largest = 0;
  const double* p = x;
  for (int v : clique.columns)
    for (int k = 0; k < nodes_[v].dof; ++k) largest = std::max(largest, std::abs(*p++ - delta(v)[k]));
  if (!(largest > threshold) && !clique.fresh) return false;
  for (int v : clique.columns) {
    std::copy_n(x, nodes_[v].dof, delta(v));
    x += nodes_[v].dof;
    changed_[v] = stamp_;
  }
  return true;
}

// With L Z = E, the columns of the identity that belong to the variables: H^-1 = Z^T Z. Z is not zero in the cliques
// of the variables and their ancestors alone.
std::vector<double> BayesTree::covariance(const std::vector<int>& variables) const {
  int D = 0;
  std::map<int, int> depth;             // cliques at work
  for (int v : variables) {
    D += nodes_[v].dof;
    std::vector<int> path;
    for (int c = nodes_[v].clique; c >= 0; c = cliques_[c]->parent) path.push_back(c);
    for (size_t k = 0; k < path.size(); ++k) depth[path[k]] = int(path.size() - k);
  }
  std::vector<std::pair<int, int>> order;     // the deepest first
  for (const auto& [c, d] : depth) order.push_back({-d, c});
  std::sort(order.begin(), order.end());
  std::map<int, std::vector<double>> right;   // of a variable, (dof x D) of what is left of E
  const auto of = [&](int v) -> std::vector<double>& {
    return right.try_emplace(v, size_t(nodes_[v].dof) * D, 0.0).first->second;
  };
  for (int k = 0, column = 0; k < int(variables.size()); column += nodes_[variables[k++]].dof)
    for (int i = 0; i < nodes_[variables[k]].dof; ++i) of(variables[k])[i * D + column + i] = 1;
  std::vector<double> out(size_t(D) * D, 0.0), Z;
  for (const auto& [_, c] : order) {
    const Clique& clique = *cliques_[c];
    const int height = clique.height();
    Z.clear();
    for (const std::vector<int>* part : {&clique.columns, &clique.rows})
      for (int v : *part) Z.insert(Z.end(), of(v).begin(), of(v).end());
    for (int j = 0; j < clique.width; ++j) {
      const double* L = clique.panel() + size_t(j) * height;
      double* z = Z.data() + size_t(j) * D;
      for (int k = 0; k < D; ++k) z[k] /= L[j];
      for (int i = j + 1; i < height - 1; ++i)
        for (int k = 0; k < D; ++k) Z[size_t(i) * D + k] -= L[i] * z[k];
      for (int a = 0; a < D; ++a)
        for (int b = 0; b < D; ++b) out[a * D + b] += z[a] * z[b];
    }
    const double* rest = Z.data() + size_t(clique.width) * D;
    for (int v : clique.rows) {
      std::vector<double>& to = of(v);
      std::copy_n(rest, to.size(), to.begin());
      rest += to.size();
    }
  }
  return out;
}

}  // namespace pypose::incremental
