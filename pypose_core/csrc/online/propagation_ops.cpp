// torch.ops.pypose.imu_advance_, imu_output_ and imu_integrate_: what runs at the rate of the IMU.

#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include "online/propagation.h"

namespace pypose {
namespace {

double* workspace_of(const at::Tensor& t) {
  TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == at::kDouble && t.is_contiguous() &&
                  t.numel() == workspace::kSize,
              "the workspace must be ", workspace::kSize, " contiguous float64 numbers on the CPU");
  return t.mutable_data_ptr<double>();
}

bool finite(const double* x, int n) {
  for (int i = 0; i < n; ++i)
    if (!std::isfinite(x[i])) return false;
  return true;
}

enum Advance { kFine, kSampleNotFinite, kStateNotFinite, kTooFast };

// Integrates the interval that ends at `sample` and renews the output; nothing has changed where the sample is
// not finite.
int64_t imu_advance(const at::Tensor& block, const at::Tensor& sample, double dt) {
  double* w = workspace_of(block);
  TORCH_CHECK(sample.numel() == 12 && sample.scalar_type() == at::kDouble && sample.is_contiguous(),
              "a sample is 12 contiguous float64 numbers [gyroscope, accelerometer, their noise densities]");
  const double* s = sample.const_data_ptr<double>();
  if (!finite(s, 12)) return kSampleNotFinite;
  double *last = w + workspace::kSample, *density = w + workspace::kDensity;
  if (dt > 0) {
    double mean[6], psd[6];
    for (int i = 0; i < 6; ++i) {
      mean[i] = 0.5 * (last[i] + s[i]);
      psd[i] = 0.5 * (density[i] * density[i] + s[6 + i] * s[6 + i]);
    }
    integrate_interval(w + workspace::kRow, dt, mean, w + workspace::kNoise, psd);
  }
  std::copy(s, s + 6, last);
  std::copy(s + 6, s + 12, density);
  predict_now(w);
  output_of_base(w, dt);
  if (!finite(w + workspace::kState, workspace::kMaxVelocity - workspace::kState)) return kStateNotFinite;
  const double* v = w + workspace::kState + nav_state::kVelocity;
  const double limit = w[workspace::kMaxVelocity];
  return v[0] * v[0] + v[1] * v[1] + v[2] * v[2] > limit * limit ? kTooFast : kFine;
}

// Renews the output from anchor and row as they are.
void imu_output(const at::Tensor& block, double dt) {
  double* w = workspace_of(block);
  predict_now(w);
  output_of_base(w, dt);
}

// Starts `row` again at the bias it carries and integrates pieces (N x 7: dt, gyroscope, accelerometer; N x 13 with the
// squared noise density of each axis).
void imu_integrate(const at::Tensor& row, const at::Tensor& pieces, const at::Tensor& noise) {
  TORCH_CHECK(row.numel() == preintegrated::kSize && row.scalar_type() == at::kDouble && row.is_contiguous(),
              "row must be ", preintegrated::kSize, " contiguous float64 numbers");
  const int64_t width = pieces.dim() == 2 ? pieces.size(1) : 0;
  TORCH_CHECK((width == 7 || width == 13) && pieces.scalar_type() == at::kDouble && pieces.is_contiguous(),
              "pieces must be contiguous float64 (N, 7) or (N, 13)");
  TORCH_CHECK(noise.numel() == 8 && noise.scalar_type() == at::kDouble && noise.is_contiguous(),
              "noise must be 8 contiguous float64 numbers");
  double *r = row.mutable_data_ptr<double>(), bias[6];
  std::copy(r + preintegrated::kBias, r + preintegrated::kBias + 6, bias);
  preintegrate_reset(r, bias);
  const double *p = pieces.const_data_ptr<double>(), *n = noise.const_data_ptr<double>();
  for (int64_t k = 0; k < pieces.size(0); ++k, p += width)
    integrate_interval(r, p[0], p + 1, n, width == 13 ? p + 7 : nullptr);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("imu_advance_(Tensor(a!) workspace, Tensor sample, float dt) -> int");
  m.def("imu_output_(Tensor(a!) workspace, float dt) -> ()");
  m.def("imu_integrate_(Tensor(a!) row, Tensor pieces, Tensor noise) -> ()");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("imu_advance_", imu_advance);
  m.impl("imu_output_", imu_output);
  m.impl("imu_integrate_", imu_integrate);
}

}  // namespace pypose
