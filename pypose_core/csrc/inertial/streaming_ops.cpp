// torch.ops.pypose: one or a few samples at a time onto one packed row, in place.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "inertial/preintegration.h"

namespace pypose {
namespace {

void check(const at::Tensor& x, const char* name, at::ScalarType dtype, int64_t numel) {
  TORCH_CHECK(x.scalar_type() == dtype, name, " has dtype ", x.scalar_type(), ", the row has ", dtype);
  TORCH_CHECK(x.is_contiguous(), name, " must be contiguous");
  TORCH_CHECK(numel < 0 || x.numel() == numel, name, " has ", x.numel(), " elements, wanted ", numel);
}

void check_row(const at::Tensor& row) {
  TORCH_CHECK(row.scalar_type() == at::kDouble || row.scalar_type() == at::kFloat,
              "the preintegrated row must be float32 or float64, it is ", row.scalar_type());
  check(row, "row", row.scalar_type(), preintegrated::kSize);
}

template <typename F>
void with_type(at::ScalarType dtype, F&& f) {
  if (dtype == at::kDouble) f(double{});
  else f(float{});
}

// samples (N x 7): dt, angular rate, specific force.  noise (5): ImuNoise.vector().
void preintegrate_(at::Tensor& row, const at::Tensor& samples, const at::Tensor& noise) {
  check_row(row);
  check(samples, "samples", row.scalar_type(), -1);
  TORCH_CHECK(samples.dim() >= 1 && samples.size(-1) == 7,
              "samples must be (N, 7): dt, gyroscope, accelerometer");
  check(noise, "noise", row.scalar_type(), 5);
  with_type(row.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const T* sample = samples.const_data_ptr<T>();
    const IsotropicNoise<T> psd(noise.const_data_ptr<T>());
    T* out = row.mutable_data_ptr<T>();
    for (int64_t n = samples.numel() / 7; n > 0; --n, sample += 7)
      preintegrate_step(out, sample[0], sample + 1, sample + 4, psd);
  });
}

void preintegrate_reset_(at::Tensor& row, const at::Tensor& bias) {
  check_row(row);
  check(bias, "bias", row.scalar_type(), 6);
  with_type(row.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    preintegrate_reset(row.mutable_data_ptr<T>(), bias.const_data_ptr<T>());
  });
}

at::Tensor preintegrated_predict(const at::Tensor& state, const at::Tensor& row, const at::Tensor& gravity) {
  check_row(row);
  check(state, "state", row.scalar_type(), nav_state::kSize);
  check(gravity, "gravity", row.scalar_type(), 3);
  at::Tensor out = at::empty({nav_state::kSize}, state.options());
  with_type(row.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    predict(state.const_data_ptr<T>(), row.const_data_ptr<T>(), gravity.const_data_ptr<T>(),
            out.mutable_data_ptr<T>());
  });
  return out;
}

at::Tensor preintegrated_predict_meta(const at::Tensor& state, const at::Tensor&, const at::Tensor&) {
  return at::empty({nav_state::kSize}, state.options());
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("preintegrate_(Tensor(a!) row, Tensor samples, Tensor noise) -> ()");
  m.def("preintegrate_reset_(Tensor(a!) row, Tensor bias) -> ()");
  m.def("preintegrated_predict(Tensor state, Tensor row, Tensor gravity) -> Tensor");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("preintegrate_", pypose::preintegrate_);
  m.impl("preintegrate_reset_", pypose::preintegrate_reset_);
  m.impl("preintegrated_predict", pypose::preintegrated_predict);
}

TORCH_LIBRARY_IMPL(pypose, Meta, m) {
  m.impl("preintegrate_", [](at::Tensor&, const at::Tensor&, const at::Tensor&) {});
  m.impl("preintegrate_reset_", [](at::Tensor&, const at::Tensor&) {});
  m.impl("preintegrated_predict", pypose::preintegrated_predict_meta);
}
