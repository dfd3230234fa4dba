// One step of the Kalman filter on row-major matrices.
#pragma once

#include <cmath>

namespace pypose {

// C (r x c) = X (r x d) Y, or with `transposed` X Y' where Y is (c x d).
template <typename T>
inline void product(T* C, const T* X, const T* Y, int r, int d, int c, bool transposed) {
  for (int i = 0; i < r; ++i)
    for (int j = 0; j < c; ++j) {
      T s = 0;
      for (int k = 0; k < d; ++k) s += X[i * d + k] * (transposed ? Y[j * d + k] : Y[k * c + j]);
      C[i * c + j] = s;
    }
}

// P- = A P A' + Q;  S = C P- C' + R;  K = P- C' S^-1;  x+ = x- + K e;  P+ = (I - K C) P- (I - K C)' + K R K'.
// False where S is not positive definite.
template <typename T>
inline bool kalman_step_row(const T* prior, const T* A, const T* P, const T* Q, const T* C, const T* R, const T* e, int n, int m,
                     T* work, T* x, T* out) {
  T *M = work, *predicted = M + n * n, *PCt = predicted + n * n, *L = PCt + n * m, *K = L + m * m, *J = K + n * m;
  product(M, A, P, n, n, n, false);
  product(predicted, M, A, n, n, n, true);
  for (int i = 0; i < n * n; ++i) predicted[i] += Q[i];
  product(PCt, predicted, C, n, n, m, true);
  product(L, C, PCt, m, n, m, false);
  for (int i = 0; i < m * m; ++i) L[i] += R[i];
  for (int i = 0; i < m; ++i)
    for (int j = 0; j <= i; ++j) {
      T s = L[i * m + j];
      for (int k = 0; k < j; ++k) s -= L[i * m + k] * L[j * m + k];
      if (i == j && !(s > 0)) return false;
      L[i * m + j] = i == j ? std::sqrt(s) : s / L[j * m + j];
    }
  for (int r = 0; r < n; ++r) {
    T* k = K + r * m;
    for (int i = 0; i < m; ++i) {
      T s = PCt[r * m + i];
      for (int j = 0; j < i; ++j) s -= L[i * m + j] * k[j];
      k[i] = s / L[i * m + i];
    }
    for (int i = m - 1; i >= 0; --i) {
      T s = k[i];
      for (int j = i + 1; j < m; ++j) s -= L[j * m + i] * k[j];
      k[i] = s / L[i * m + i];
    }
  }
  for (int i = 0; i < n; ++i) {
    T s = prior[i];
    for (int j = 0; j < m; ++j) s += K[i * m + j] * e[j];
    x[i] = s;
  }
  product(J, K, C, n, m, n, false);
  for (int i = 0; i < n * n; ++i) J[i] = (i % (n + 1) == 0 ? T(1) : T(0)) - J[i];
  product(M, J, predicted, n, n, n, false);
  product(out, M, J, n, n, n, true);
  product(PCt, K, R, n, m, m, false);
  product(M, PCt, K, n, m, n, true);
  for (int i = 0; i < n; ++i)
    for (int j = 0; j <= i; ++j)
      out[i * n + j] = out[j * n + i] = (out[i * n + j] + out[j * n + i] + M[i * n + j] + M[j * n + i]) / 2;
  return true;
}

// Numbers of `work` in kalman_step_row.
inline int kalman_workspace(int n, int m) { return 3 * n * n + 2 * n * m + m * m; }

}  // namespace pypose
