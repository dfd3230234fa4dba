// torch.ops.pypose.ocp_kkt: the stage-structured KKT system that sensitivities of optimal control problems solve.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "control/stage_factor.h"
#include "control/stage_qp.h"

namespace pypose {
namespace {

// One problem; returns false where a pivot is not positive.
template <int LD>
bool solve_one(const StageDims& d, const double* H, const double* M, const double* q, double* w, double* costates) {
  const int N = d.N, nx = d.nx, nu = d.nu, nw = d.nw();
  StageFactor<LD> factor(d);
  AlignedBuffer Mp = aligned_buffer(size_t(N) * nx * LD), qp = aligned_buffer(size_t(N + 1) * LD);
  AlignedBuffer wp = aligned_buffer(size_t(N + 1) * LD);
  for (int k = 0; k <= N; ++k) {
    for (int i = 0; i < nw; ++i) std::copy(H + (size_t(k) * nw + i) * nw, H + (size_t(k) * nw + i + 1) * nw, factor.S(k) + i * LD);
    std::copy(q + size_t(k) * nw, q + size_t(k + 1) * nw, qp.get() + size_t(k) * LD);
    if (k < N)
      for (int i = 0; i < nx; ++i)
        std::copy(M + (size_t(k) * nx + i) * nw, M + (size_t(k) * nx + i + 1) * nw, Mp.get() + (size_t(k) * nx + i) * LD);
  }
  const size_t stride = size_t(nx) * LD;
  if (factor.factorize(Mp.get(), stride) >= 0) return false;
  factor.solve(qp.get(), Mp.get(), nullptr, stride, wp.get());
  for (int k = N; k >= 0; --k) {
    const double* wk = wp.get() + size_t(k) * LD;
    std::copy(wk, wk + nw, w + size_t(k) * nw);
    for (int i = 0; i < nx; ++i) {
      double s = q[size_t(k) * nw + nu + i];
      for (int j = 0; j < nw; ++j) s += H[(size_t(k) * nw + nu + i) * nw + j] * wk[j];
      if (k < N)
        for (int j = 0; j < nx; ++j) s += M[(size_t(k) * nx + j) * nw + nu + i] * costates[size_t(k + 1) * nx + j];
      costates[size_t(k) * nx + i] = s;
    }
  }
  return true;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> ocp_kkt(const at::Tensor& H_, const at::Tensor& M_, const at::Tensor& q_) {
  TORCH_CHECK(H_.dim() == 4 && M_.dim() == 4 && q_.dim() == 3, "H (B, N + 1, w, w), M (B, N, x, w), q (B, N + 1, w)");
  const at::Tensor H = H_.contiguous(), M = M_.contiguous(), q = q_.contiguous();
  for (const at::Tensor* t : {&H, &M, &q})
    TORCH_CHECK(t->device().is_cpu() && t->scalar_type() == at::kDouble, "float64 on the CPU is needed");
  const int64_t B = H.size(0);
  StageDims d;
  d.N = int(M.size(1));
  d.nx = int(M.size(2));
  const int nw = int(M.size(3));
  d.nu = nw - d.nx;
  TORCH_CHECK(H.sizes() == at::IntArrayRef({B, d.N + 1, nw, nw}) && q.sizes() == at::IntArrayRef({B, d.N + 1, nw}) &&
              M.size(0) == B && d.nu > 0, "shapes of H, M and q do not agree");
  at::Tensor w = at::empty({B, d.N + 1, nw}, q.options()), costates = at::empty({B, d.N + 1, d.nx}, q.options());
  at::Tensor ok = at::empty({B}, q.options().dtype(at::kBool));
  const int ld = leading_dimension(nw);
  TORCH_CHECK(ld > 0, nw, " states and controls per stage are too many");
  const double *Hd = H.const_data_ptr<double>(), *Md = M.const_data_ptr<double>(), *qd = q.const_data_ptr<double>();
  double *wd = w.mutable_data_ptr<double>(), *cd = costates.mutable_data_ptr<double>();
  bool* okd = ok.mutable_data_ptr<bool>();
  at::parallel_for(0, B, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const auto run = [&]<int LD>() {
        return solve_one<LD>(d, Hd + b * (d.N + 1) * nw * nw, Md + b * d.N * d.nx * nw, qd + b * (d.N + 1) * nw,
                             wd + b * (d.N + 1) * nw, cd + b * (d.N + 1) * d.nx);
      };
      switch (ld) {
        case 4: okd[b] = run.template operator()<4>(); break;
        case 8: okd[b] = run.template operator()<8>(); break;
        case 12: okd[b] = run.template operator()<12>(); break;
        case 16: okd[b] = run.template operator()<16>(); break;
        case 20: okd[b] = run.template operator()<20>(); break;
        case 24: okd[b] = run.template operator()<24>(); break;
        case 32: okd[b] = run.template operator()<32>(); break;
        case 48: okd[b] = run.template operator()<48>(); break;
        default: okd[b] = run.template operator()<64>();
      }
    }
  });
  return {w, costates, ok};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) { m.def("ocp_kkt(Tensor H, Tensor M, Tensor q) -> (Tensor, Tensor, Tensor)"); }
TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("ocp_kkt", ocp_kkt); }

}  // namespace pypose
