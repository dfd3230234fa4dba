// torch.ops.pypose.graph_curvature_*: the exact Hessian of a batch of SE(3) factors without robust kernel.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include "graph/checks.h"
#include "graph/curvature.h"

namespace pypose {
namespace {

struct CurvatureObject : torch::CustomClassHolder {
  at::Tensor index, Z, information, weight, column;
  std::vector<Se3Curvature> factors;

  double weight_of(size_t f) const { return weight.numel() ? weight.const_data_ptr<double>()[f] : 1; }
  const double* information_of(size_t f) const { return information.const_data_ptr<double>() + 36 * f; }

  // Calls with the factor's number and the scalar rows of its first (-1 where there is none) and last variable.
  template <typename Call>
  void each(Call&& call) const {
    const int64_t V = index.size(1), *i = index.const_data_ptr<int64_t>(), *c = column.const_data_ptr<int64_t>();
    for (size_t f = 0; f < factors.size(); ++f, i += V) call(f, V == 2 ? c[i[0]] : -1, c[i[V - 1]]);
  }
};

using CurvaturePtr = c10::intrusive_ptr<CurvatureObject>;

CurvaturePtr graph_curvature_create(const at::Tensor& X, const at::Tensor& index, const at::Tensor& Z,
                                    const at::Tensor& information, const at::Tensor& weight,
                                    const at::Tensor& column) {
  TORCH_CHECK(index.dim() == 2 && (index.size(1) == 1 || index.size(1) == 2), "index must be (M, 1) or (M, 2)");
  const int64_t M = index.size(0), V = index.size(1), N = X.size(0);
  check(X, at::kDouble, {N, 7}, "variables");
  check_index(index, V, N);
  check(Z, at::kDouble, {M, 7}, "measurement");
  check(information, at::kDouble, {M, 6, 6}, "information");
  if (weight.numel()) check(weight, at::kDouble, {M}, "weight");
  check(column, at::kLong, {N}, "column");
  auto self = c10::make_intrusive<CurvatureObject>();
  self->index = index, self->Z = Z, self->information = information, self->weight = weight, self->column = column;
  self->factors.resize(M);
  const double *x = X.const_data_ptr<double>(), *z = Z.const_data_ptr<double>();
  const int64_t* i = index.const_data_ptr<int64_t>();
  for (int64_t f = 0; f < M; ++f, i += V)
    self->factors[f].prepare(V == 2 ? x + 7 * i[0] : nullptr, x + 7 * i[V - 1], z + 7 * f, self->information_of(f),
                             self->weight_of(f));
  return self;
}

void check_vector(const CurvatureObject& self, const at::Tensor& v) {
  check(v, at::kDouble, {v.numel()}, "v");
  const int64_t* c = self.column.const_data_ptr<int64_t>();
  for (int64_t k = 0; k < self.column.numel(); ++k)
    TORCH_CHECK(c[k] + 6 <= v.numel(), "column ", c[k], " lies outside v");
}

// out += H v
void graph_curvature_multiply(const CurvaturePtr& self, const at::Tensor& v_, at::Tensor& out) {
  check_vector(*self, v_);
  check(out, at::kDouble, {v_.numel()}, "out");
  const double* v = v_.const_data_ptr<double>();
  double* g = out.mutable_data_ptr<double>();
  self->each([&](size_t f, int64_t i, int64_t j) {
    self->factors[f].multiply(i < 0 ? nullptr : v + i, j < 0 ? nullptr : v + j, self->information_of(f),
                              self->weight_of(f), i < 0 ? nullptr : g + i, j < 0 ? nullptr : g + j);
  });
}

// d(v^T g) by measurements (M, 7), information (M, 6, 6) and weights (M)
std::tuple<at::Tensor, at::Tensor, at::Tensor> graph_curvature_by_inputs(const CurvaturePtr& self,
                                                                         const at::Tensor& v_) {
  check_vector(*self, v_);
  const double *v = v_.const_data_ptr<double>(), *z = self->Z.const_data_ptr<double>();
  const int64_t M = int64_t(self->factors.size());
  at::Tensor Z = at::empty({M, 7}, at::kDouble), Omega = at::empty({M, 6, 6}, at::kDouble),
             weight = at::empty({M}, at::kDouble);
  double *gZ = Z.mutable_data_ptr<double>(), *gO = Omega.mutable_data_ptr<double>(),
         *gw = weight.mutable_data_ptr<double>();
  self->each([&](size_t f, int64_t i, int64_t j) {
    self->factors[f].by_inputs(i < 0 ? nullptr : v + i, j < 0 ? nullptr : v + j, z + 7 * f, self->information_of(f),
                               self->weight_of(f), gZ + 7 * f, gO + 36 * f, gw + f);
  });
  return {Z, Omega, weight};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.class_<CurvatureObject>("GraphCurvature");
  m.def("graph_curvature_create", graph_curvature_create);
  m.def("graph_curvature_multiply(__torch__.torch.classes.pypose.GraphCurvature self, Tensor v, Tensor(a!) out) -> ()",
        graph_curvature_multiply);
  m.def("graph_curvature_by_inputs", graph_curvature_by_inputs);
}

}  // namespace pypose
