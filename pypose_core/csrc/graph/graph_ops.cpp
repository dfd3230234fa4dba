// torch.ops.pypose.graph_*: the inner loop of a factor graph. torch releases the GIL around operators that are
// called through torch.ops.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "graph/chain.h"
#include "graph/checks.h"
#include "graph/chordal.h"
#include "graph/linearize.h"

namespace pypose {
namespace {

template <typename Group, int V>
Cost<double> linearize_batch(const at::Tensor& X, const at::Tensor& index, const at::Tensor& Z, const at::Tensor& information,
                     const at::Tensor& weight, int64_t kernel, double width, const at::Tensor& column,
                     const at::Tensor& slots, at::Tensor& H, at::Tensor& g, at::Tensor& squared) {
  constexpr int D = Group::kDof, S = Group::kStorage;
  const int64_t M = index.size(0), N = X.size(0);
  const auto f64 = at::kDouble;
  check(X, f64, {N, S}, "variables");
  check_index(index, V, N);
  check(Z, f64, {M, S}, "measurement");
  check(information, f64, {M, D, D}, "information");
  if (weight.numel()) check(weight, f64, {M}, "weight");
  if (squared.numel()) check(squared, f64, {M}, "squared");
  const bool wanted = H.numel() > 0;
  if (wanted) {
    check(column, at::kLong, {N}, "column");
    check(slots, at::kLong, {M, V * (V + 1) / 2}, "slots");
    check(H, f64, {H.numel()}, "H");
    check(g, f64, {g.numel()}, "g");
    check_slots(slots, column, D * D, H, g);
  }
  const Weighting<double> weighting = {information.const_data_ptr<double>(),
                               weight.numel() ? weight.const_data_ptr<double>() : nullptr,
                               checked_kernel(kernel, width), width};
  const Target<double> target = {wanted ? column.const_data_ptr<int64_t>() : nullptr,
                         wanted ? slots.const_data_ptr<int64_t>() : nullptr,
                         wanted ? H.mutable_data_ptr<double>() : nullptr,
                         wanted ? g.mutable_data_ptr<double>() : nullptr};
  return linearize<Group, V>(M, X.const_data_ptr<double>(), index.const_data_ptr<int64_t>(),
                             Z.const_data_ptr<double>(), weighting, target,
                             squared.numel() ? squared.mutable_data_ptr<double>() : nullptr);
}

// Adds to H and g unless H is empty; returns (cost, chi2). `squared`, unless empty, takes each r^T Omega r.
std::tuple<double, double> graph_linearize(const at::Tensor& X, const at::Tensor& index, const at::Tensor& Z,
                                           const at::Tensor& information, const at::Tensor& weight, int64_t kernel,
                                           double width, const at::Tensor& column, const at::Tensor& slots,
                                           at::Tensor& H, at::Tensor& g, at::Tensor& squared) {
  TORCH_CHECK(X.dim() == 2 && index.dim() == 2, "variables and index must have two dimensions");
  const bool se3 = X.size(1) == Se3::kStorage, pair = index.size(1) == 2;
  const auto call = se3 ? (pair ? linearize_batch<Se3, 2> : linearize_batch<Se3, 1>)
                        : (pair ? linearize_batch<Se2, 2> : linearize_batch<Se2, 1>);
  const Cost<double> cost = call(X, index, Z, information, weight, kernel, width, column, slots, H, g, squared);
  return {cost.robust, cost.chi2};
}

// The same from whitened residuals r (M, e) and their Jacobians J (M, e, sum(dofs)), variables side by side;
// columns (M, V) holds the scalar row of each variable, or -1.
std::tuple<double, double> graph_assemble(const at::Tensor& J, const at::Tensor& r, at::IntArrayRef dofs,
                                          const at::Tensor& weight, int64_t kernel_, double width,
                                          const at::Tensor& columns, const at::Tensor& slots, at::Tensor& H,
                                          at::Tensor& g) {
  const int64_t M = r.size(0), e = r.size(1), V = int64_t(dofs.size());
  std::vector<int64_t> begin(1, 0);
  for (int64_t d : dofs) begin.push_back(begin.back() + d);
  const int64_t D = begin.back();
  const auto f64 = at::kDouble;
  check(r, f64, {M, e}, "r");
  check(J, f64, {M, e, D}, "J");
  if (weight.numel()) check(weight, f64, {M}, "weight");
  check(columns, at::kLong, {M, V}, "columns");
  check(slots, at::kLong, {M, V * (V + 1) / 2}, "slots");
  check_slots(slots, columns, 1, H, g);
  const Kernel kernel = checked_kernel(kernel_, width);
  double *h = H.mutable_data_ptr<double>(), *gradient = g.mutable_data_ptr<double>();
  const int64_t *column = columns.const_data_ptr<int64_t>(), *slot = slots.const_data_ptr<int64_t>();
  Cost<double> cost;
  for (int64_t f = 0; f < M; ++f, column += V) {
    const double *rf = r.const_data_ptr<double>() + f * e, *Jf = J.const_data_ptr<double>() + f * e * D;
    double s = 0;
    for (int64_t k = 0; k < e; ++k) s += rf[k] * rf[k];
    const double given = weight.numel() ? weight.const_data_ptr<double>()[f] : 1;
    const Robust<double> robustified = robust(kernel, width, given * s);
    const double w = given * robustified.weight;
    cost.robust += robustified.cost;
    cost.chi2 += s;
    for (int64_t a = 0; a < V; ++a) {
      for (int64_t i = 0; column[a] >= 0 && i < dofs[a]; ++i) {
        double sum = 0;
        for (int64_t k = 0; k < e; ++k) sum += Jf[k * D + begin[a] + i] * rf[k];
        gradient[column[a] + i] += w * sum;
      }
      for (int64_t b = 0; b <= a; ++b, ++slot) {
        if (*slot < 0) continue;
        double* at = h + (*slot >> 1);
        TORCH_CHECK((*slot >> 1) + dofs[a] * dofs[b] <= H.numel(), "slot ", *slot, " lies outside the matrix");
        for (int64_t i = 0; i < dofs[a]; ++i)
          for (int64_t j = 0; j < dofs[b]; ++j) {
            double sum = 0;
            for (int64_t k = 0; k < e; ++k) sum += Jf[k * D + begin[a] + i] * Jf[k * D + begin[b] + j];
            at[*slot & 1 ? j * dofs[a] + i : i * dofs[b] + j] += w * sum;
          }
      }
    }
  }
  return {cost.robust, cost.chi2};
}

// X Exp(delta) for the variables that are not held.
at::Tensor graph_retract(const at::Tensor& X, const at::Tensor& column, const at::Tensor& delta) {
  const int64_t N = X.size(0), S = X.size(1);
  TORCH_CHECK(S == Se3::kStorage || S == Se2::kStorage, "no group of storage ", S);
  const int64_t D = S == Se3::kStorage ? Se3::kDof : Se2::kDof;
  check(X, at::kDouble, {N, S}, "variables");
  check(column, at::kLong, {N}, "column");
  check(delta, at::kDouble, {delta.numel()}, "delta");
  at::Tensor out = X.clone();
  const double *x = X.const_data_ptr<double>(), *d = delta.const_data_ptr<double>();
  const int64_t* c = column.const_data_ptr<int64_t>();
  double* y = out.mutable_data_ptr<double>();
  for (int64_t k = 0; k < N; ++k, x += S, y += S) {
    if (c[k] < 0) continue;
    TORCH_CHECK(c[k] + D <= delta.numel(), "column ", c[k], " lies outside the step");
    if (S == Se3::kStorage) Se3::retract(x, d + c[k], y);
    else Se2::retract(x, d + c[k], y);
  }
  return out;
}

// Poses composed along a spanning tree of the measurements, from those that are known.
std::tuple<at::Tensor, at::Tensor> graph_chain(const at::Tensor& X, const at::Tensor& known, const at::Tensor& index,
                                               const at::Tensor& Z) {
  const int64_t N = X.size(0), S = X.size(1), M = index.size(0);
  TORCH_CHECK(S == Se3::kStorage || S == Se2::kStorage, "no group of storage ", S);
  check(X, at::kDouble, {N, S}, "variables");
  check(known, at::kBool, {N}, "known");
  check_index(index, 2, N);
  check(Z, at::kDouble, {M, S}, "measurement");
  at::Tensor out = X.clone(), reached = known.clone();
  const auto call = S == Se3::kStorage ? compose_tree<Se3> : compose_tree<Se2>;
  call(N, M, index.const_data_ptr<int64_t>(), Z.const_data_ptr<double>(), out.mutable_data_ptr<double>(),
       reached.mutable_data_ptr<bool>());
  return {out, reached};
}

// Poses by chordal initialization; the held ones stay.
at::Tensor graph_chordal(const at::Tensor& X, const at::Tensor& held, const at::Tensor& index, const at::Tensor& Z,
                         const at::Tensor& information) {
  const int64_t N = X.size(0), S = X.size(1), M = index.size(0);
  TORCH_CHECK(S == Se3::kStorage || S == Se2::kStorage, "no group of storage ", S);
  const int64_t D = S == Se3::kStorage ? Se3::kDof : Se2::kDof;
  check(X, at::kDouble, {N, S}, "variables");
  check(held, at::kBool, {N}, "held");
  check_index(index, 2, N);
  check(Z, at::kDouble, {M, S}, "measurement");
  check(information, at::kDouble, {M, D, D}, "information");
  at::Tensor out = X.clone();
  std::vector<int> free(N);
  for (int64_t k = 0, next = 0; k < N; ++k) free[k] = held.const_data_ptr<bool>()[k] ? -1 : int(next++);
  const auto call = S == Se3::kStorage ? chordal<Rotation3> : chordal<Rotation2>;
  TORCH_CHECK(call(N, std::move(free), M, index.const_data_ptr<int64_t>(), Z.const_data_ptr<double>(),
                   information.const_data_ptr<double>(), out.mutable_data_ptr<double>()),
              "the measurements leave a pose undetermined");
  return out;
}

// For each of `nodes` nodes, the smallest node that it is connected with by edges (E, 2).
at::Tensor graph_components(int64_t nodes, const at::Tensor& edges) {
  check_index(edges, 2, nodes);
  at::Tensor out = at::empty({nodes}, at::kLong);
  int64_t* root = out.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < nodes; ++i) root[i] = i;
  const auto find = [&](int64_t i) {
    while (root[i] != i) i = root[i] = root[root[i]];   // the path is halved
    return i;
  };
  const int64_t* p = edges.const_data_ptr<int64_t>();
  for (int64_t e = 0; e < edges.size(0); ++e) {
    const int64_t a = find(p[2 * e]), b = find(p[2 * e + 1]);
    root[std::max(a, b)] = std::min(a, b);
  }
  for (int64_t i = 0; i < nodes; ++i) root[i] = find(i);
  return out;
}

// The first matrix of a batch (M, d, d) that is not symmetric positive semidefinite, or -1.
int64_t graph_first_indefinite(const at::Tensor& matrices) {
  TORCH_CHECK(matrices.dim() == 3, "matrices must be (M, d, d)");
  const int64_t M = matrices.size(0), d = matrices.size(1);
  check(matrices, at::kDouble, {M, d, d}, "matrices");
  std::vector<double> A(d * d);
  for (int64_t f = 0; f < M; ++f) {
    const double* B = matrices.const_data_ptr<double>() + f * d * d;
    double size = 0;
    for (int64_t i = 0; i < d; ++i) size = std::max(size, std::abs(B[i * d + i]));
    for (int64_t k = 0; k < d * d; ++k) {
      if (!(std::abs(B[k] - B[k % d * d + k / d]) <= 1e-6 * size)) return f;   // a NaN ends here too
      A[k] = B[k];
    }
    const double zero = 1e-9 * size;
    for (int64_t k = 0; k < d; ++k) {   // A = L D L^T; a pivot that is zero needs a column that is
      const double pivot = A[k * d + k];
      if (pivot < -zero) return f;
      for (int64_t i = k + 1; i < d; ++i) {
        if (pivot <= zero) {
          if (std::abs(A[i * d + k]) > std::sqrt(zero * size)) return f;
          continue;
        }
        for (int64_t j = k + 1; j < d; ++j) A[i * d + j] -= A[i * d + k] * A[k * d + j] / pivot;
      }
    }
  }
  return -1;
}

// The first row of x (M, ...) that has an infinity or a NaN, or -1.
int64_t graph_first_not_finite(const at::Tensor& x) {
  check(x, at::kDouble, x.sizes(), "rows");
  const int64_t M = x.size(0), width = M ? x.numel() / M : 0;
  const double* p = x.const_data_ptr<double>();
  for (int64_t k = 0; k < x.numel(); ++k)
    if (!std::isfinite(p[k])) return k / width;
  return -1;
}

// The first row of x (M, S) whose numbers from `begin` to `end` have not the norm 1, or -1.
int64_t graph_first_not_unit(const at::Tensor& x, int64_t begin, int64_t end) {
  const int64_t M = x.size(0), S = x.size(1);
  check(x, at::kDouble, {M, S}, "rows");
  TORCH_CHECK(0 <= begin && begin <= end && end <= S, "no numbers ", begin, " to ", end, " of ", S);
  const double* p = x.const_data_ptr<double>();
  for (int64_t k = 0; k < M; ++k, p += S) {
    double square = 0;
    for (int64_t j = begin; j < end; ++j) square += p[j] * p[j];
    if (!(std::abs(square - 1) <= 1e-12)) return k;
  }
  return -1;
}

// The first factor of index (M, V) whose positions a and b are the same variable, or -1.
int64_t graph_first_loop(const at::Tensor& index, int64_t a, int64_t b) {
  const int64_t M = index.size(0), V = index.size(1);
  check(index, at::kLong, {M, V}, "index");
  TORCH_CHECK(0 <= a && a < V && 0 <= b && b < V, "no positions ", a, " and ", b, " of ", V);
  const int64_t* p = index.const_data_ptr<int64_t>();
  for (int64_t f = 0; f < M; ++f, p += V)
    if (p[a] == p[b]) return f;
  return -1;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("graph_linearize(Tensor X, Tensor index, Tensor Z, Tensor information, Tensor weight, int kernel, "
        "float width, Tensor column, Tensor slots, Tensor(a!) H, Tensor(b!) g, Tensor(c!) squared) -> (float, float)");
  m.def("graph_assemble(Tensor J, Tensor r, int[] dofs, Tensor weight, int kernel, float width, Tensor columns, "
        "Tensor slots, Tensor(a!) H, Tensor(b!) g) -> (float, float)");
  m.def("graph_retract(Tensor X, Tensor column, Tensor delta) -> Tensor");
  m.def("graph_chain(Tensor X, Tensor known, Tensor index, Tensor Z) -> (Tensor, Tensor)");
  m.def("graph_chordal(Tensor X, Tensor held, Tensor index, Tensor Z, Tensor information) -> Tensor");
  m.def("graph_components(int nodes, Tensor edges) -> Tensor");
  m.def("graph_first_indefinite(Tensor matrices) -> int");
  m.def("graph_first_not_finite(Tensor x) -> int");
  m.def("graph_first_not_unit(Tensor x, int begin, int end) -> int");
  m.def("graph_first_loop(Tensor index, int a, int b) -> int");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("graph_linearize", graph_linearize);
  m.impl("graph_assemble", graph_assemble);
  m.impl("graph_retract", graph_retract);
  m.impl("graph_chain", graph_chain);
  m.impl("graph_chordal", graph_chordal);
  m.impl("graph_components", graph_components);
  m.impl("graph_first_indefinite", graph_first_indefinite);
  m.impl("graph_first_not_finite", graph_first_not_finite);
  m.impl("graph_first_not_unit", graph_first_not_unit);
  m.impl("graph_first_loop", graph_first_loop);
}

}  // namespace pypose
