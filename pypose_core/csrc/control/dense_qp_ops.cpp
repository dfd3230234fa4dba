// torch.ops.pypose.qp_solve and qp_sensitivity: batches of dense quadratic programs, shared matrices not repeated.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "control/dense_qp.h"

namespace pypose {
namespace {

// A batch of matrices or vectors, or one for the whole batch.
struct Rows {
  at::Tensor held;
  const double* data;
  int64_t step;
  Rows(const at::Tensor& t, int64_t batch, at::IntArrayRef shape, const char* name) : held(t.contiguous()) {
    TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == at::kDouble, name, " must be float64 on the CPU");
    TORCH_CHECK(t.dim() == int64_t(shape.size()) + 1 && (t.size(0) == batch || t.size(0) == 1) && t.sizes().slice(1) == shape,
                name, " must be (", batch, " or 1, ...) with ", shape, "; it is ", t.sizes());
    data = held.const_data_ptr<double>();
    step = t.size(0) <= 1 ? 0 : held.numel() / batch;
  }
  const double* operator[](int64_t b) const { return data + b * step; }
};

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> qp_solve(
    const at::Tensor& P_, const at::Tensor& q_, const at::Tensor& G_, const at::Tensor& h_, const at::Tensor& A_,
    const at::Tensor& b_, int64_t B, double tolerance, int64_t max_iterations) {
  const int64_t n = q_.size(-1), m = h_.size(-1), p = b_.size(-1);
  const Rows P(P_, B, {n, n}, "P"), q(q_, B, {n}, "q"), G(G_, B, {m, n}, "G"), h(h_, B, {m}, "h"), A(A_, B, {p, n}, "A"),
      b(b_, B, {p}, "b");
  const auto like = q_.options();
  at::Tensor x = at::empty({B, n}, like), s = at::empty({B, m}, like), lam = at::empty({B, m}, like);
  at::Tensor nu = at::empty({B, p}, like), status = at::empty({B, 2}, like.dtype(at::kLong));
  double *xd = x.mutable_data_ptr<double>(), *sd = s.mutable_data_ptr<double>(), *ld = lam.mutable_data_ptr<double>();
  double* nd = nu.mutable_data_ptr<double>();
  int64_t* td = status.mutable_data_ptr<int64_t>();
  at::parallel_for(0, B, 1, [&](int64_t first, int64_t last) {
    DenseQp solver(static_cast<int>(n), static_cast<int>(m), static_cast<int>(p));
    for (int64_t i = first; i < last; ++i) {
      td[2 * i] = int64_t(solver.solve(P[i], q[i], G[i], h[i], A[i], b[i], tolerance, int(max_iterations)));
      td[2 * i + 1] = solver.iterations;
      std::copy(solver.x.get(), solver.x.get() + n, xd + i * n);
      std::copy(solver.s.get(), solver.s.get() + m, sd + i * m);
      std::copy(solver.lam.get(), solver.lam.get() + m, ld + i * m);
      std::copy(solver.nu.get(), solver.nu.get() + p, nd + i * p);
    }
  });
  return {x, s, lam, nu, status};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> qp_sensitivity(
    const at::Tensor& P_, const at::Tensor& G_, const at::Tensor& A_, const at::Tensor& s_, const at::Tensor& lam_,
    const at::Tensor& g_) {
  const int64_t B = g_.size(0), n = g_.size(1), m = s_.size(1), p = A_.size(-2);
  const Rows P(P_, B, {n, n}, "P"), G(G_, B, {m, n}, "G"), A(A_, B, {p, n}, "A"), s(s_, B, {m}, "s"),
      lam(lam_, B, {m}, "lam"), g(g_, B, {n}, "slope");
  const auto like = g_.options();
  at::Tensor w = at::empty({B, n}, like), dlam = at::empty({B, m}, like), dnu = at::empty({B, p}, like);
  at::Tensor ok = at::empty({B}, like.dtype(at::kBool));
  double *wd = w.mutable_data_ptr<double>(), *ld = dlam.mutable_data_ptr<double>(), *nd = dnu.mutable_data_ptr<double>();
  bool* okd = ok.mutable_data_ptr<bool>();
  at::parallel_for(0, B, 1, [&](int64_t first, int64_t last) {
    DenseQp solver(static_cast<int>(n), static_cast<int>(m), static_cast<int>(p));
    for (int64_t i = first; i < last; ++i)
      okd[i] = solver.sensitivity(P[i], G[i], A[i], s[i], lam[i], g[i], wd + i * n, ld + i * m, nd + i * p);
  });
  return {w, dlam, dnu, ok};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("qp_solve(Tensor P, Tensor q, Tensor G, Tensor h, Tensor A, Tensor b, int batch, float tolerance, "
        "int max_iterations) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("qp_sensitivity(Tensor P, Tensor G, Tensor A, Tensor s, Tensor lam, Tensor slope) -> "
        "(Tensor, Tensor, Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("qp_solve", qp_solve);
  m.impl("qp_sensitivity", qp_sensitivity);
}

}  // namespace pypose
