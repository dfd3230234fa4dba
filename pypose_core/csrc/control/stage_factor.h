// The Riccati recursion on the stages of an optimal control problem, as a block factorization of its KKT system.
//
//     min  sum_k 1/2 w_k' H_k w_k + q_k' w_k,   w_k = [u_k; x_k],   x_0 = 0,   x_{k+1} = M_k w_k + c_k
//
// Backward: S_k = H_k + M_k' P_{k+1} M_k, whose first nu columns are eliminated (L D L'); the Schur complement that
// remains is P_k. All matrices are row-major with rows of LD numbers, LD a multiple of four that is known to the
// compiler, so that each row is a few vector registers. After factorize(), a right-hand side costs one sweep.
//
// Source: Frison and Diehl, "HPIPM: a high-performance quadratic programming framework for model predictive
// control" (2020), section 3, in the form of Rao, Wright and Rawlings, "Application of interior-point methods to
// model predictive control" (1998).
#pragma once

#include <algorithm>

#include "control/simd.h"

namespace pypose {

struct StageDims {
  int N = 0;      // intervals; stages 0..N, the last one without controls
  int nx = 0;     // dimension of the state's tangent
  int nu = 0;
  int nw() const { return nu + nx; }
};

template <int LD>
class StageFactor {
 public:
  static_assert(LD % 4 == 0);
  static constexpr int V = LD / 4;

  explicit StageFactor(const StageDims& dims) : d_(dims) {
    const size_t stages = size_t(d_.N) + 1;
    S_ = aligned_buffer(stages * d_.nw() * LD);
    r_ = aligned_buffer(stages * LD);
    Pc_ = aligned_buffer(stages * LD);
    T_ = aligned_buffer(size_t(d_.nx + 4) * LD);
  }

  double* S(int k) { return S_.get() + size_t(k) * d_.nw() * LD; }
  const double* S(int k) const { return S_.get() + size_t(k) * d_.nw() * LD; }

  // Eliminates the stages backward; S(k) must hold H_k (full, symmetric). Returns the stage whose pivot is not
  // positive, or -1.
  int factorize(const double* M, size_t stride) {
    const int nx = d_.nx, nu = d_.nu, nw = d_.nw();
    for (int k = d_.N - 1; k >= 0; --k) {
      const double* Mk = M + k * stride;
      const double* P = S(k + 1) + nu * LD + nu;
      multiply(P, Mk);
      double* Sk = S(k);
      for (int a = 0; a < nw; a += 4) add_product(Mk, Sk, a, std::min(4, nw - a));
      for (int j = 0; j < nu; ++j) {
        const double pivot = Sk[j * LD + j];
        if (!(pivot > 1e-14)) return k;
        const double inverse = 1.0 / pivot;
        const double* row = Sk + j * LD;
        for (int i = j + 1; i < nw; ++i) axpy(Sk + i * LD, row, -row[i] * inverse);
      }
      double* Pk = Sk + nu * LD + nu;
      for (int i = 0; i < nx; ++i)
        for (int j = 0; j < i; ++j) Pk[i * LD + j] = Pk[j * LD + i] = 0.5 * (Pk[i * LD + j] + Pk[j * LD + i]);
    }
    return -1;
  }

  // P_{k+1} c_k, which every right-hand side with the same c needs.
  void set_offset(const double* c, size_t stride) {
    for (int k = 0; k < d_.N; ++k) {
      const double* P = S(k + 1) + d_.nu * LD;
      double* out = Pc_.get() + size_t(k) * LD;   // as w: the state's part begins at nu
      std::fill(out, out + LD, 0.0);
      for (int i = 0; i < d_.nx; ++i) axpy(out, P + i * LD, c[k * stride + i]);
    }
  }

  // w <- the minimizer for the gradients q (rows of LD); c may be null for zero offsets (then also P c).
  void solve(const double* q, const double* M, const double* c, size_t stride, double* w) {
    const int nx = d_.nx, nu = d_.nu, N = d_.N;
    std::copy(q + size_t(N) * LD, q + size_t(N + 1) * LD, r_.get() + size_t(N) * LD);
    for (int k = N - 1; k >= 0; --k) {
      const double* Mk = M + k * stride;
      const double* next = r_.get() + size_t(k + 1) * LD + nu;
      const double* Pc = Pc_.get() + size_t(k) * LD + nu;
      v4d acc[V];
      const v4d* qk = reinterpret_cast<const v4d*>(q + size_t(k) * LD);
      for (int v = 0; v < V; ++v) acc[v] = qk[v];
      for (int i = 0; i < nx; ++i) {
        const double y = c ? next[i] + Pc[i] : next[i];
        const v4d* row = reinterpret_cast<const v4d*>(Mk + i * LD);
        for (int v = 0; v < V; ++v) acc[v] += y * row[v];
      }
      double* r = r_.get() + size_t(k) * LD;
      for (int v = 0; v < V; ++v) reinterpret_cast<v4d*>(r)[v] = acc[v];
      const double* Sk = S(k);
      for (int j = 0; j < nu; ++j) {
        const double rj = r[j];
        axpy(r, Sk + j * LD, -rj / Sk[j * LD + j]);   // left of the pivot the row is zero
        r[j] = rj;
      }
    }
    std::fill(w, w + LD, 0.0);
    for (int k = 0; k < N; ++k) {
      double* wk = w + size_t(k) * LD;
      const double *Sk = S(k), *r = r_.get() + size_t(k) * LD, *Mk = M + k * stride;
      for (int j = nu - 1; j >= 0; --j) {
        wk[j] = -(r[j] + dot(Sk + j * LD, wk)) / Sk[j * LD + j];   // wk[0..j] is still zero
      }
      double* next = wk + LD;
      std::fill(next, next + LD, 0.0);
      for (int i = 0; i < nx; ++i) {
        next[nu + i] = dot(Mk + i * LD, wk) + (c ? c[k * stride + i] : 0.0);
      }
    }
  }

 private:
  static void axpy(double* y, const double* x, double a) {
    for (int v = 0; v < V; ++v) reinterpret_cast<v4d*>(y)[v] += a * reinterpret_cast<const v4d*>(x)[v];
  }

  static double dot(const double* a, const double* b) {
    v4d s = *reinterpret_cast<const v4d*>(a) * *reinterpret_cast<const v4d*>(b);
    for (int v = 1; v < V; ++v) s += reinterpret_cast<const v4d*>(a)[v] * reinterpret_cast<const v4d*>(b)[v];
    return (s[0] + s[1]) + (s[2] + s[3]);
  }

  // T = P M
  void multiply(const double* P, const double* M) {
    const int nx = d_.nx;
    for (int i = 0; i < nx; ++i) {
      v4d acc[V] = {};
      for (int j = 0; j < nx; ++j) {
        const double p = P[i * LD + j];
        const v4d* row = reinterpret_cast<const v4d*>(M + j * LD);
        for (int v = 0; v < V; ++v) acc[v] += p * row[v];
      }
      for (int v = 0; v < V; ++v) reinterpret_cast<v4d*>(T_.get() + i * LD)[v] = acc[v];
    }
  }

  // Rows a..a + rows - 1 of S += M' T
  void add_product(const double* M, double* S, int a, int rows) {
    const int nx = d_.nx;
    if (rows == 4 && V <= 4) {
      v4d acc[4][V];
      for (int j = 0; j < 4; ++j)
        for (int v = 0; v < V; ++v) acc[j][v] = reinterpret_cast<v4d*>(S + (a + j) * LD)[v];
      for (int i = 0; i < nx; ++i) {
        const v4d* t = reinterpret_cast<const v4d*>(T_.get() + i * LD);
        for (int j = 0; j < 4; ++j) {
          const double m = M[i * LD + a + j];
          for (int v = 0; v < V; ++v) acc[j][v] += m * t[v];
        }
      }
      for (int j = 0; j < 4; ++j)
        for (int v = 0; v < V; ++v) reinterpret_cast<v4d*>(S + (a + j) * LD)[v] = acc[j][v];
      return;
    }
    for (int j = a; j < a + rows; ++j)
      for (int i = 0; i < nx; ++i) axpy(S + j * LD, T_.get() + i * LD, M[i * LD + j]);
  }

  StageDims d_;
  AlignedBuffer S_, r_, Pc_, T_;
};

}  // namespace pypose
