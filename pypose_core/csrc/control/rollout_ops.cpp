// torch.ops.pypose.tape_rollout and tape_evaluate: a traced system followed over a horizon, and at many points.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "control/unpack_tape.h"

namespace pypose {
namespace {

using at::Tensor;
using std::optional;

void check(const Tensor& x, const char* name, at::IntArrayRef sizes) {
  TORCH_CHECK(x.scalar_type() == at::kDouble && x.is_contiguous() && x.sizes() == sizes, "tape_rollout: ", name,
              " must be contiguous float64 of ", sizes, ", got ", x.scalar_type(), " ", x.sizes());
}

// Inputs of the tape: state (n), input (m), time.  The input applied is u + K (x - nominal), kept within the bounds.
// Returns states (B, T+1, n) and inputs (B, T, m).
std::tuple<Tensor, Tensor> tape_rollout(const std::vector<Tensor>& packed, const Tensor& x0, const Tensor& u,
                                        const Tensor& times, const optional<Tensor>& K, const optional<Tensor>& nominal,
                                        const optional<Tensor>& lower, const optional<Tensor>& upper) {
  const int64_t B = u.size(0), T = u.size(1), n = x0.size(-1), m = u.size(2);
  check(x0, "x0", {B, n});
  check(u, "u", {B, T, m});
  check(times, "times", {T});
  TORCH_CHECK(K.has_value() == nominal.has_value() && lower.has_value() == upper.has_value(),
              "tape_rollout: gains come with nominal states, lower bounds with upper ones");
  if (K) check(*K, "K", {B, T, m, n}), check(*nominal, "nominal", {B, T, n});
  if (lower) check(*lower, "lower", {B, T, m}), check(*upper, "upper", {B, T, m});
  const Tape tape = unpack(packed);
  Tensor x = at::empty({B, T + 1, n}, u.options()), applied = at::empty_like(u);
  const double *pu = u.const_data_ptr<double>(), *pt = times.const_data_ptr<double>();
  const double* pK = K ? K->const_data_ptr<double>() : nullptr;
  const double* pn = nominal ? nominal->const_data_ptr<double>() : nullptr;
  const double* pl = lower ? lower->const_data_ptr<double>() : nullptr;
  const double* pb = upper ? upper->const_data_ptr<double>() : nullptr;
  double *px = x.mutable_data_ptr<double>(), *pa = applied.mutable_data_ptr<double>();
  const int64_t width = n + m + 1;
  at::parallel_for(0, (B + kLanes - 1) / kLanes, 1, [&](int64_t begin, int64_t end) {
    AlignedBuffer work = aligned_buffer(tape.workspace());
    std::vector<double> rows(kLanes * width), next(kLanes * n);
    tape.write_fixed(next.data(), n, kLanes);
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * kLanes;
      const int count = static_cast<int>(std::min<int64_t>(kLanes, B - first));
      for (int i = 0; i < count; ++i)
        std::copy_n(x0.const_data_ptr<double>() + (first + i) * n, n, px + (first + i) * (T + 1) * n);
      for (int64_t t = 0; t < T; ++t) {
        for (int i = 0; i < count; ++i) {
          const int64_t b = first + i, at = b * T + t;
          const double* state = px + (b * (T + 1) + t) * n;
          double* row = rows.data() + i * width;
          std::copy_n(state, n, row);
          for (int64_t j = 0; j < m; ++j) {
            double value = pu[at * m + j];
            if (pK)
              for (int64_t k = 0; k < n; ++k) value += pK[(at * m + j) * n + k] * (state[k] - pn[at * n + k]);
            if (pl) value = std::min(std::max(value, pl[at * m + j]), pb[at * m + j]);
            row[n + j] = pa[at * m + j] = value;
          }
          row[n + m] = pt[t];
        }
        const InputSegment segment{rows.data(), static_cast<int>(width), 0};
        tape.evaluate(&segment, 1, 0, count, next.data(), n, work.get());
        for (int i = 0; i < count; ++i)
          std::copy_n(next.data() + i * n, n, px + ((first + i) * (T + 1) + t + 1) * n);
      }
    }
  });
  return {x, applied};
}

// The tape at rows (R, inputs): (R, outputs).
Tensor tape_evaluate(const std::vector<Tensor>& packed, const Tensor& rows, int64_t outputs) {
  TORCH_CHECK(rows.dim() == 2 && rows.scalar_type() == at::kDouble && rows.is_contiguous(),
              "tape_evaluate: rows must be contiguous float64 (R, inputs)");
  const Tape tape = unpack(packed);
  const int64_t R = rows.size(0), width = rows.size(1);
  Tensor out = at::zeros({R, outputs}, rows.options());
  double* to = out.mutable_data_ptr<double>();
  tape.write_fixed(to, outputs, static_cast<int>(R));
  at::parallel_for(0, (R + kLanes - 1) / kLanes, 64, [&](int64_t begin, int64_t end) {
    AlignedBuffer work = aligned_buffer(tape.workspace());
    const InputSegment segment{rows.const_data_ptr<double>(), static_cast<int>(width), 0};
    const int64_t first = begin * kLanes, last = std::min(end * kLanes, R);
    tape.evaluate(&segment, 1, static_cast<int>(first), static_cast<int>(last - first), to, outputs, work.get());
  });
  return out;
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("tape_rollout(Tensor[] tape, Tensor x0, Tensor u, Tensor times, Tensor? K, Tensor? nominal, Tensor? lower, "
        "Tensor? upper) -> (Tensor, Tensor)");
  m.def("tape_evaluate(Tensor[] tape, Tensor rows, int outputs) -> Tensor");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("tape_rollout", pypose::tape_rollout);
  m.impl("tape_evaluate", pypose::tape_evaluate);
}
