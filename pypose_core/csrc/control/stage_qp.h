// Primal-dual interior point on a quadratic program with the stages of an optimal control problem.
//
//     min  sum_k 1/2 w_k' H_k w_k + g_k' w_k + penalties(eps_k)
//     s.t. x_0 = 0,  x_{k+1} = M_k w_k + c_k,  lower_k - eps <= [box; D_k] w_k <= upper_k + eps,  eps >= 0
//
// Each finite side of a row has a slack t > 0 and a multiplier lam > 0; a soft row also a violation eps > 0 at the
// price l1 eps + l2/2 eps^2, with the multiplier nu of eps >= 0. All of these are eliminated row by row, so that a
// Newton step is one Riccati recursion with H + a' W a, and a corrector one more sweep (Mehrotra 1992).
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "control/stage_factor.h"

namespace pypose {

struct StageProblem {
  StageDims dims;
  int nb = 0;                 // rows that bound one number of w
  int nd = 0;                 // general rows
  std::vector<int> box;       // which number of w
  std::vector<double> l1;     // price of a violation per row; negative: none is allowed
  std::vector<double> l2;
  const double *H = nullptr, *g = nullptr, *M = nullptr, *c = nullptr, *D = nullptr;   // of stage 0, rows of LD
  size_t stride = 0;          // to the next stage
  int rows() const { return nb + nd; }
  int padded_rows() const { return (rows() + 3) / 4 * 4; }
};

struct QpOptions {
  double tolerance = 1e-8;    // of complementarity and of the linear residuals
  int max_iterations = 50;
  double mu = 1.0;            // where the central path is entered
  double regularization = 0;  // added to the diagonal of H
  bool warm = false;          // keep the multipliers
};

enum class QpStatus { kSolved, kIterations, kIndefinite, kNumerical };

class StageQp {
 public:
  explicit StageQp(const StageProblem& problem, int ld) : p(problem), ld(ld) {
    const size_t stages = size_t(p.dims.N) + 1;
    mp = p.padded_rows();
    size = stages * 2 * mp;
    for (AlignedBuffer* b : {&bound, &t, &lam, &eps, &nu, &W, &e, &da, &a, &dt, &dlam, &deps, &dnu, &mask, &soft,
                             &price1, &price2, &id, &shift})
      *b = aligned_buffer(size + 8);
    w = aligned_buffer(stages * ld);
    w_next = aligned_buffer(stages * ld);
    q = aligned_buffer(stages * ld);
  }
  virtual ~StageQp() = default;
  virtual QpStatus solve(const QpOptions& options) = 0;
  // With the weights W of the last solve: w_next <- minimizer of 1/2 w'(H + a'Wa)w + q'w without offsets.
  virtual bool factorize(double regularization) = 0;
  virtual void solve_factored(bool offsets) = 0;
  // y += a' v for row values v (stages, 2, mp), upper minus lower.
  virtual void add_transposed(const double* v, double* y) const = 0;
  // v (stages, 2, mp) <- the rows at w, with the sign of their side.
  virtual void rows(const double* w, double* v) const = 0;

  // Position of a side of a row: side 0 is the lower bound, 1 the upper.
  size_t at(int k, int side, int row) const { return (size_t(k) * 2 + side) * mp + row; }

  const StageProblem& p;
  const int ld;
  int mp;
  size_t size;
  AlignedBuffer bound;   // (stages, 2, mp): upper, and minus lower; infinite where there is none
  AlignedBuffer t, lam, eps, nu, W, w;
  AlignedBuffer w_next, q;
  AlignedBuffer mask, soft;
  int iterations = 0;
  double mu = 0;
  double residual = 0;

 protected:
  AlignedBuffer e, da, a, dt, dlam, deps, dnu, price1, price2, id, shift;
};

template <int LD>
class StageQpOf final : public StageQp {
 public:
  explicit StageQpOf(const StageProblem& problem) : StageQp(problem, LD), factor_(problem.dims) {}

  void rows(const double* w, double* v) const override {
    const int N = p.dims.N, nb = p.nb, nd = p.nd, nw = p.dims.nw();
    for (int k = 0; k <= N; ++k) {
      const double* wk = w + size_t(k) * LD;
      double *lower = v + at(k, 0, 0), *upper = v + at(k, 1, 0);
      for (int i = 0; i < nb; ++i) {
        upper[i] = wk[p.box[i]];
        lower[i] = -upper[i];
      }
      const double* D = p.D + k * p.stride;
      for (int i = 0; i < nd; ++i, D += LD) {
        double s = 0;
        for (int j = 0; j < nw; ++j) s += D[j] * wk[j];
        upper[nb + i] = s;
        lower[nb + i] = -s;
      }
    }
  }

  void add_transposed(const double* v, double* y) const override {
    const int N = p.dims.N, nb = p.nb, nd = p.nd;
    for (int k = 0; k <= N; ++k) {
      double* yk = y + size_t(k) * LD;
      const double *lower = v + at(k, 0, 0), *upper = v + at(k, 1, 0);
      for (int i = 0; i < nb; ++i) yk[p.box[i]] += upper[i] - lower[i];
      const double* D = p.D + k * p.stride;
      for (int i = 0; i < nd; ++i, D += LD) {
        const double s = upper[nb + i] - lower[nb + i];
        for (int j = 0; j < LD; ++j) yk[j] += s * D[j];
      }
    }
  }

  bool factorize(double regularization) override {
    const int N = p.dims.N, nb = p.nb, nd = p.nd, nw = p.dims.nw();
    for (int k = 0; k <= N; ++k) {
      double* S = factor_.S(k);
      const double* H = p.H + k * p.stride;
      std::copy(H, H + nw * LD, S);
      if (regularization > 0)
        for (int i = 0; i < nw; ++i) S[i * LD + i] += regularization;
      const double *lower = W.get() + at(k, 0, 0), *upper = W.get() + at(k, 1, 0);
      for (int i = 0; i < nb; ++i) S[p.box[i] * LD + p.box[i]] += lower[i] + upper[i];
      const double* D = p.D + k * p.stride;
      for (int r = 0; r < nd; ++r, D += LD) {
        const double weight = lower[nb + r] + upper[nb + r];
        if (weight == 0) continue;
        for (int i = 0; i < nw; ++i) {
          const double f = weight * D[i];
          if (f == 0) continue;
          for (int j = 0; j < LD; ++j) S[i * LD + j] += f * D[j];
        }
      }
    }
    if (factor_.factorize(p.M, p.stride) >= 0) return false;
    factor_.set_offset(p.c, p.stride);
    return true;
  }

  void solve_factored(bool offsets) override {
    factor_.solve(q.get(), p.M, offsets ? p.c : nullptr, p.stride, w_next.get());
  }

  QpStatus solve(const QpOptions& options) override {
    start(options);
    double left = 1.0;   // what remains of the linear residuals, which each step scales down alike
    const double initial = linear_residual();
    for (iterations = 0; iterations < options.max_iterations; ++iterations) {
      residual = left * initial;
      if (mu <= options.tolerance && largest_product() <= 10 * options.tolerance && residual <= options.tolerance)
        return QpStatus::kSolved;
      weights();
      newton_rows(0.0, false);
      gradient();
      if (!factorize(options.regularization)) return QpStatus::kIndefinite;
      solve_factored(true);
      directions(0.0, false);
      double alpha = 1.0;
      if (count_ > 0) {
        const double affine = step_length(1.0);
        const double ratio = mean_product(affine) / mu;
        const double sigma = std::max(ratio * ratio * ratio, 1e-6);
        newton_rows(sigma * mu, true);
        gradient();
        solve_factored(true);
        directions(sigma * mu, true);
        alpha = step_length(std::max(0.995, 1 - mu));
      }
      if (!(alpha > 1e-10)) return QpStatus::kNumerical;
      advance(alpha);
      left *= 1 - alpha;
      if (count_ == 0) left = 0;
      mu = mean_product(0.0);
      if (!std::isfinite(mu)) return QpStatus::kNumerical;
    }
    residual = left * initial;
    return QpStatus::kIterations;
  }

 private:
  void start(const QpOptions& options) {
    const int N = p.dims.N, m = p.rows();
    std::fill(w.get(), w.get() + size_t(N + 1) * LD, 0.0);
    std::fill(a.get(), a.get() + size, 0.0);   // the rows at w = 0
    count_ = 0;
    any_soft_ = false;
    const double root = std::sqrt(options.mu);
    for (int k = 0; k <= N; ++k)
      for (int side = 0; side < 2; ++side)
        for (int r = 0; r < mp; ++r) {
          const size_t i = at(k, side, r);
          const bool active = r < m && std::isfinite(bound[i]);
          mask[i] = active;
          soft[i] = active && p.l1[r] >= 0;
          eps[i] = nu[i] = 1.0;
          price1[i] = price2[i] = 0;
          if (!active) {
            bound[i] = 0;
            t[i] = lam[i] = 1.0;
            dlam[i] = dt[i] = deps[i] = dnu[i] = 0;
            continue;
          }
          ++count_;
          if (options.warm && lam[i] > 0) {
            lam[i] = std::max(lam[i], 0.1 * root);
            t[i] = std::max(bound[i], std::min(options.mu / lam[i], root));
          } else {
            t[i] = std::max(bound[i], root);
            lam[i] = options.mu / t[i];
          }
          if (soft[i] != 0) {
            any_soft_ = true;
            ++count_;
            price1[i] = p.l1[r];
            price2[i] = p.l2[r];
            if (price1[i] > 0) lam[i] = std::min(lam[i], 0.9 * price1[i]);
            nu[i] = std::max(price1[i] - lam[i], 0.1 * root);
            eps[i] = std::max(options.mu / nu[i], -bound[i]);
          }
        }
    mu = count_ ? mean_product(0.0) : 0.0;
  }

  double linear_residual() const {
    v4d worst = {};
    const v4d *a4 = lanes4(a), *b4 = lanes4(bound), *s4 = lanes4(soft), *e4 = lanes4(eps), *t4 = lanes4(t), *m4 = lanes4(mask);
    for (size_t i = 0; i < size / 4; ++i) worst = max4(worst, m4[i] * abs4(a4[i] - b4[i] - s4[i] * e4[i] + t4[i]));
    double result = std::max(largest4(worst), 1.0);
    for (int k = 0; k < p.dims.N; ++k)
      for (int i = 0; i < p.dims.nx; ++i) result = std::max(result, std::abs(p.c[k * p.stride + i]));
    return result;
  }

  void weights() {
    v4d *W4 = lanes4(W), *id4 = lanes4(id);
    const v4d *t4 = lanes4(t), *l4 = lanes4(lam), *m4 = lanes4(mask);
    if (any_soft_) {
      const v4d *s4 = lanes4(soft), *p4 = lanes4(price2), *n4 = lanes4(nu), *e4 = lanes4(eps);
      for (size_t i = 0; i < size / 4; ++i) {
        id4[i] = s4[i] * e4[i] / (p4[i] * e4[i] + n4[i]);
        W4[i] = m4[i] * l4[i] / (t4[i] + id4[i] * l4[i]);
      }
    } else {
      for (size_t i = 0; i < size / 4; ++i) W4[i] = m4[i] * l4[i] / t4[i];
    }
  }

  // e of dlam = W (da + e), for the target sigma * mu and, as the corrector, the affine step's products.
  void newton_rows(double target, bool corrector) {
    v4d *e4 = lanes4(e), *shift4 = lanes4(shift), *h4 = lanes4(h_);
    const v4d *a4 = lanes4(a), *b4 = lanes4(bound), *t4 = lanes4(t), *l4 = lanes4(lam), *dt4 = lanes4(dt), *dl4 = lanes4(dlam);
    if (corrector) {
      for (size_t i = 0; i < size / 4; ++i) {
        const v4d rs = t4[i] * l4[i] + dt4[i] * dl4[i] - target;
        e4[i] = a4[i] - b4[i] + t4[i] - rs / l4[i];
        shift4[i] = rs;
      }
    } else {
      for (size_t i = 0; i < size / 4; ++i) {
        shift4[i] = t4[i] * l4[i];
        e4[i] = a4[i] - b4[i];
      }
    }
    if (!any_soft_) return;
    const v4d *s4 = lanes4(soft), *p1 = lanes4(price1), *p2 = lanes4(price2), *n4 = lanes4(nu), *ep4 = lanes4(eps);
    const v4d *de4 = lanes4(deps), *dn4 = lanes4(dnu), *id4 = lanes4(id);
    const double second = corrector ? 1.0 : 0.0;
    for (size_t i = 0; i < size / 4; ++i) {
      const v4d rn = ep4[i] * n4[i] + second * de4[i] * dn4[i] - target;
      h4[i] = p2[i] * ep4[i] + p1[i] - l4[i] - n4[i] + rn / ep4[i];
      e4[i] += s4[i] * (id4[i] * h4[i] - ep4[i]);
    }
  }

  // q = g + a'(lam + W (e - a)): the step is solved for the new w itself.
  void gradient() {
    v4d* v4 = lanes4(da);
    const v4d *a4 = lanes4(a), *e4 = lanes4(e), *W4 = lanes4(W), *l4 = lanes4(lam), *m4 = lanes4(mask);
    for (size_t i = 0; i < size / 4; ++i) v4[i] = m4[i] * (l4[i] + W4[i] * (e4[i] - a4[i]));
    for (int k = 0; k <= p.dims.N; ++k)
      std::copy(p.g + k * p.stride, p.g + k * p.stride + LD, q.get() + size_t(k) * LD);
    add_transposed(da.get(), q.get());
  }

  void directions(double target, bool corrector) {
    rows(w_next.get(), da.get());
    v4d *da4 = lanes4(da), *dl4 = lanes4(dlam), *dt4 = lanes4(dt);
    const v4d *a4 = lanes4(a), *e4 = lanes4(e), *W4 = lanes4(W), *t4 = lanes4(t), *l4 = lanes4(lam), *m4 = lanes4(mask);
    const v4d* shift4 = lanes4(shift);
    for (size_t i = 0; i < size / 4; ++i) {
      da4[i] -= a4[i];
      dl4[i] = W4[i] * (da4[i] + e4[i]);
      dt4[i] = -m4[i] * (shift4[i] + t4[i] * dl4[i]) / l4[i];
    }
    if (!any_soft_) return;
    v4d *de4 = lanes4(deps), *dn4 = lanes4(dnu);
    const v4d *s4 = lanes4(soft), *n4 = lanes4(nu), *ep4 = lanes4(eps), *id4 = lanes4(id), *h4 = lanes4(h_);
    const double second = corrector ? 1.0 : 0.0;
    for (size_t i = 0; i < size / 4; ++i) {
      const v4d rn = ep4[i] * n4[i] + second * de4[i] * dn4[i] - target;
      de4[i] = s4[i] * id4[i] * (dl4[i] - h4[i]);
      dn4[i] = -s4[i] * (rn + n4[i] * de4[i]) / ep4[i];
    }
  }

  double step_length(double fraction) const {
    v4d worst = {};   // the largest -d/x
    const v4d *t4 = lanes4(t), *l4 = lanes4(lam), *dt4 = lanes4(dt), *dl4 = lanes4(dlam);
    for (size_t i = 0; i < size / 4; ++i) worst = max4(worst, max4(-dt4[i] / t4[i], -dl4[i] / l4[i]));
    if (any_soft_) {
      const v4d *ep4 = lanes4(eps), *n4 = lanes4(nu), *de4 = lanes4(deps), *dn4 = lanes4(dnu);
      for (size_t i = 0; i < size / 4; ++i) worst = max4(worst, max4(-de4[i] / ep4[i], -dn4[i] / n4[i]));
    }
    const double ratio = largest4(worst);
    return std::min(1.0, ratio > 0 ? fraction / ratio : 1.0);
  }

  double mean_product(double alpha) const {
    v4d s = {};
    const v4d *t4 = lanes4(t), *l4 = lanes4(lam), *dt4 = lanes4(dt), *dl4 = lanes4(dlam), *m4 = lanes4(mask);
    for (size_t i = 0; i < size / 4; ++i) s += m4[i] * (t4[i] + alpha * dt4[i]) * (l4[i] + alpha * dl4[i]);
    if (any_soft_) {
      const v4d *s4 = lanes4(soft), *ep4 = lanes4(eps), *n4 = lanes4(nu), *de4 = lanes4(deps), *dn4 = lanes4(dnu);
      for (size_t i = 0; i < size / 4; ++i) s += s4[i] * (ep4[i] + alpha * de4[i]) * (n4[i] + alpha * dn4[i]);
    }
    return (s[0] + s[1] + s[2] + s[3]) / std::max(count_, 1);
  }

  double largest_product() const {
    v4d s = {};
    const v4d *t4 = lanes4(t), *l4 = lanes4(lam), *m4 = lanes4(mask);
    for (size_t i = 0; i < size / 4; ++i) s = max4(s, m4[i] * t4[i] * l4[i]);
    return largest4(s);
  }

  void advance(double alpha) {
    v4d *w4 = lanes4(w), *a4 = lanes4(a), *t4 = lanes4(t), *l4 = lanes4(lam);
    const v4d *next = lanes4(w_next), *da4 = lanes4(da), *dt4 = lanes4(dt), *dl4 = lanes4(dlam);
    for (size_t i = 0; i < size_t(p.dims.N + 1) * LD / 4; ++i) w4[i] += alpha * (next[i] - w4[i]);
    for (size_t i = 0; i < size / 4; ++i) {
      a4[i] += alpha * da4[i];
      t4[i] += alpha * dt4[i];
      l4[i] += alpha * dl4[i];
    }
    if (!any_soft_) return;
    v4d *ep4 = lanes4(eps), *n4 = lanes4(nu);
    const v4d *de4 = lanes4(deps), *dn4 = lanes4(dnu);
    for (size_t i = 0; i < size / 4; ++i) {
      ep4[i] += alpha * de4[i];
      n4[i] += alpha * dn4[i];
    }
  }

  StageFactor<LD> factor_;
  AlignedBuffer h_ = aligned_buffer(size + 8);
  int count_ = 0;
  bool any_soft_ = false;
};

// The instance for problems with nw numbers per stage.
inline std::unique_ptr<StageQp> make_stage_qp(const StageProblem& p, int ld) {
  switch (ld) {
    case 4: return std::make_unique<StageQpOf<4>>(p);
    case 8: return std::make_unique<StageQpOf<8>>(p);
    case 12: return std::make_unique<StageQpOf<12>>(p);
    case 16: return std::make_unique<StageQpOf<16>>(p);
    case 20: return std::make_unique<StageQpOf<20>>(p);
    case 24: return std::make_unique<StageQpOf<24>>(p);
    case 32: return std::make_unique<StageQpOf<32>>(p);
    case 48: return std::make_unique<StageQpOf<48>>(p);
    case 64: return std::make_unique<StageQpOf<64>>(p);
  }
  return nullptr;
}

// Numbers per row for nw of them; 0 if a stage is too large.
inline int leading_dimension(int nw) {
  for (int ld : {4, 8, 12, 16, 20, 24, 32, 48, 64})
    if (nw <= ld) return ld;
  return 0;
}

}  // namespace pypose
