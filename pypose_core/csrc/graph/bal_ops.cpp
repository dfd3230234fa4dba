// torch.ops.pypose.graph_linearize_bal

#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include "graph/bal_factor.h"
#include "graph/checks.h"
#include "graph/linearize.h"

namespace pypose {
namespace {

constexpr int kVariables = 3, kSlots = 6;
constexpr int kDof[kVariables] = {Bal::kPose, Bal::kLens, Bal::kPoint};
constexpr int kBlock[kSlots] = {36, 18, 9, 18, 9, 9};   // numbers in the block of each slot
constexpr int kBegin[kVariables] = {0, Bal::kPose, Bal::kPose + Bal::kLens};

// The block of variables A and B: weight * J_A^T W J_B, to where the slot says.
template <int A, int B>
inline void add_product(const double* J, const double* WJ, double weight, int64_t slot, double* H) {
  if (slot < 0) return;
  double* at = H + (slot >> 1);
  const double *a0 = J + kBegin[A], *a1 = a0 + Bal::kColumns, *b0 = WJ + kBegin[B], *b1 = b0 + Bal::kColumns;
  if (slot & 1) {
    for (int j = 0; j < kDof[B]; ++j)
      for (int i = 0; i < kDof[A]; ++i) at[j * kDof[A] + i] += weight * (a0[i] * b0[j] + a1[i] * b1[j]);
  } else {
    for (int i = 0; i < kDof[A]; ++i)
      for (int j = 0; j < kDof[B]; ++j) at[i * kDof[B] + j] += weight * (a0[i] * b0[j] + a1[i] * b1[j]);
  }
}

// As graph_linearize; `information` (M, 2, 2), empty for the identity; `columns` one tensor for each position.
std::tuple<double, double> graph_linearize_bal(const at::Tensor& poses, const at::Tensor& lenses,
                                               const at::Tensor& points, const at::Tensor& index, const at::Tensor& z,
                                               const at::Tensor& information, const at::Tensor& weight, int64_t kernel_,
                                               double width, at::TensorList columns, const at::Tensor& slots,
                                               at::Tensor& H, at::Tensor& g) {
  const int64_t M = index.size(0);
  const at::Tensor* sets[kVariables] = {&poses, &lenses, &points};
  const int storage[kVariables] = {7, 3, 3};
  const auto f64 = at::kDouble;
  check(index, at::kLong, {M, kVariables}, "index");
  const int64_t* i = index.const_data_ptr<int64_t>();
  for (int v = 0; v < kVariables; ++v) {
    check(*sets[v], f64, {sets[v]->size(0), storage[v]}, "variables");
    for (int64_t f = 0; f < M; ++f)
      TORCH_CHECK(0 <= i[kVariables * f + v] && i[kVariables * f + v] < sets[v]->size(0), "factor ", f,
                  " names variable ", i[kVariables * f + v], " of ", sets[v]->size(0));
  }
  check(z, f64, {M, 2}, "measurement");
  if (information.numel()) check(information, f64, {M, 2, 2}, "information");
  if (weight.numel()) check(weight, f64, {M}, "weight");
  const Kernel kernel = checked_kernel(kernel_, width);
  const bool wanted = H.numel() > 0;
  const int64_t* column[kVariables] = {};
  if (wanted) {
    TORCH_CHECK(columns.size() == kVariables, "columns must be ", kVariables, " tensors");
    check(slots, at::kLong, {M, kSlots}, "slots");
    const int64_t* s = slots.const_data_ptr<int64_t>();
    for (int64_t f = 0; f < M; ++f)
      for (int k = 0; k < kSlots; ++k, ++s)
        TORCH_CHECK(*s < 0 || (*s >> 1) + kBlock[k] <= H.numel(), "slot ", *s, " lies outside the matrix");
    for (int v = 0; v < kVariables; ++v) {
      check(columns[v], at::kLong, {sets[v]->size(0)}, "column");
      column[v] = columns[v].const_data_ptr<int64_t>();
      for (int64_t k = 0; k < columns[v].numel(); ++k)
        TORCH_CHECK(column[v][k] + kDof[v] <= g.numel(), "column ", column[v][k], " lies outside");
    }
  }
  const double *P = poses.const_data_ptr<double>(), *L = lenses.const_data_ptr<double>(),
               *X = points.const_data_ptr<double>(), *measured = z.const_data_ptr<double>();
  const double* W = information.numel() ? information.const_data_ptr<double>() : nullptr;
  const int64_t* slot = wanted ? slots.const_data_ptr<int64_t>() : nullptr;
  double *h = wanted ? H.mutable_data_ptr<double>() : nullptr, *gradient = wanted ? g.mutable_data_ptr<double>() : nullptr;
  Cost<double> cost;
  double r[2], Wr[2], J[2 * Bal::kColumns], WJ[2 * Bal::kColumns];
  for (int64_t f = 0; f < M; ++f, i += kVariables, measured += 2, slot += kSlots) {
    Bal::residual(P + 7 * i[0], L + 3 * i[1], X + 3 * i[2], measured, r, wanted ? J : nullptr);
    const double* O = W ? W + 4 * f : nullptr;
    for (int k = 0; k < 2; ++k) Wr[k] = O ? O[2 * k] * r[0] + O[2 * k + 1] * r[1] : r[k];
    const double s = r[0] * Wr[0] + r[1] * Wr[1], given = weight.numel() ? weight.const_data_ptr<double>()[f] : 1;
    const Robust<double> robustified = robust(kernel, width, given * s);
    cost.robust += robustified.cost;
    cost.chi2 += s;
    if (!wanted) continue;
    const double w = given * robustified.weight;
    const double* weighted = J;
    if (O) {
      for (int k = 0; k < 2; ++k)
        for (int c = 0; c < Bal::kColumns; ++c)
          WJ[Bal::kColumns * k + c] = O[2 * k] * J[c] + O[2 * k + 1] * J[Bal::kColumns + c];
      weighted = WJ;
    }
    for (int v = 0; v < kVariables; ++v) {
      const int64_t at = column[v][i[v]];
      for (int c = 0; at >= 0 && c < kDof[v]; ++c)
        gradient[at + c] += w * (J[kBegin[v] + c] * Wr[0] + J[Bal::kColumns + kBegin[v] + c] * Wr[1]);
    }
    add_product<0, 0>(J, weighted, w, slot[0], h);
    add_product<1, 0>(J, weighted, w, slot[1], h);
    add_product<1, 1>(J, weighted, w, slot[2], h);
    add_product<2, 0>(J, weighted, w, slot[3], h);
    add_product<2, 1>(J, weighted, w, slot[4], h);
    add_product<2, 2>(J, weighted, w, slot[5], h);
  }
  return {cost.robust, cost.chi2};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("graph_linearize_bal(Tensor poses, Tensor lenses, Tensor points, Tensor index, Tensor z, Tensor information, "
        "Tensor weight, int kernel, float width, Tensor[] columns, Tensor slots, Tensor(a!) H, Tensor(b!) g) "
        "-> (float, float)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("graph_linearize_bal", graph_linearize_bal); }

}  // namespace pypose
