// torch.ops.pypose.lqr and its adjoint: see riccati.h.
//
// Every input has the dimensions (batch, time, ...); a size of 1 in either means the same for all.  The gradients
// of lqr_backward have the inputs' time dimension (summed over time where it is 1) and always the whole batch.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "control/riccati.h"

namespace pypose {
namespace {

using at::Tensor;

// A number of each of W problems, from memory where problems lie `batch` numbers apart.
template <typename S, int W>
struct Lanes {
  using V = typename LaneVector<S, W>::type;
  const S* data;
  int64_t batch, time;
  int64_t problem[W];

  Lanes(const Tensor& x, int64_t first, int64_t B)
      : data(x.const_data_ptr<S>()), batch(x.size(0) == 1 ? 0 : x.stride(0)), time(x.size(1) == 1 ? 0 : x.stride(1)) {
    for (int l = 0; l < W; ++l) problem[l] = std::min(first + l, B - 1) * batch;
  }
  void row(int64_t t, int count, V* out) const {
    if (W > 1 && batch == 0) {
      for (int j = 0; j < count; ++j) out[j] = V{} + data[t * time + j];
      return;
    }
    const S* from[W];
    for (int l = 0; l < W; ++l) from[l] = data + problem[l] + t * time;
    gather_rows<S, W>(from, count, out);
  }
};

template <typename S, int W>
struct LanesOut {
  using V = typename LaneVector<S, W>::type;
  S* data;
  int64_t batch, time, first;
  int valid;

  LanesOut(const Tensor& x, int64_t first, int64_t B)
      : data(x.mutable_data_ptr<S>()), batch(x.stride(0)), time(x.dim() > 1 && x.size(1) > 1 ? x.stride(1) : 0),
        first(first), valid(static_cast<int>(std::min<int64_t>(W, B - first))) {}
  bool reduces() const { return time == 0; }
  void row(int64_t t, int count, const V* in) const {
    S* to[W] = {};
    for (int l = 0; l < valid; ++l) to[l] = data + (first + l) * batch + t * time;
    scatter_rows<S, W>(in, count, to, valid);
  }
};

struct Problem {
  RiccatiSize size;
  int64_t B;
  Tensor Q, p, A, F_B, c, x0;

  Problem(const Tensor& Q_, const Tensor& p_, const Tensor& A_, const Tensor& B_, const Tensor& c_,
          const Tensor& x0_, int64_t T)
      : Q(inner(Q_)), p(inner(p_)), A(inner(A_)), F_B(inner(B_)), c(inner(c_)), x0(inner(x0_)) {
    TORCH_CHECK(Q.dim() == 4 && p.dim() == 3 && A.dim() == 4 && F_B.dim() == 4 && c.dim() == 3 && x0.dim() == 2,
                "lqr: Q, A, B must have 4 dimensions, p, c 3, x0 2");
    size.T = T;
    size.n = static_cast<int>(A.size(-1));
    size.m = static_cast<int>(F_B.size(-1));
    const int64_t N = size.N();
    TORCH_CHECK(Q.size(-1) == N && Q.size(-2) == N && p.size(-1) == N && A.size(-2) == size.n &&
                    F_B.size(-2) == size.n && c.size(-1) == size.n && x0.size(-1) == size.n,
                "lqr: sizes do not match");
    B = 1;
    for (const Tensor* x : {&Q, &p, &A, &F_B, &c, &x0}) {
      TORCH_CHECK(x->scalar_type() == Q.scalar_type(), "lqr: all tensors must have one dtype");
      B = std::max(B, x->size(0));
    }
    for (const Tensor* x : {&Q, &p, &A, &F_B, &c, &x0})
      TORCH_CHECK(x->size(0) == 1 || x->size(0) == B, "lqr: a batch of ", x->size(0), " beside one of ", B);
    for (const Tensor* x : {&Q, &p, &A, &F_B, &c})
      TORCH_CHECK(x->size(1) == 1 || x->size(1) == T, "lqr: ", x->size(1), " steps, wanted ", T);
    TORCH_CHECK(T > 0 && size.n > 0 && size.m > 0, "lqr: empty problem");
  }

  // Whether all problems differ in x0 alone: they then have one recursion.
  bool shared() const {
    for (const Tensor* x : {&Q, &p, &A, &F_B, &c})
      if (x->size(0) > 1 && x->stride(0) != 0) return false;
    return true;
  }
  // Groups of lanes whose recursions are stored.
  int64_t recursions(int64_t W) const { return shared() ? 1 : (B + W - 1) / W; }

  // Each (batch, time) entry dense; batch and time may have any stride.
  static Tensor inner(const Tensor& x) {
    int64_t dense = 1;
    for (int64_t d = x.dim() - 1; d >= std::min<int64_t>(2, x.dim() - 1); --d) {
      if (x.size(d) > 1 && x.stride(d) != dense) return x.contiguous();
      dense *= x.size(d);
    }
    return x;
  }
};

template <typename S>
constexpr int wide = 64 / sizeof(S);

int64_t lanes(const Tensor& x, int64_t B) {
  const int64_t w = x.scalar_type() == at::kDouble ? wide<double> : wide<float>;
  return B * 2 > w ? w : 1;    // few problems fill no lanes
}

template <typename F>
void dispatch(const Tensor& x, int64_t B, F&& f) {
  const auto by_type = [&]<typename S>(S) {
    if (lanes(x, B) == 1) f.template operator()<S, 1>();
    else f.template operator()<S, wide<S>>();
  };
  if (x.scalar_type() == at::kDouble) by_type(double{});
  else {
    TORCH_CHECK(x.scalar_type() == at::kFloat, "lqr: float32 or float64, not ", x.scalar_type());
    by_type(float{});
  }
}

template <typename S, int W>
struct Aligned {
  using V = typename LaneVector<S, W>::type;
  std::unique_ptr<V[]> data;
  explicit Aligned(int64_t count) : data(new V[count]()) {}
  V* take(int64_t count) { V* p = data.get() + used; used += count; return p; }
  int64_t used = 0;
};

// F = [A B], by way of `rows`, n * max(n, m) vectors.
template <typename S, int W>
void load_dynamics(const Lanes<S, W>& A, const Lanes<S, W>& B, int64_t t, int n, int m,
                   typename LaneVector<S, W>::type* F, typename LaneVector<S, W>::type* rows) {
  A.row(t, n * n, rows);
  for (int i = 0; i < n; ++i) std::copy_n(rows + i * n, n, F + i * (n + m));
  B.row(t, n * m, rows);
  for (int i = 0; i < n; ++i) std::copy_n(rows + i * m, m, F + i * (n + m) + n);
}

using Solution = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// x (B, T+1, n), u (B, T, m), cost (B), multipliers (B, T+1, n), gains K (B, T, m, n) and k (B, T, m),
// the stored recursion if `save`, and whether each problem's Huu were all positive definite (B).
Solution allocate(const Problem& z, bool gains, bool save) {
  const auto [T, n, m] = std::tuple(z.size.T, z.size.n, z.size.m);
  const auto o = z.Q.options();
  const int64_t W = lanes(z.Q, z.B), groups = z.recursions(W), G = gains ? z.B : 0;
  return {at::empty({z.B, T + 1, n}, o), at::empty({z.B, T, m}, o), at::empty({z.B}, o),
          at::empty({z.B, T + 1, n}, o), at::empty({G, T, m, n}, o), at::empty({G, T, m}, o),
          at::empty({save ? groups : 0, T, z.size.stage(), W}, o), at::empty({z.B}, o.dtype(at::kBool))};
}

Solution lqr(const Tensor& Q_, const Tensor& p_, const Tensor& A_, const Tensor& B_, const Tensor& c_,
             const Tensor& x0_, int64_t steps, bool gains, bool save) {
  const Problem z(Q_, p_, A_, B_, c_, x0_, steps);
  Solution out = allocate(z, gains, save);
  auto& [x_, u_, cost_, lambda_, K_, k_, stored_, good_] = out;
  const int n = z.size.n, m = z.size.m, N = n + m;
  const int64_t T = steps;
  dispatch(z.Q, z.B, [&]<typename S, int W>() {
    using V = typename LaneVector<S, W>::type;
    using In = Lanes<S, W>;
    const int64_t groups = (z.B + W - 1) / W;
    const bool shared = z.shared();
    V* const stored = reinterpret_cast<V*>(stored_.template mutable_data_ptr<S>());

    // Backward in time for one group, into its stages; F is then the last that was loaded. Returns whether (> 0) each
    // problem's Huu were positive definite.
    const auto recursion = [&](int64_t first, V* stages, V* F) {
      Aligned<S, W> work(N * N + n * N + n * n + 3 * n + N + n * std::max(n, m));
      V *H = work.take(N * N), *Y = work.take(n * N), *value = work.take(n * n), *slope = work.take(n), *g = work.take(n);
      V *c = work.take(n), *h = work.take(N), *rows = work.take(n * std::max(n, m));
      const In Q(z.Q, first, z.B), from_p(z.p, first, z.B), A(z.A, first, z.B), B(z.F_B, first, z.B);
      const In from_c(z.c, first, z.B);
      const bool same = A.time == 0 && B.time == 0;
      if (same) load_dynamics(A, B, 0, n, m, F, rows);
      V good = V{} + S(1);
      for (int64_t t = T - 1; t >= 0; --t) {
        Q.row(t, N * N, H);
        for (int i = 0; i < N; ++i)   // the quadratic form knows the symmetric part only
          for (int j = 0; j < i; ++j) H[i * N + j] = S(0.5) * (H[i * N + j] + H[j * N + i]);
        from_p.row(t, N, h);
        if (t < T - 1) {
          if (!same) load_dynamics(A, B, t, n, m, F, rows);
          from_c.row(t, n, c);
        }
        V* stage = stages + t * z.size.stage();
        riccati_step<S, W>(z.size, H, h, value, slope, F, c, Y, g, stage, t == T - 1);
        for (int i = 0; i < m; ++i) {
          const V d = stage[z.size.L() + i * m + i];   // 1 / sqrt(pivot): infinite or NaN where it is not positive
          constexpr S infinity = std::numeric_limits<S>::infinity();
          if constexpr (W == 1) good = d > 0 && d < infinity ? good : S(0);
          else
            for (int l = 0; l < W; ++l) good[l] = d[l] > 0 && d[l] < infinity ? good[l] : S(0);
        }
      }
      return good;
    };
    Aligned<S, W> common(n * N + (shared && !save ? T * z.size.stage() : 0));
    V* const common_F = common.take(n * N);
    V* const common_stages = !shared ? nullptr : save ? stored : common.take(T * z.size.stage());
    const V common_good = shared ? recursion(0, common_stages, common_F) : V{};

    at::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
      Aligned<S, W> work(n * N + 3 * n + 2 * N + n * std::max(n, m) + (save || shared ? 0 : T * z.size.stage()));
      V *F = work.take(n * N), *g = work.take(n), *c = work.take(n), *tau = work.take(N), *p = work.take(N);
      V *lambda = work.take(n), *rows = work.take(n * std::max(n, m));
      V* const scratch = save || shared ? nullptr : work.take(T * z.size.stage());
      for (int64_t group = begin; group < end; ++group) {
        const int64_t first = group * W;
        using Out = LanesOut<S, W>;
        const In from_p(z.p, first, z.B), A(z.A, first, z.B), B(z.F_B, first, z.B), from_c(z.c, first, z.B);
        const In x0(z.x0.unsqueeze(1), first, z.B);
        const bool same = A.time == 0 && B.time == 0;
        V* const stages = shared ? common_stages : save ? stored + group * T * z.size.stage() : scratch;
        const V good = shared ? common_good : recursion(first, stages, F);
        if (shared) std::copy_n(common_F, n * N, F);
        const Out x(x_, first, z.B), u(u_, first, z.B), multipliers(lambda_, first, z.B);
        x0.row(0, n, tau);
        V cost = V{};
        for (int64_t t = 0; t < T; ++t) {
          const V* stage = stages + t * z.size.stage();
          std::copy_n(stage + z.size.k(), m, tau + n);
          add_product(tau + n, stage + z.size.K(), tau, m, n);
          std::copy_n(stage + z.size.v(), n, lambda);
          add_symmetric_product(lambda, stage + z.size.V(), tau, n);
          from_p.row(t, N, p);
          // By stationarity sum tau'(Q tau + p) = x_0' lambda_0 + sum c' lambda_{t+1}.
          if (t == 0)
            for (int i = 0; i < n; ++i) cost += tau[i] * lambda[i];
          else
            for (int i = 0; i < n; ++i) cost += c[i] * lambda[i];
          for (int i = 0; i < N; ++i) cost += p[i] * tau[i];
          x.row(t, n, tau);
          u.row(t, m, tau + n);
          multipliers.row(t, n, lambda);
          if (!same) load_dynamics(A, B, t, n, m, F, rows);
          from_c.row(t, n, c);
          std::copy_n(c, n, g);
          add_product(g, F, tau, n, N);
          std::copy_n(g, n, tau);
          if (gains) {
            Out(K_, first, z.B).row(t, m * n, stage + z.size.K());
            Out(k_, first, z.B).row(t, m, stage + z.size.k());
          }
        }
        x.row(T, n, tau);
        std::fill_n(lambda, n, V{});
        multipliers.row(T, n, lambda);
        cost *= S(0.5);
        Out(cost_.unsqueeze(1), first, z.B).row(0, 1, &cost);
        for (int l = 0; l < std::min<int64_t>(W, z.B - first); ++l)
          good_.template mutable_data_ptr<bool>()[first + l] = reinterpret_cast<const typename Lane<S>::type*>(&good)[l] > 0;
      }
    });
  });
  return out;
}

Solution lqr_meta(const Tensor& Q, const Tensor& p, const Tensor& A, const Tensor& B, const Tensor& c,
                  const Tensor& x0, int64_t steps, bool gains, bool save) {
  return allocate(Problem(Q, p, A, B, c, x0, steps), gains, save);
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients allocate_gradients(const Problem& z, bool matrices) {
  const auto o = z.Q.options();
  const auto like = [&](const Tensor& x) {
    std::vector<int64_t> size = x.sizes().vec();
    size[0] = z.B;
    return at::empty(size, o);
  };
  const auto maybe = [&](const Tensor& x) { return matrices ? like(x) : at::empty({0}, o); };
  return {maybe(z.Q), like(z.p), maybe(z.A), maybe(z.F_B), like(z.c), at::empty({z.B, z.size.n}, o)};
}

// Gradients by Q, p, A, B, c, x0 of a function whose gradients by x, u, cost are given.  Without `matrices` those by
// Q, A, B are left out (empty).
Gradients lqr_backward(const Tensor& Q_, const Tensor& p_, const Tensor& A_, const Tensor& B_, const Tensor& c_,
                       const Tensor& x0_, const Tensor& x_, const Tensor& u_, const Tensor& stored_,
                       const Tensor& x_bar_, const Tensor& u_bar_, const Tensor& cost_bar_, bool matrices) {
  const int64_t T = u_.size(1);
  const Problem z(Q_, p_, A_, B_, c_, x0_, T);
  Gradients out = allocate_gradients(z, matrices);
  const Tensor x_bar = x_bar_.contiguous(), u_bar = u_bar_.contiguous(), cost_bar = cost_bar_.contiguous();
  const Tensor xs = x_.contiguous(), us = u_.contiguous();
  auto& [Q_bar, p_bar, A_bar, B_bar, c_bar, x0_bar] = out;
  const int n = z.size.n, m = z.size.m, N = n + m;
  dispatch(z.Q, z.B, [&]<typename S, int W>() {
    using V = typename LaneVector<S, W>::type;
    const int64_t groups = (z.B + W - 1) / W;
    const V* const stored = reinterpret_cast<const V*>(stored_.template const_data_ptr<S>());
    const bool shared = z.shared();
    at::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
      Aligned<S, W> work(N * N + 4 * n * N + 6 * n + 4 * N + T * (n + m) + n * std::max(n, m));
      V *GQ = work.take(N * N), *F = work.take(n * N), *slope = work.take(n);
      V *next = work.take(n), *lambda = work.take(n), *dlambda = work.take(n), *gc = work.take(n);
      V *gp = work.take(N), *h = work.take(N), *tau = work.take(N), *dtau = work.take(N), *ks = work.take(T * (n + m));
      V *rows = work.take(n * std::max(n, m)), *GA = work.take(n * n), *GB = work.take(n * m);
      for (int64_t group = begin; group < end; ++group) {
        const int64_t first = group * W;
        using In = Lanes<S, W>;
        using Out = LanesOut<S, W>;
        const In A(z.A, first, z.B), B(z.F_B, first, z.B), x(xs, first, z.B), u(us, first, z.B);
        const In gx(x_bar, first, z.B), gu(u_bar, first, z.B);
        V gcost;
        In(cost_bar.unsqueeze(1), first, z.B).row(0, 1, &gcost);
        const bool same = A.time == 0 && B.time == 0;
        const V* const stages = stored + (shared ? 0 : group) * T * z.size.stage();
        if (same) load_dynamics(A, B, 0, n, m, F, rows);
        // x_T depends on the last stage's input without weighing on its cost: slope_T is its gradient.
        gx.row(T, n, slope);
        for (int64_t t = T - 1; t >= 0; --t) {
          gx.row(t, n, h);
          gu.row(t, m, h + n);
          if (!same) load_dynamics(A, B, t, n, m, F, rows);
          V* kv = ks + t * (n + m);
          riccati_adjoint_step(z.size, h, slope, F, stages + t * z.size.stage(), kv + n, false);
          std::copy_n(slope, n, kv);
        }
        const Out to_Q(matrices ? Q_bar : p_bar, first, z.B), to_A(matrices ? A_bar : p_bar, first, z.B);
        const Out to_B(matrices ? B_bar : p_bar, first, z.B), to_p(p_bar, first, z.B), to_c(c_bar, first, z.B);
        std::fill_n(GQ, N * N, V{});
        std::fill_n(GA, n * n, V{});
        std::fill_n(GB, n * m, V{});
        std::fill_n(gp, N, V{});
        std::fill_n(gc, n, V{});
        std::fill_n(dtau, n, V{});
        x.row(0, n, tau);
        // lambda and its variation at t = 0 are the gradient by x_0.
        std::copy_n(ks, n, dlambda);
        std::copy_n(stages + z.size.v(), n, lambda);
        add_symmetric_product(lambda, stages + z.size.V(), tau, n);
        for (int i = 0; i < n; ++i) next[i] = dlambda[i] + gcost * lambda[i];
        Out(x0_bar.unsqueeze(1), first, z.B).row(0, n, next);
        for (int64_t t = 0; t < T; ++t) {
          const V* stage = stages + t * z.size.stage();
          u.row(t, m, tau + n);
          std::copy_n(ks + t * (n + m) + n, m, dtau + n);
          add_product(dtau + n, stage + z.size.K(), dtau, m, n);
          if (!same) load_dynamics(A, B, t, n, m, F, rows);
          std::fill_n(next, n, V{});
          add_product(next, F, dtau, n, N);
          V* following = h;   // x_{t+1}
          x.row(t + 1, n, following);
          if (t + 1 < T) {
            const V* after = stage + z.size.stage();
            std::copy_n(ks + (t + 1) * (n + m), n, dlambda);
            add_symmetric_product(dlambda, after + z.size.V(), next, n);
            std::copy_n(after + z.size.v(), n, lambda);
            add_symmetric_product(lambda, after + z.size.V(), following, n);
          } else {
            gx.row(T, n, dlambda);
            std::fill_n(lambda, n, V{});
          }
          if (matrices) {
            if (!to_Q.reduces()) std::fill_n(GQ, N * N, V{});
            for (int i = 0; i < N; ++i) dtau[i] += S(0.5) * gcost * tau[i];
            for (int i = 0; i < N; ++i)
              for (int j = 0; j < N; ++j) GQ[i * N + j] += S(0.5) * (dtau[i] * tau[j] + tau[i] * dtau[j]);
            for (int i = 0; i < N; ++i) dtau[i] -= S(0.5) * gcost * tau[i];
            if (!to_Q.reduces() || t == T - 1) to_Q.row(t, N * N, GQ);
          }
          if (!to_p.reduces()) std::fill_n(gp, N, V{});
          for (int i = 0; i < N; ++i) gp[i] += dtau[i] + gcost * tau[i];
          if (!to_p.reduces() || t == T - 1) to_p.row(t, N, gp);
          if (!to_c.reduces()) std::fill_n(gc, n, V{});
          for (int i = 0; i < n; ++i) gc[i] += dlambda[i] += gcost * lambda[i];
          if (!to_c.reduces() || t == T - 1) to_c.row(t, n, gc);
          if (matrices) {
            if (!to_A.reduces()) std::fill_n(GA, n * n, V{});
            if (!to_B.reduces()) std::fill_n(GB, n * m, V{});
            for (int i = 0; i < n; ++i) {
              for (int j = 0; j < n; ++j) GA[i * n + j] += dlambda[i] * tau[j] + lambda[i] * dtau[j];
              for (int j = 0; j < m; ++j) GB[i * m + j] += dlambda[i] * tau[n + j] + lambda[i] * dtau[n + j];
            }
            if (!to_A.reduces() || t == T - 1) to_A.row(t, n * n, GA);
            if (!to_B.reduces() || t == T - 1) to_B.row(t, n * m, GB);
          }
          std::copy_n(following, n, tau);
          std::copy_n(next, n, dtau);
        }
      }
    });
  });
  return out;
}

Gradients lqr_backward_meta(const Tensor& Q, const Tensor& p, const Tensor& A, const Tensor& B, const Tensor& c,
                            const Tensor& x0, const Tensor&, const Tensor& u, const Tensor&, const Tensor&,
                            const Tensor&, const Tensor&, bool matrices) {
  return allocate_gradients(Problem(Q, p, A, B, c, x0, u.size(1)), matrices);
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("lqr(Tensor Q, Tensor p, Tensor A, Tensor B, Tensor c, Tensor x0, int steps, bool gains, bool save) -> (Tensor x, "
        "Tensor u, Tensor cost, Tensor multipliers, Tensor K, Tensor k, Tensor stored, Tensor good)");
  m.def("lqr_backward(Tensor Q, Tensor p, Tensor A, Tensor B, Tensor c, Tensor x0, Tensor x, Tensor u, Tensor stored, "
        "Tensor x_bar, Tensor u_bar, Tensor cost_bar, bool matrices) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("lqr", pypose::lqr);
  m.impl("lqr_backward", pypose::lqr_backward);
}

TORCH_LIBRARY_IMPL(pypose, Meta, m) {
  m.impl("lqr", pypose::lqr_meta);
  m.impl("lqr_backward", pypose::lqr_backward_meta);
}
