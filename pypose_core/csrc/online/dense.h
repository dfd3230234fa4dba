// Small dense matrices of fixed size, row-major, and the envelope Cholesky factorization of the window.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace pypose {

// C = A B with A (M x K), B (K x N).
template <int M, int K, int N>
inline void multiply(const double* A, const double* B, double* C) {
  for (int i = 0; i < M; ++i) {
    double row[N] = {};
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < N; ++j) row[j] += A[K * i + k] * B[N * k + j];
    for (int j = 0; j < N; ++j) C[N * i + j] = row[j];
  }
}

// S = J P J^T with J (M x N) and P (N x N).
template <int M, int N>
inline void congruence(const double* J, const double* P, double* S) {
  double JP[M * N], Jt[N * M];
  multiply<M, N, N>(J, P, JP);
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) Jt[M * j + i] = J[N * i + j];   // products of rows vectorize, dot products don't
  multiply<M, N, M>(JP, Jt, S);
}

// Lower Cholesky factor of a symmetric N x N matrix, in place (upper triangle untouched).
template <int N>
inline bool cholesky(double* A) {
  for (int i = 0; i < N; ++i)
    for (int j = 0; j <= i; ++j) {
      double s = A[N * i + j];
      for (int k = 0; k < j; ++k) s -= A[N * i + k] * A[N * j + k];
      if (i != j) {
        A[N * i + j] = s / A[N * j + j];
      } else {
        if (!(s > 0)) return false;
        A[N * i + i] = std::sqrt(s);
      }
    }
  return true;
}

// X <- L^-1 X for a lower-triangular N x N factor and X (N x M).
template <int N, int M>
inline void forward_substitute(const double* L, double* X) {
  for (int i = 0; i < N; ++i) {
    double* x = X + M * i;
    for (int k = 0; k < i; ++k)
      for (int j = 0; j < M; ++j) x[j] -= L[N * i + k] * X[M * k + j];
    for (int j = 0; j < M; ++j) x[j] /= L[N * i + i];
  }
}

// Cholesky factorization within the envelope: row i is zero left of first[i], and so is the factor.
// A window in time order is nearly block tridiagonal, so the envelope is a narrow band and the cost
// linear in the number of keyframes.
class EnvelopeCholesky {
 public:
  // Factorizes the lower triangle of A (n x n); returns the failing row, or -1.
  int factorize(const double* A, int n, const std::vector<int>& first, double damping) {
    n_ = n;
    first_ = &first;
    L_.resize(size_t(n) * n);
    for (int i = 0; i < n; ++i) {
      double* Li = L_.data() + size_t(n) * i;
      const int begin = first[i];
      for (int j = begin; j <= i; ++j) {
        const double* Lj = row(j);
        double s = A[size_t(n) * i + j];
        if (i == j) s += damping * s;
        s -= dot(Li, Lj, std::max(begin, first[j]), j);
        if (i != j) {
          Li[j] = s / Lj[j];
        } else {
          // A pivot that cancellation has eaten is as good as zero.
          if (!(s > 1e-14 * std::abs(A[size_t(n) * i + i]))) return i;
          Li[i] = std::sqrt(s);
        }
      }
    }
    return -1;
  }

  // b <- A^-1 b.
  void solve(double* b) const {
    for (int i = 0; i < n_; ++i) b[i] = (b[i] - dot(row(i), b, (*first_)[i], i)) / row(i)[i];
    for (int i = n_ - 1; i >= 0; --i) {
      b[i] /= row(i)[i];
      for (int j = (*first_)[i]; j < i; ++j) b[j] -= row(i)[j] * b[i];
    }
  }

  const double* row(int i) const { return L_.data() + size_t(n_) * i; }

 private:
  static double dot(const double* a, const double* b, int begin, int end) {
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int k = begin; k < end; ++k) s += a[k] * b[k];
    return s;
  }

  int n_ = 0;
  const std::vector<int>* first_ = nullptr;
  std::vector<double> L_;
};

}  // namespace pypose
