// torch.ops.pypose.kalman_step: one prediction of the covariance and one measurement, for a batch of filters.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "filter/kalman.h"

namespace pypose {
namespace {

using at::Tensor;

// Matrices (B, r, c) or (r, c), the same for all.
struct Matrices {
  Tensor x;
  int64_t stride;
  Matrices(const Tensor& given, int64_t B, int64_t r, int64_t c, const char* name)
      : x(given.contiguous()), stride(given.dim() == 2 ? 0 : r * c) {
    TORCH_CHECK((x.dim() == 2 || (x.dim() == 3 && x.size(0) == B)) && x.size(-2) == r && x.size(-1) == c,
                "kalman_step: ", name, " must be (", r, ", ", c, ") or a batch of ", B, " of them, got ", x.sizes());
  }
  template <typename T>
  const T* at(int64_t b) const { return x.const_data_ptr<T>() + b * stride; }
};

std::tuple<Tensor, Tensor> kalman_step_meta(const Tensor& prior, const Tensor&, const Tensor&, const Tensor&,
                                            const Tensor&, const Tensor&, const Tensor&) {
  std::vector<int64_t> shape = prior.sizes().vec();
  shape.push_back(prior.size(-1));
  return {at::empty(prior.sizes(), prior.options()), at::empty(shape, prior.options())};
}

std::tuple<Tensor, Tensor> kalman_step(const Tensor& prior_, const Tensor& A_, const Tensor& P_, const Tensor& Q_,
                                       const Tensor& C_, const Tensor& R_, const Tensor& e_) {
  const bool one = prior_.dim() == 1;
  TORCH_CHECK(prior_.dim() == (one ? 1 : 2) && e_.dim() == prior_.dim() && (one || e_.size(0) == prior_.size(0)),
              "kalman_step: the prior state must be (B, n) and the innovation (B, k), or one of each");
  const int64_t B = one ? 1 : prior_.size(0), n = prior_.size(-1), m = e_.size(-1);
  for (const Tensor* x : {&A_, &P_, &Q_, &C_, &R_, &e_})
    TORCH_CHECK(x->scalar_type() == prior_.scalar_type(), "kalman_step: all tensors must have one dtype");
  TORCH_CHECK(prior_.scalar_type() == at::kDouble || prior_.scalar_type() == at::kFloat, "kalman_step: float32 or float64");
  const Tensor prior = prior_.contiguous(), e = e_.contiguous();
  const Matrices A(A_, B, n, n, "A"), P(P_, B, n, n, "P"), Q(Q_, B, n, n, "Q"), C(C_, B, m, n, "C"), R(R_, B, m, m, "R");
  auto out = kalman_step_meta(prior, A_, P_, Q_, C_, R_, e);
  auto& [x, covariance] = out;
  const auto run = [&]<typename T>(T) {
    T *to_x = x.template mutable_data_ptr<T>(), *to_P = covariance.template mutable_data_ptr<T>();
    at::parallel_for(0, B, 64, [&](int64_t begin, int64_t end) {
      std::vector<T> work(kalman_workspace(static_cast<int>(n), static_cast<int>(m)));
      for (int64_t b = begin; b < end; ++b)
        TORCH_CHECK_VALUE(
            kalman_step_row(prior.const_data_ptr<T>() + b * n, A.at<T>(b), P.at<T>(b), Q.at<T>(b), C.at<T>(b), R.at<T>(b),
                            e.const_data_ptr<T>() + b * m, static_cast<int>(n), static_cast<int>(m), work.data(),
                            to_x + b * n, to_P + b * n * n),
            "the innovation's covariance C P C' + R is not positive definite (filter ", b, " of the batch)");
    });
  };
  if (prior.scalar_type() == at::kDouble) run(double{});
  else run(float{});
  return out;
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("kalman_step(Tensor prior, Tensor A, Tensor P, Tensor Q, Tensor C, Tensor R, Tensor innovation) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("kalman_step", pypose::kalman_step); }

TORCH_LIBRARY_IMPL(pypose, Meta, m) { m.impl("kalman_step", pypose::kalman_step_meta); }
