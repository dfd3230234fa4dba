#include "graph/incremental/factor.h"

#include <algorithm>
#include <cmath>

#include "graph/linearize.h"

namespace pypose::incremental {
namespace {

template <typename Group, int V>
Cost<double> run(const double* const* x, const Factor& factor, double* values) {
  constexpr int S = Group::kStorage, D = Group::kDof;
  static constexpr int64_t index[2] = {0, 1}, column[2] = {0, D}, slots[3] = {0, 2 * D * D, 4 * D * D};
  double X[V * S];
  for (int v = 0; v < V; ++v) std::copy_n(x[v], S, X + v * S);
  const Weighting<double> weighting = {factor.information.data(), &factor.weight, factor.kernel, factor.width};
  const Target<double> target = {column, slots, values, values + V * (V + 1) / 2 * D * D};
  return pypose::linearize<Group, V>(1, X, index, factor.measured.data(), weighting, target, static_cast<double*>(nullptr));
}

// r = x_j - x_i - z, or x - z.
Cost<double> run_euclidean(const double* const* x, const Factor& factor, double* values) {
  const int d = factor.dofs[0], last = int(factor.variables.size()) - 1;
  std::vector<double> r(d), Wr(d, 0.0);
  for (int k = 0; k < d; ++k) r[k] = x[last][k] - (last ? x[0][k] : 0) - factor.measured[k];
  double s = 0;
  for (int i = 0; i < d; ++i) {
    for (int j = 0; j < d; ++j) Wr[i] += factor.information[i * d + j] * r[j];
    s += r[i] * Wr[i];
  }
  const Robust<double> k = robust(factor.kernel, factor.width, factor.weight * s);
  const double w = factor.weight * k.weight;
  for (int slot = 0; slot < (last ? 3 : 1); ++slot)
    for (int i = 0; i < d * d; ++i) *values++ = (slot == 1 ? -w : w) * factor.information[i];
  for (int v = 0; v <= last; ++v)
    for (int i = 0; i < d; ++i) *values++ = (v == last ? w : -w) * Wr[i];
  return {k.cost, s};
}

Cost<double> run(Manifold manifold, const double* const* x, const Factor& factor, double* values) {
  const bool pair = factor.model == Model::kBetween;
  switch (manifold) {
    case Manifold::kSe2: return pair ? run<Se2, 2>(x, factor, values) : run<Se2, 1>(x, factor, values);
    case Manifold::kSe3: return pair ? run<Se3, 2>(x, factor, values) : run<Se3, 1>(x, factor, values);
    default: return run_euclidean(x, factor, values);
  }
}

// [p, q, v, biases] by [rotation, velocity, position, biases].
void retract_nav_state(const double* X, const double* d, double* out) {
  double turn[4];
  so3_exp(d, turn);
  quat_mul(X + 3, turn, out + 3);
  const double norm = std::sqrt(out[3] * out[3] + out[4] * out[4] + out[5] * out[5] + out[6] * out[6]);
  for (int k = 3; k < 7; ++k) out[k] /= norm;
  for (int k = 0; k < 3; ++k) out[k] = X[k] + d[6 + k], out[7 + k] = X[7 + k] + d[3 + k];
  for (int k = 9; k < 15; ++k) out[k + 1] = X[k + 1] + d[k];
}

size_t values_of(const Factor& factor) {
  size_t size = 0;
  for (size_t a = 0; a < factor.dofs.size(); ++a) {
    size += factor.dofs[a];
    for (size_t b = 0; b <= a; ++b) size += size_t(factor.dofs[a]) * factor.dofs[b];
  }
  return size;
}

}  // namespace

void linearize(Manifold manifold, const double* const* x, Factor& factor) {
  factor.linear.values.assign(values_of(factor), 0.0);
  const Cost<double> cost = run(manifold, x, factor, factor.linear.values.data());
  factor.linear.constant = cost.robust;
}

void assemble(int e, const double* r, const double* J, Factor& factor) {
  const int D = factor.dof(), V = int(factor.dofs.size());
  double s = 0;
  for (int k = 0; k < e; ++k) s += r[k] * r[k];
  const Robust<double> robustified = robust(factor.kernel, factor.width, factor.weight * s);
  const double w = factor.weight * robustified.weight;
  factor.linear.constant = robustified.cost;
  factor.linear.values.assign(values_of(factor), 0.0);
  double* out = factor.linear.values.data();
  for (int a = 0, row = 0; a < V; row += factor.dofs[a++])
    for (int b = 0, column = 0; b <= a; column += factor.dofs[b++])
      for (int i = 0; i < factor.dofs[a]; ++i)
        for (int j = 0; j < factor.dofs[b]; ++j, ++out)
          for (int k = 0; k < e; ++k) *out += w * J[k * D + row + i] * J[k * D + column + j];
  for (int i = 0; i < D; ++i, ++out)
    for (int k = 0; k < e; ++k) *out += w * J[k * D + i] * r[k];
}

void retract(Manifold manifold, int dof, const double* X, const double* d, double* out) {
  switch (manifold) {
    case Manifold::kSe2: return Se2::retract(X, d, out);
    case Manifold::kSe3: return Se3::retract(X, d, out);
    case Manifold::kNavState: return retract_nav_state(X, d, out);
    default:
      for (int k = 0; k < dof; ++k) out[k] = X[k] + d[k];
  }
}

}  // namespace pypose::incremental
