// torch.ops.pypose: B sequences of F samples, and their reverse mode.
//
// The reverse mode needs the state before each step.  The forward pass keeps every K-th packed row,
// K about sqrt(F); the backward pass replays one segment of K steps at a time from its row.  Memory is
// O(B sqrt(F)) and the work of the forward pass is done once more.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "inertial/preintegration_backward.h"

namespace pypose {
namespace {

using at::Tensor;
using std::optional;
constexpr int kNoise = 45;    // five 3x3 blocks
constexpr int kDelta = 10;    // [q, v, p]

// The sizes of one call, checked once.
struct Batch {
  int64_t B, F, noise_B, noise_F, every;   // every: rows of delta per sequence, F or 1
  int64_t interval() const { return std::max<int64_t>(1, static_cast<int64_t>(std::sqrt(static_cast<double>(F)))); }
  int64_t checkpoints() const { return (F + interval() - 1) / interval(); }
  int64_t grain() const { return std::max<int64_t>(1, 2048 / std::max<int64_t>(F, 1)); }

  Batch(const Tensor& samples, const Tensor& bias, const Tensor& noise, const optional<Tensor>& covariance, bool all) {
    TORCH_CHECK(samples.dim() == 3 && samples.size(2) == 7, "samples must be (B, F, 7), got ", samples.sizes());
    B = samples.size(0), F = samples.size(1), every = all ? F : 1;
    TORCH_CHECK(F > 0, "there must be at least one sample");
    TORCH_CHECK(bias.dim() == 2 && bias.size(0) == B && bias.size(1) == 6, "bias must be (B, 6), got ", bias.sizes());
    TORCH_CHECK(noise.dim() == 5 && noise.numel() == noise.size(0) * noise.size(1) * kNoise && noise.size(2) == 5,
                "noise must be (B or 1, F or 1, 5, 3, 3), got ", noise.sizes());
    noise_B = noise.size(0), noise_F = noise.size(1);
    TORCH_CHECK((noise_B == B || noise_B == 1) && (noise_F == F || noise_F == 1),
                "noise must be (B or 1, F or 1, 5, 3, 3), got ", noise.sizes());
    TORCH_CHECK(!covariance || (covariance->dim() == 3 && covariance->size(0) == B && covariance->size(1) == 15 &&
                                covariance->size(2) == 15), "covariance must be (B, 15, 15)");
    TORCH_CHECK(samples.scalar_type() == at::kDouble || samples.scalar_type() == at::kFloat,
                "samples must be float32 or float64, they are ", samples.scalar_type());
    for (const Tensor* x : {&bias, &noise, covariance ? &*covariance : &bias})
      TORCH_CHECK(x->scalar_type() == samples.scalar_type(), "all inputs must have one dtype: ", x->scalar_type(),
                  " beside ", samples.scalar_type());
  }
};

template <typename T>
struct Sequence {                          // pointers of one of the B sequences
  const T *samples, *noise;
  int64_t noise_step;
  const T* noise_at(int64_t k) const { return noise + k * noise_step; }

  Sequence(const Batch& n, const Tensor& all_samples, const Tensor& all_noise, int64_t b)
      : samples(all_samples.const_data_ptr<T>() + b * n.F * 7),
        noise(all_noise.const_data_ptr<T>() + (n.noise_B == 1 ? 0 : b * n.noise_F * kNoise)),
        noise_step(n.noise_F == 1 ? 0 : kNoise) {}

  void step(T* row, int64_t k, bool covariance) const {
    const T* s = samples + 7 * k;
    const MatrixNoise<T> psd{noise_at(k)};
    if (covariance) preintegrate_step<true>(row, s[0], s + 1, s + 4, psd);
    else preintegrate_step<false>(row, s[0], s + 1, s + 4, psd);
  }
};

using Forward = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Forward allocate(const Batch& n, const Tensor& samples, bool covariance, bool save) {
  const int64_t side = covariance ? 15 : 0;
  return {at::empty({n.B, n.every, kDelta}, samples.options()), at::empty({n.B, 9, 6}, samples.options()),
          at::empty({n.B, side, side}, samples.options()),
          at::empty({n.B, save ? n.checkpoints() : 0, preintegrated::kSize}, samples.options())};
}

template <typename T>
void forward_sequence(const Batch& n, const Sequence<T>& sequence, const T* bias, const T* covariance, T* delta, T* J,
                      T* P, T* checkpoints) {
  using namespace preintegrated;
  T row[kSize];
  preintegrate_reset(row, bias);
  if (covariance) std::copy_n(covariance, 225, row + kCovariance);
  for (int64_t k = 0; k < n.F; ++k) {
    if (checkpoints && k % n.interval() == 0) std::copy_n(row, kSize, checkpoints + k / n.interval() * kSize);
    sequence.step(row, k, covariance != nullptr);
    if (n.every > 1 || k == n.F - 1) std::copy_n(row + kRotation, kDelta, delta + (n.every > 1 ? k * kDelta : 0));
  }
  std::copy_n(row + kJacobian, 54, J);
  if (covariance) std::copy_n(row + kCovariance, 225, P);
}

Forward preintegrate(const Tensor& samples_, const Tensor& bias_, const Tensor& noise_,
                     const optional<Tensor>& covariance_, bool every, bool save) {
  const Batch n(samples_, bias_, noise_, covariance_, every);
  const Tensor samples = samples_.contiguous(), bias = bias_.contiguous(), noise = noise_.contiguous();
  const Tensor covariance = covariance_ ? covariance_->contiguous() : Tensor();
  Forward out = allocate(n, samples, covariance.defined(), save);
  auto& [delta, J, P, checkpoints] = out;
  const auto run = [&]<typename T>(T) {
    T *to_delta = delta.mutable_data_ptr<T>(), *to_J = J.mutable_data_ptr<T>(), *to_P = P.mutable_data_ptr<T>();
    T* to_checkpoints = checkpoints.mutable_data_ptr<T>();
    at::parallel_for(0, n.B, n.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        forward_sequence<T>(n, Sequence<T>(n, samples, noise, b), bias.const_data_ptr<T>() + 6 * b,
                            covariance.defined() ? covariance.const_data_ptr<T>() + 225 * b : nullptr,
                            to_delta + b * n.every * kDelta, to_J + 54 * b, to_P + 225 * b,
                            save ? to_checkpoints + b * n.checkpoints() * preintegrated::kSize : nullptr);
    });
  };
  if (samples.scalar_type() == at::kDouble) run(double{});
  else run(float{});
  return out;
}

Forward preintegrate_meta(const Tensor& samples, const Tensor& bias, const Tensor& noise,
                          const optional<Tensor>& covariance, bool every, bool save) {
  return allocate(Batch(samples, bias, noise, covariance, every), samples, covariance.has_value(), save);
}

// bar holds the adjoints of the last row; every step's delta adds delta_bar.
template <typename T>
void backward_sequence(const Batch& n, const Sequence<T>& sequence, const T* checkpoints, const T* delta_bar,
                       bool covariance, bool jacobian, RowAdjoint<T>& bar, std::vector<T>& rows, T* samples_bar,
                       T* bias_bar, T* noise_bar) {
  using preintegrated::kSize;
  for (int64_t segment = n.checkpoints() - 1; segment >= 0; --segment) {
    const int64_t begin = segment * n.interval(), end = std::min(n.F, begin + n.interval());
    std::copy_n(checkpoints + segment * kSize, kSize, rows.data());
    for (int64_t k = begin; k + 1 < end; ++k) {
      T* next = rows.data() + (k + 1 - begin) * kSize;
      std::copy_n(next - kSize, kSize, next);
      sequence.step(next, k, covariance);
    }
    for (int64_t k = end - 1; k >= begin; --k) {
      if (n.every > 1 || k == n.F - 1) {
        const T* d = delta_bar + (n.every > 1 ? k * kDelta : 0);
        for (int i = 0; i < 4; ++i) bar.q[i] += d[i];
        for (int i = 0; i < 3; ++i) bar.v[i] += d[4 + i], bar.p[i] += d[7 + i];
      }
      const T* s = sequence.samples + 7 * k;
      const SampleAdjoint<T> sample =
          preintegrate_step_adjoint(rows.data() + (k - begin) * kSize, s[0], s + 1, s + 4, sequence.noise_at(k),
                                    covariance, jacobian, bar, noise_bar + (n.noise_F == 1 ? 0 : k * kNoise));
      T* to = samples_bar + 7 * k;
      to[0] = sample.dt;
      for (int i = 0; i < 3; ++i) {
        to[1 + i] = sample.w[i], to[4 + i] = sample.a[i];
        bias_bar[i] -= sample.w[i], bias_bar[3 + i] -= sample.a[i];
      }
    }
  }
}

// Without covariance_bar the covariance is left out: then noise and the first covariance have zero gradients.
// Without jacobian_bar the bias Jacobian is.
std::tuple<Tensor, Tensor, Tensor, Tensor> preintegrate_backward(
    const Tensor& samples_, const Tensor& bias, const Tensor& noise_, const optional<Tensor>& /*the checkpoints have it*/,
    const Tensor& checkpoints_, const Tensor& delta_bar_, const optional<Tensor>& J_bar_,
    const optional<Tensor>& covariance_bar_, bool every) {
  const Batch n(samples_, bias, noise_, covariance_bar_, every);
  const Tensor samples = samples_.contiguous(), noise = noise_.contiguous(), checkpoints = checkpoints_.contiguous();
  const Tensor delta_bar = delta_bar_.contiguous();
  const bool covariance = covariance_bar_.has_value(), jacobian = J_bar_.has_value();
  const Tensor J_bar = jacobian ? J_bar_->contiguous() : Tensor();
  const Tensor P_bar = covariance ? covariance_bar_->contiguous() : Tensor();
  TORCH_CHECK(checkpoints.dim() == 3 && checkpoints.size(0) == n.B && checkpoints.size(1) == n.checkpoints(),
              "checkpoints are of another call: ", checkpoints.sizes());
  TORCH_CHECK(delta_bar.numel() == n.B * n.every * kDelta && (!jacobian || J_bar.numel() == n.B * 54),
              "gradients of another shape than the results");
  const Tensor samples_bar = at::empty_like(samples), bias_bar = at::zeros({n.B, 6}, samples.options());
  const Tensor noise_bar = at::zeros({n.B, n.noise_F, 5, 3, 3}, samples.options());
  const Tensor first_bar = at::zeros({n.B, 15, 15}, samples.options());
  const auto run = [&]<typename T>(T) {
    T *to_samples = samples_bar.mutable_data_ptr<T>(), *to_bias = bias_bar.mutable_data_ptr<T>();
    T *to_noise = noise_bar.mutable_data_ptr<T>(), *to_first = first_bar.mutable_data_ptr<T>();
    at::parallel_for(0, n.B, n.grain(), [&](int64_t begin, int64_t end) {
      std::vector<T> rows(n.interval() * preintegrated::kSize);
      for (int64_t b = begin; b < end; ++b) {
        RowAdjoint<T> bar = {};
        if (jacobian) std::copy_n(J_bar.const_data_ptr<T>() + 54 * b, 54, bar.J);
        if (covariance) {
          const T* G = P_bar.const_data_ptr<T>() + 225 * b;
          for (int i = 0; i < 15; ++i)
            for (int j = 0; j < 15; ++j) bar.P[kRow * i + j] = T(0.5) * (G[15 * i + j] + G[15 * j + i]);
        }
        backward_sequence<T>(n, Sequence<T>(n, samples, noise, b),
                             checkpoints.const_data_ptr<T>() + b * n.checkpoints() * preintegrated::kSize,
                             delta_bar.const_data_ptr<T>() + b * n.every * kDelta, covariance, jacobian, bar, rows,
                             to_samples + b * n.F * 7, to_bias + 6 * b, to_noise + b * n.noise_F * kNoise);
        for (int i = 0; i < 15; ++i) std::copy_n(bar.P + kRow * i, 15, to_first + 225 * b + 15 * i);
      }
    });
  };
  if (samples.scalar_type() == at::kDouble) run(double{});
  else run(float{});
  return {samples_bar, bias_bar, n.noise_B == n.B ? noise_bar : noise_bar.sum(0, /*keepdim=*/true), first_bar};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> preintegrate_backward_meta(
    const Tensor& samples, const Tensor& bias, const Tensor& noise, const optional<Tensor>&, const Tensor&,
    const Tensor&, const optional<Tensor>&, const optional<Tensor>&, bool) {
  return {at::empty_like(samples), at::empty_like(bias), at::empty_like(noise),
          at::empty({samples.size(0), 15, 15}, samples.options())};
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("preintegrate(Tensor samples, Tensor bias, Tensor noise, Tensor? covariance, bool every, bool save) "
        "-> (Tensor delta, Tensor jacobian, Tensor covariance_out, Tensor checkpoints)");
  m.def("preintegrate_backward(Tensor samples, Tensor bias, Tensor noise, Tensor? covariance, Tensor checkpoints, "
        "Tensor delta_bar, Tensor? jacobian_bar, Tensor? covariance_bar, bool every) -> (Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("preintegrate", pypose::preintegrate);
  m.impl("preintegrate_backward", pypose::preintegrate_backward);
}

TORCH_LIBRARY_IMPL(pypose, Meta, m) {
  m.impl("preintegrate", pypose::preintegrate_meta);
  m.impl("preintegrate_backward", pypose::preintegrate_backward_meta);
}
