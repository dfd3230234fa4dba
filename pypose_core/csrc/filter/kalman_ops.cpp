// torch.ops.pypose.kalman_step: one prediction of the covariance and one measurement, for a batch of filters.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>
#include <vector>

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

// C (r x c) = X (r x d) Y, or with `transposed` X Y' where Y is (c x d).
template <typename T>
void product(T* C, const T* X, const T* Y, int r, int d, int c, bool transposed) {
  for (int i = 0; i < r; ++i)
    for (int j = 0; j < c; ++j) {
      T s = 0;
      for (int k = 0; k < d; ++k) s += X[i * d + k] * (transposed ? Y[j * d + k] : Y[k * c + j]);
      C[i * c + j] = s;
    }
}

// P- = A P A' + Q;  S = C P- C' + R;  K = P- C' S^-1;  x+ = x- + K e;  P+ = (I - K C) P- (I - K C)' + K R K'.
// False where S is not positive definite.
template <typename T>
bool kalman_step_row(const T* prior, const T* A, const T* P, const T* Q, const T* C, const T* R, const T* e, int n, int m,
                     T* work, T* x, T* out) {
  T *M = work, *predicted = M + n * n, *PCt = predicted + n * n, *L = PCt + n * m, *K = L + m * m, *J = K + n * m;
  product(M, A, P, n, n, n, false);
  product(predicted, M, A, n, n, n, true);
  for (int i = 0; i < n * n; ++i) predicted[i] += Q[i];
  product(PCt, predicted, C, n, n, m, true);
  product(L, C, PCt, m, n, m, false);
  for (int i = 0; i < m * m; ++i) L[i] += R[i];
  for (int i = 0; i < m; ++i)
    for (int j = 0; j <= i; ++j) {
      T s = L[i * m + j];
      for (int k = 0; k < j; ++k) s -= L[i * m + k] * L[j * m + k];
      if (i == j && !(s > 0)) return false;
      L[i * m + j] = i == j ? std::sqrt(s) : s / L[j * m + j];
    }
  for (int r = 0; r < n; ++r) {
    T* k = K + r * m;
    for (int i = 0; i < m; ++i) {
      T s = PCt[r * m + i];
      for (int j = 0; j < i; ++j) s -= L[i * m + j] * k[j];
      k[i] = s / L[i * m + i];
    }
    for (int i = m - 1; i >= 0; --i) {
      T s = k[i];
      for (int j = i + 1; j < m; ++j) s -= L[j * m + i] * k[j];
      k[i] = s / L[i * m + i];
    }
  }
  for (int i = 0; i < n; ++i) {
    T s = prior[i];
    for (int j = 0; j < m; ++j) s += K[i * m + j] * e[j];
    x[i] = s;
  }
  product(J, K, C, n, m, n, false);
  for (int i = 0; i < n * n; ++i) J[i] = (i % (n + 1) == 0 ? T(1) : T(0)) - J[i];
  product(M, J, predicted, n, n, n, false);
  product(out, M, J, n, n, n, true);
  product(PCt, K, R, n, m, m, false);
  product(M, PCt, K, n, m, n, true);
  for (int i = 0; i < n; ++i)
    for (int j = 0; j <= i; ++j)
      out[i * n + j] = out[j * n + i] = (out[i * n + j] + out[j * n + i] + M[i * n + j] + M[j * n + i]) / 2;
  return true;
}

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
      std::vector<T> work(3 * n * n + 2 * n * m + m * m);
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
