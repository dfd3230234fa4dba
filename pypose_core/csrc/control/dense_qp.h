// Primal-dual interior point on one dense convex quadratic program.
//
//     min 1/2 x'Px + q'x   s.t.   Gx + s = h, s >= 0,   Ax = b
//
// Newton steps with Mehrotra's predictor and corrector on H = P + G'(lam/s)G, factorized as U'DU; equations through
// the Schur complement A H^-1 A'. Source: Mehrotra, "On the implementation of a primal-dual interior point method"
// (1992); Mattingley and Boyd, "CVXGEN: a code generator for embedded convex optimization" (2012), section 5.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "control/simd.h"

namespace pypose {

// Symmetric positive definite matrix as U'DU, rows padded to a multiple of eight numbers.
class DenseFactor {
 public:
  explicit DenseFactor(int n) : n(n), ld((n + 7) / 8 * 8), A(aligned_buffer(size_t(n) * ld + 8)) {}

  // From the upper triangle in A; false where a pivot is not positive.
  bool factorize(double floor) {
    for (int j = 0; j < n; ++j) {
      double* row = A.get() + size_t(j) * ld;
      if (!(row[j] > floor)) return false;
      const double inverse = 1.0 / row[j];
      for (int i = j + 1; i < n; ++i) {
        const double f = -row[i] * inverse;
        double* target = A.get() + size_t(i) * ld;
        for (int v = i / 4; v < ld / 4; ++v) reinterpret_cast<v4d*>(target)[v] += f * reinterpret_cast<v4d*>(row)[v];
      }
      for (int i = j + 1; i < n; ++i) row[i] *= inverse;
    }
    return true;
  }

  void solve(double* x) const {
    for (int j = 0; j < n; ++j) {
      const double* row = A.get() + size_t(j) * ld;
      const double f = x[j];
      for (int i = j + 1; i < n; ++i) x[i] -= f * row[i];
    }
    for (int j = n - 1; j >= 0; --j) {
      const double* row = A.get() + size_t(j) * ld;
      double s = 0;
      for (int i = j + 1; i < n; ++i) s += row[i] * x[i];
      x[j] = x[j] / row[j] - s;
    }
  }

  const int n, ld;
  AlignedBuffer A;
};

enum class DenseQpStatus { kSolved, kIterations, kInfeasible, kUnbounded, kNotConvex, kNotFinite };

class DenseQp {
 public:
  DenseQp(int n, int m, int p)
      : n(n), m(m), p(p), ld((n + 7) / 8 * 8), H(n), schur_(std::max(p, 1)), G_(aligned_buffer(size_t(m + 1) * ld)),
        WG_(aligned_buffer(size_t(m + 1) * ld)), A_(aligned_buffer(size_t(p + 1) * ld)),
        HA_(aligned_buffer(size_t(p + 1) * ld)), x(aligned_buffer(ld)), dx_(aligned_buffer(ld)), r_(aligned_buffer(ld)),
        s(aligned_buffer(m + 8)), lam(aligned_buffer(m + 8)), ds_(aligned_buffer(m + 8)), dl_(aligned_buffer(m + 8)),
        W_(aligned_buffer(m + 8)), rp_(aligned_buffer(m + 8)), rs_(aligned_buffer(m + 8)), nu(aligned_buffer(p + 8)),
        dn_(aligned_buffer(p + 8)), re_(aligned_buffer(p + 8)) {}

  DenseQpStatus solve(const double* P, const double* q, const double* G, const double* h, const double* A,
                      const double* b, double tolerance, int max_iterations) {
    iterations = 0;
    double sum = 0;   // not finite where a number is not; nor, rightly, where finite ones are out of all range
    for (const auto& [data, count] : {std::pair(P, n * n), {q, n}, {G, m * n}, {h, m}, {A, p * n}, {b, p}})
      for (int i = 0; i < count; ++i) sum += std::abs(data[i]);
    if (!std::isfinite(sum)) {
      for (double* values : {s.get(), lam.get()}) std::fill(values, values + m, 0.0);
      std::fill(nu.get(), nu.get() + p, 0.0);
      std::fill(x.get(), x.get() + n, std::numeric_limits<double>::quiet_NaN());
      return DenseQpStatus::kNotFinite;
    }
    for (int i = 0; i < m; ++i) std::copy(G + size_t(i) * n, G + size_t(i + 1) * n, G_.get() + size_t(i) * ld);
    for (int i = 0; i < p; ++i) std::copy(A + size_t(i) * n, A + size_t(i + 1) * n, A_.get() + size_t(i) * ld);
    scale_ = 1e-300;
    for (int i = 0; i < n; ++i) scale_ = std::max(scale_, std::abs(P[size_t(i) * n + i]));
    double size_q = 1, size_h = 1;
    for (int i = 0; i < n; ++i) size_q = std::max(size_q, std::abs(q[i]));
    for (int i = 0; i < m; ++i) size_h = std::max(size_h, std::abs(h[i]));
    for (int i = 0; i < p; ++i) size_h = std::max(size_h, std::abs(b[i]));

    // Start: the minimizer with unit weights, slacks and multipliers made positive.
    std::fill(W_.get(), W_.get() + m, 1.0);
    if (!factorize(P)) return DenseQpStatus::kNotConvex;
    for (int i = 0; i < n; ++i) dx_[i] = -q[i];
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j) dx_[j] += h[i] * G_[size_t(i) * ld + j];
    std::copy(b, b + p, re_.get());
    solve_system();
    std::copy(dx_.get(), dx_.get() + n, x.get());
    std::copy(dn_.get(), dn_.get() + p, nu.get());
    double low_s = 0, low_l = 0;
    for (int i = 0; i < m; ++i) {
      s[i] = h[i] - dot(G_.get() + size_t(i) * ld, x.get());
      lam[i] = -s[i];
      low_s = std::max(low_s, -s[i]);
      low_l = std::max(low_l, -lam[i]);
    }
    for (int i = 0; i < m; ++i) {
      s[i] += 1 + low_s;
      lam[i] += 1 + low_l;
    }

    for (iterations = 0;; ++iterations) {
      double dual = 0, primal = 0, mu = 0, objective = 0;
      for (int i = 0; i < n; ++i) r_[i] = q[i];
      for (int i = 0; i < n; ++i) {
        const double xi = x[i];
        for (int j = 0; j < n; ++j) r_[j] += xi * P[size_t(i) * n + j];
      }
      for (int i = 0; i < m; ++i) axpy(r_.get(), G_.get() + size_t(i) * ld, lam[i]);
      for (int i = 0; i < p; ++i) axpy(r_.get(), A_.get() + size_t(i) * ld, nu[i]);
      for (int i = 0; i < n; ++i) dual = std::max(dual, std::abs(r_[i]));
      double size_l = 0, size_x = 0, farkas = 0;
      for (int i = 0; i < m; ++i) {
        rp_[i] = dot(G_.get() + size_t(i) * ld, x.get()) + s[i] - h[i];
        primal = std::max(primal, std::abs(rp_[i]));
        mu += s[i] * lam[i];
        size_l = std::max(size_l, lam[i]);
        farkas += h[i] * lam[i];
      }
      for (int i = 0; i < p; ++i) {
        re_[i] = b[i] - dot(A_.get() + size_t(i) * ld, x.get());
        primal = std::max(primal, std::abs(re_[i]));
        size_l = std::max(size_l, std::abs(nu[i]));
        farkas += b[i] * nu[i];
      }
      for (int i = 0; i < n; ++i) {
        size_x = std::max(size_x, std::abs(x[i]));
        objective += q[i] * x[i];
      }
      mu /= std::max(m, 1);
      if (!std::isfinite(dual + primal + mu)) return DenseQpStatus::kIterations;
      if (dual <= tolerance * size_q && primal <= tolerance * size_h && mu <= tolerance) return DenseQpStatus::kSolved;
      if (size_l > 1e8 * size_q * scale_or_one() && farkas < 0 && primal > tolerance * size_h) return DenseQpStatus::kInfeasible;
      if (size_x > 1e10 * size_h && objective < 0) return DenseQpStatus::kUnbounded;
      if (iterations >= max_iterations) return DenseQpStatus::kIterations;

      for (int i = 0; i < m; ++i) W_[i] = weight(s[i], lam[i]);
      if (!factorize(P)) return DenseQpStatus::kNotConvex;
      for (int i = 0; i < m; ++i) rs_[i] = s[i] * lam[i];
      direction();
      double alpha = step(1.0), after = 0;
      for (int i = 0; i < m; ++i) after += (s[i] + alpha * ds_[i]) * (lam[i] + alpha * dl_[i]);
      if (m > 0) {
        const double ratio = after / m / mu, sigma = ratio * ratio * ratio;
        for (int i = 0; i < m; ++i) rs_[i] = s[i] * lam[i] + ds_[i] * dl_[i] - sigma * mu;
        direction();
        alpha = step(0.995);
      }
      for (int i = 0; i < n; ++i) x[i] += alpha * dx_[i];
      for (int i = 0; i < m; ++i) {
        s[i] += alpha * ds_[i];
        lam[i] += alpha * dl_[i];
      }
      for (int i = 0; i < p; ++i) nu[i] += alpha * dn_[i];
    }
  }

  // At the solution: w <- the solution of the KKT system for the slope g (n) of a loss by x; dlam (m), dnu (p).
  // A row is an equation where its multiplier exceeds its slack, which complementarity separates by many orders of
  // magnitude unless the program is degenerate; the weight lam/s itself would blur rows that are nearly so.
  bool sensitivity(const double* P, const double* G, const double* A, const double* s_, const double* lam_,
                   const double* g, double* w, double* dlam, double* dnu) {
    for (int i = 0; i < m; ++i) std::copy(G + size_t(i) * n, G + size_t(i + 1) * n, G_.get() + size_t(i) * ld);
    for (int i = 0; i < p; ++i) std::copy(A + size_t(i) * n, A + size_t(i + 1) * n, A_.get() + size_t(i) * ld);
    scale_ = 1e-300;
    for (int i = 0; i < n; ++i) scale_ = std::max(scale_, std::abs(P[size_t(i) * n + i]));
    for (int i = 0; i < m; ++i) W_[i] = lam_[i] > s_[i] * scale_or_one() ? 1e6 * scale_or_one() : 0.0;
    if (!factorize(P)) return false;
    // Refined, since the weights stand for equations.
    std::fill(x.get(), x.get() + ld, 0.0);
    std::fill(dlam, dlam + m, 0.0);
    std::fill(dnu, dnu + p, 0.0);
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < n; ++i) dx_[i] = -g[i];
      for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) dx_[j] -= x[i] * P[size_t(i) * n + j];
      for (int i = 0; i < p; ++i) {
        axpy(dx_.get(), A_.get() + size_t(i) * ld, -dnu[i]);
        re_[i] = -dot(A_.get() + size_t(i) * ld, x.get());
      }
      for (int i = 0; i < m; ++i) {
        if (W_[i] == 0) continue;
        rp_[i] = dot(G_.get() + size_t(i) * ld, x.get());
        axpy(dx_.get(), G_.get() + size_t(i) * ld, -dlam[i] - W_[i] * rp_[i]);
      }
      solve_system();
      for (int i = 0; i < m; ++i)
        if (W_[i] != 0) dlam[i] += W_[i] * (dot(G_.get() + size_t(i) * ld, dx_.get()) + rp_[i]);
      for (int i = 0; i < p; ++i) dnu[i] += dn_[i];
      for (int i = 0; i < n; ++i) x[i] += dx_[i];
    }
    std::copy(x.get(), x.get() + n, w);
    return true;
  }

  const int n, m, p, ld;
  int iterations = 0;

 private:
  double dot(const double* a, const double* b) const {
    v4d t = {};
    for (int v = 0; v < ld / 4; ++v) t += reinterpret_cast<const v4d*>(a)[v] * reinterpret_cast<const v4d*>(b)[v];
    return (t[0] + t[1]) + (t[2] + t[3]);
  }
  void axpy(double* y, const double* a, double f) const {
    for (int v = 0; v < ld / 4; ++v) reinterpret_cast<v4d*>(y)[v] += f * reinterpret_cast<const v4d*>(a)[v];
  }
  // lam/s, but no more than 1e9 of the Hessian: a proximal term on the multipliers, so that H keeps its digits.
  double weight(double s_, double lam_) const { return 1.0 / (s_ / lam_ + 1e-9 / scale_or_one()); }
  double scale_or_one() const { return std::max(scale_, 1.0); }

  // H = P + G' W G (upper triangle), its factor, and that of A H^-1 A'.
  bool factorize(const double* P) {
    for (int i = 0; i < m; ++i)
      for (int v = 0; v < ld / 4; ++v)
        reinterpret_cast<v4d*>(WG_.get() + size_t(i) * ld)[v] = W_[i] * reinterpret_cast<v4d*>(G_.get() + size_t(i) * ld)[v];
    for (int i = 0; i < n; ++i) std::copy(P + size_t(i) * n, P + size_t(i + 1) * n, H.A.get() + size_t(i) * ld);
    for (int i = 0; i < n; i += 4) {
      const int rows = std::min(4, n - i);
      for (int v = i / 4; v < ld / 4; v += 2) {
        v4d acc[4][2] = {};
        const int wide = v + 1 < ld / 4 ? 2 : 1;
        for (int r = 0; r < m; ++r) {
          const double* g = G_.get() + size_t(r) * ld + i;
          const v4d* row = reinterpret_cast<const v4d*>(WG_.get() + size_t(r) * ld) + v;
          const v4d a = row[0], c = wide == 2 ? row[1] : a;
          for (int j = 0; j < 4; ++j) {
            acc[j][0] += g[j] * a;
            acc[j][1] += g[j] * c;
          }
        }
        for (int j = 0; j < rows; ++j)
          for (int c = 0; c < wide; ++c) reinterpret_cast<v4d*>(H.A.get() + size_t(i + j) * ld)[v + c] += acc[j][c];
      }
    }
    for (int i = 0; i < n; ++i) H.A[size_t(i) * ld + i] += 1e-13 * scale_;
    if (!H.factorize(1e-15 * scale_)) return false;
    for (int i = 0; i < p; ++i) {
      std::copy(A_.get() + size_t(i) * ld, A_.get() + size_t(i + 1) * ld, HA_.get() + size_t(i) * ld);
      H.solve(HA_.get() + size_t(i) * ld);
    }
    for (int i = 0; i < p; ++i) {
      for (int j = i; j < p; ++j) schur_.A[size_t(i) * schur_.ld + j] = dot(A_.get() + size_t(i) * ld, HA_.get() + size_t(j) * ld);
      schur_.A[size_t(i) * schur_.ld + i] *= 1 + 1e-13;
    }
    return p == 0 || schur_.factorize(0.0);
  }

  // dx_ holds a right-hand side, re_ that of the equations: H dx + A' dn = dx_, A dx = re_.
  void solve_system() {
    H.solve(dx_.get());
    for (int i = 0; i < p; ++i) dn_[i] = dot(A_.get() + size_t(i) * ld, dx_.get()) - re_[i];
    if (p > 0) schur_.solve(dn_.get());
    for (int i = 0; i < p; ++i) axpy(dx_.get(), HA_.get() + size_t(i) * ld, -dn_[i]);
  }

  void direction() {
    for (int j = 0; j < ld; ++j) dx_[j] = -r_[j];
    for (int i = 0; i < m; ++i) axpy(dx_.get(), G_.get() + size_t(i) * ld, -W_[i] * (rp_[i] - rs_[i] / lam[i]));
    solve_system();
    for (int i = 0; i < m; ++i) {
      const double gdx = dot(G_.get() + size_t(i) * ld, dx_.get());
      dl_[i] = W_[i] * (gdx + rp_[i] - rs_[i] / lam[i]);
      ds_[i] = -(rs_[i] + s[i] * dl_[i]) / lam[i];
    }
  }

  double step(double fraction) const {
    double ratio = 0;
    for (int i = 0; i < m; ++i) ratio = std::max(ratio, std::max(-ds_[i] / s[i], -dl_[i] / lam[i]));
    return std::min(1.0, ratio > 0 ? fraction / ratio : 1.0);
  }

  DenseFactor H, schur_;
  AlignedBuffer G_, WG_, A_, HA_;

 public:
  AlignedBuffer x;

 private:
  AlignedBuffer dx_, r_;

 public:
  AlignedBuffer s, lam;

 private:
  AlignedBuffer ds_, dl_, W_, rp_, rs_;

 public:
  AlignedBuffer nu;

 private:
  AlignedBuffer dn_, re_;
  double scale_ = 1;
};

}  // namespace pypose
