// torch.ops.pypose.traced_ekf_step: a step of the extended Kalman filter whose functions are tapes.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <tuple>
#include <vector>

#include "control/unpack_tape.h"
#include "filter/kalman.h"

namespace pypose {
namespace {

using at::Tensor;

// f with its Jacobian by the state, and h with its; inputs of both: state (n), input (m), time.
struct TracedModel : torch::CustomClassHolder {
  Tape f, h;
  int64_t n, m, k;
};
using TracedModelPtr = c10::intrusive_ptr<TracedModel>;

TracedModelPtr traced_model(const std::vector<Tensor>& f, const std::vector<Tensor>& h, int64_t n, int64_t m, int64_t k) {
  auto model = c10::make_intrusive<TracedModel>();
  model->f = unpack(f), model->h = unpack(h), model->n = n, model->m = m, model->k = k;
  return model;
}

// As contiguous doubles: one for all (of `dim` dimensions) or one for each of B.
struct Rows {
  Tensor x;
  int64_t stride;
  Rows(const Tensor& given, int64_t B, int64_t dim, int64_t width, const char* name)
      : x(given.to(at::kDouble).contiguous()), stride(given.dim() == dim ? 0 : width) {
    TORCH_CHECK(x.numel() == (stride ? B * width : width) && (x.dim() == dim || x.dim() == dim + 1),
                "traced_ekf_step: ", name, " has shape ", given.sizes());
  }
  const double* at(int64_t b) const { return x.const_data_ptr<double>() + b * stride; }
};

bool near(const double* a, const double* b, int64_t count, double tolerance) {
  for (int64_t i = 0; i < count; ++i)
    if (!(std::abs(a[i] - b[i]) <= tolerance * (1 + std::abs(b[i])))) return false;
  return true;
}

// x, P, y, Q, R, u: rows as in kalman_step.  The functions may have changed since they were traced: at the states `probe`
// their values are probed_f, probed_h, and the last result says whether the tapes give the same.
std::tuple<Tensor, Tensor, bool> traced_ekf_step(const TracedModelPtr& model, const Tensor& x_, const Tensor& u_, double t,
                                                 const Tensor& P_, const Tensor& y_, const Tensor& Q_, const Tensor& R_,
                                                 const Tensor& probe_, const Tensor& probed_f, const Tensor& probed_h,
                                                 double tolerance) {
  const int64_t n = model->n, m = model->m, k = model->k, B = x_.dim() == 1 ? 1 : x_.size(0), width = n + m + 1;
  const Rows x(x_, B, 1, n, "x"), u(u_, B, 1, m, "u"), y(y_, B, 1, k, "y"), probe(probe_, B, 1, n, "the probe"),
      at_f(probed_f, B, 1, n, "f"), at_h(probed_h, B, 1, k, "h"), P(P_, B, 2, n * n, "P"), Q(Q_, B, 2, n * n, "Q"),
      R(R_, B, 2, k * k, "R");
  std::vector<int64_t> shape = x_.sizes().vec();
  shape.push_back(n);
  Tensor mean = at::empty(x_.sizes(), x.x.options()), covariance = at::empty(shape, x.x.options());
  double *to_x = mean.mutable_data_ptr<double>(), *to_P = covariance.mutable_data_ptr<double>();
  std::atomic<bool> same{true};
  // Four filters fill the tape's eight lanes: each with its state and its probe.
  constexpr int kGroup = kLanes / 2;
  at::parallel_for(0, (B + kGroup - 1) / kGroup, 16, [&](int64_t begin, int64_t end) {
    AlignedBuffer registers = aligned_buffer(std::max(model->f.workspace(), model->h.workspace()));
    const int64_t f_width = n + n * n, h_width = k + k * n;
    std::vector<double> rows(kLanes * width), f(kLanes * f_width), h(kLanes * h_width), e(k);
    std::vector<double> work(kalman_workspace(static_cast<int>(n), static_cast<int>(k)));
    model->f.write_fixed(f.data(), f_width, kLanes);
    model->h.write_fixed(h.data(), h_width, kLanes);
    const InputSegment segment{rows.data(), static_cast<int>(width), 0};
    for (int64_t first = begin * kGroup; first < std::min(end * kGroup, B); first += kGroup) {
      const int count = static_cast<int>(std::min<int64_t>(kGroup, B - first));
      for (int i = 0; i < 2 * count; ++i) {
        const int64_t b = first + i / 2;
        double* row = rows.data() + i * width;
        std::copy_n(i % 2 ? probe.at(b) : x.at(b), n, row);
        std::copy_n(u.at(b), m, row + n);
        row[n + m] = t;
      }
      model->f.evaluate(&segment, 1, 0, 2 * count, f.data(), f_width, registers.get());
      for (int i = 0; i < count; ++i) std::copy_n(f.data() + 2 * i * f_width, n, rows.data() + 2 * i * width);
      model->h.evaluate(&segment, 1, 0, 2 * count, h.data(), h_width, registers.get());
      for (int i = 0; i < count; ++i) {
        const int64_t b = first + i;
        const double *prior = f.data() + 2 * i * f_width, *seen = h.data() + 2 * i * h_width;
        if (!near(prior + f_width, at_f.at(b), n, tolerance) || !near(seen + h_width, at_h.at(b), k, tolerance)) {
          same = false;
          return;
        }
        for (int64_t j = 0; j < k; ++j) e[j] = y.at(b)[j] - seen[j];
        TORCH_CHECK_VALUE(kalman_step_row(prior, prior + n, P.at(b), Q.at(b), seen + k, R.at(b), e.data(),
                                          static_cast<int>(n), static_cast<int>(k), work.data(), to_x + b * n,
                                          to_P + b * n * n),
                          "the innovation's covariance C P C' + R is not positive definite (filter ", b, " of the batch)");
      }
    }
  });
  return {mean.to(x_.scalar_type()), covariance.to(x_.scalar_type()), same.load()};
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.class_<pypose::TracedModel>("TracedModel");
  m.def("traced_model", pypose::traced_model);
  m.def("traced_ekf_step", pypose::traced_ekf_step);
}
