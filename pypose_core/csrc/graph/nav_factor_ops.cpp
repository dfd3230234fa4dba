// torch.ops.pypose.graph_nav_*: residuals, Jacobians and exact Hessians of factors on navigation states. Which factors
// they are shows in their inputs: (M, 74) of inertial ones, with two variables each, (M, 16) of priors, with one.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "graph/checks.h"
#include "graph/nav_factor.h"

namespace pypose {
namespace {

constexpr auto f64 = at::kDouble;

void check_factors(const at::Tensor& X, const at::Tensor& index, const at::Tensor& input) {
  const int64_t inertial = input.size(1) == NavInertial::kInputs;
  check(X, f64, {X.size(0), nav_state::kSize}, "variables");
  check_index(index, inertial ? NavInertial::kVariables : NavPrior::kVariables, X.size(0));
  check(input, f64, {index.size(0), inertial ? NavInertial::kInputs : NavPrior::kInputs}, "input");
}

template <typename Call>
auto of_kind(const at::Tensor& input, Call&& call) {
  return input.size(1) == NavInertial::kInputs ? call(NavInertial()) : call(NavPrior());
}

// Unwhitened residuals (M, 15), Jacobians (M, 15, 15 V) or (0) where they are not wanted
std::tuple<at::Tensor, at::Tensor> graph_nav_jacobians(const at::Tensor& X, const at::Tensor& index,
                                                       const at::Tensor& input, bool wanted) {
  check_factors(X, index, input);
  const int64_t M = index.size(0), V = index.size(1);
  at::Tensor R = at::empty({M, kDof}, f64), out = wanted ? at::empty({M, kDof, kDof * V}, f64) : at::empty({0}, f64);
  const double *x = X.const_data_ptr<double>(), *data = input.const_data_ptr<double>();
  const int64_t* i = index.const_data_ptr<int64_t>();
  double *r = R.mutable_data_ptr<double>(), *to = out.mutable_data_ptr<double>();
  of_kind(input, [&](auto kind) {
    using Factor = decltype(kind);
    constexpr int n = Factor::kVariables;
    double at[n][nav_state::kSize], J[n][kDof * kDof];
    for (int64_t f = 0; f < M; ++f, i += n, data += Factor::kInputs, r += kDof) {
      for (int k = 0; k < n; ++k) std::copy_n(x + nav_state::kSize * i[k], nav_state::kSize, at[k]);
      Factor::evaluate(at, data, r, wanted ? J : nullptr);
      if (!wanted) continue;
      for (int row = 0; row < kDof; ++row)
        for (int k = 0; k < n; ++k) to = std::copy_n(J[k] + kDof * row, kDof, to);
    }
    return 0;
  });
  return {R, out};
}

at::Tensor graph_nav_retract(const at::Tensor& X, const at::Tensor& column, const at::Tensor& step) {
  const int64_t N = X.size(0);
  check(X, f64, {N, nav_state::kSize}, "variables");
  check(column, at::kLong, {N}, "column");
  check(step, f64, {step.numel()}, "step");
  at::Tensor out = X.clone();
  const double *x = X.const_data_ptr<double>(), *d = step.const_data_ptr<double>();
  const int64_t* c = column.const_data_ptr<int64_t>();
  double* y = out.mutable_data_ptr<double>();
  for (int64_t k = 0; k < N; ++k, x += nav_state::kSize, y += nav_state::kSize) {
    if (c[k] < 0) continue;
    TORCH_CHECK(c[k] + kDof <= step.numel(), "column ", c[k], " lies outside the step");
    retract(x, d + c[k], y);
  }
  return out;
}

// Calls with the number of each factor, its curvature, and its parts of v and of the sum that H v is added to.
template <typename Call>
void each(const at::Tensor& X, const at::Tensor& index, const at::Tensor& input, const at::Tensor& information,
          const at::Tensor& weight, const at::Tensor& column, const at::Tensor& v_, double* sum, Call&& call) {
  check_factors(X, index, input);
  const int64_t M = index.size(0);
  check(information, f64, {M, kDof, kDof}, "information");
  if (weight.numel()) check(weight, f64, {M}, "weight");
  check(column, at::kLong, {X.size(0)}, "column");
  check(v_, f64, {v_.numel()}, "v");
  const int64_t *i = index.const_data_ptr<int64_t>(), *c = column.const_data_ptr<int64_t>();
  for (int64_t k = 0; k < column.numel(); ++k)
    TORCH_CHECK(c[k] + kDof <= v_.numel(), "column ", c[k], " lies outside v");
  const double* v = v_.const_data_ptr<double>();
  of_kind(input, [&](auto kind) {
    using Factor = decltype(kind);
    constexpr int V = Factor::kVariables;
    for (int64_t f = 0; f < M; ++f, i += V) {
      NavCurvature<Factor> one;
      const double* part[V];
      double* to[V];
      for (int k = 0; k < V; ++k) {
        one.x[k] = X.const_data_ptr<double>() + nav_state::kSize * i[k];
        const int64_t at = c[i[k]];
        part[k] = at < 0 ? nullptr : v + at, to[k] = at < 0 || !sum ? nullptr : sum + at;
      }
      one.input = input.const_data_ptr<double>() + Factor::kInputs * f;
      one.information = information.const_data_ptr<double>() + kDof * kDof * f;
      one.weight = weight.numel() ? weight.const_data_ptr<double>()[f] : 1;
      call(f, one, part, to);
    }
    return 0;
  });
}

// out += H v
void graph_nav_curvature(const at::Tensor& X, const at::Tensor& index, const at::Tensor& input,
                         const at::Tensor& information, const at::Tensor& weight, const at::Tensor& column,
                         const at::Tensor& v, at::Tensor& out) {
  check(out, f64, {v.numel()}, "out");
  each(X, index, input, information, weight, column, v, out.mutable_data_ptr<double>(),
       [](int64_t, const auto& one, const auto& part, const auto& to) { one.multiply(part, to); });
}

// d(v^T g) by inputs, information (M, 15, 15) and weights (M)
std::tuple<at::Tensor, at::Tensor, at::Tensor> graph_nav_curvature_by_inputs(
    const at::Tensor& X, const at::Tensor& index, const at::Tensor& input, const at::Tensor& information,
    const at::Tensor& weight, const at::Tensor& column, const at::Tensor& v) {
  const int64_t M = index.size(0), n = input.size(1);
  at::Tensor by_input = at::empty({M, n}, f64), by_information = at::empty({M, kDof, kDof}, f64),
             by_weight = at::empty({M}, f64);
  double *a = by_input.mutable_data_ptr<double>(), *b = by_information.mutable_data_ptr<double>(),
         *w = by_weight.mutable_data_ptr<double>();
  each(X, index, input, information, weight, column, v, nullptr,
       [&](int64_t f, const auto& one, const auto& part, const auto&) {
         one.by_inputs(part, a + n * f, b + kDof * kDof * f, w + f);
       });
  return {by_input, by_information, by_weight};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("graph_nav_jacobians(Tensor X, Tensor index, Tensor input, bool wanted) -> (Tensor, Tensor)");
  m.def("graph_nav_retract(Tensor X, Tensor column, Tensor step) -> Tensor");
  m.def("graph_nav_curvature(Tensor X, Tensor index, Tensor input, Tensor information, Tensor weight, Tensor column, "
        "Tensor v, Tensor(a!) out) -> ()");
  m.def("graph_nav_curvature_by_inputs(Tensor X, Tensor index, Tensor input, Tensor information, Tensor weight, "
        "Tensor column, Tensor v) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("graph_nav_jacobians", graph_nav_jacobians);
  m.impl("graph_nav_retract", graph_nav_retract);
  m.impl("graph_nav_curvature", graph_nav_curvature);
  m.impl("graph_nav_curvature_by_inputs", graph_nav_curvature_by_inputs);
}

}  // namespace pypose
