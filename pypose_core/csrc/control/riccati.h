// Linear-quadratic optimal control by the Riccati recursion, and its adjoint, for W problems at a time.
//
//   minimize  sum_t 1/2 tau_t' Q_t tau_t + p_t' tau_t,  tau_t = [x_t, u_t],   t = 0 .. T-1
//   subject to  x_{t+1} = A_t x_t + B_t u_t + c_t,  x_0 given
//
// Each number is a vector over W problems (the lanes), so that small matrices of any size fill the vector units.
// Matrices lie in rows.  What the adjoint needs of the recursion is stored in that layout too: see Stage.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "control/lanes.h"

namespace pypose {

template <typename V, typename S, int W>
inline V square_roots(V x) {
  if constexpr (W == 1) return std::sqrt(x);
  else {
    V r;
    for (int l = 0; l < W; ++l) r[l] = std::sqrt(x[l]);
    return r;
  }
}

struct RiccatiSize {
  int64_t T;
  int n, m;
  int N() const { return n + m; }
  // Of one stage, in numbers: gain K (m x n), Cholesky factor L of Huu (m x m, inverse diagonal), V (its lower
  // triangle by rows), v (n), k (m).
  int K() const { return 0; }
  int L() const { return m * n; }
  int V() const { return L() + m * m; }
  int v() const { return V() + n * (n + 1) / 2; }
  int k() const { return v() + n; }
  int stage() const { return k() + m; }
};

// C (r x c) += X' Y, X (d x r), Y (d x c), or with `lower` only its entries j <= i.
template <typename V, int W>
inline void add_transposed_product(V* C, const V* X, const V* Y, int d, int r, int c, int ldx, bool lower) {
  if constexpr (W == 1) {
    for (int k = 0; k < d; ++k)
      for (int i = 0; i < r; ++i) {
        const V a = X[k * ldx + i];
        const int end = lower ? i + 1 : c;
        for (int j = 0; j < end; ++j) C[i * c + j] += a * Y[k * c + j];
      }
  } else {
    constexpr int R = 4, S = 4;
    for (int i = 0; i < r; i += R) {
      const int ri = std::min(R, r - i), columns = lower ? std::min(c, i + ri) : c;
      for (int j = 0; j < columns; j += S) {
        const int sj = std::min(S, c - j);
        if (ri == R && sj == S) {
          V acc[R][S];
          for (int a = 0; a < R; ++a)
            for (int b = 0; b < S; ++b) acc[a][b] = C[(i + a) * c + j + b];
          for (int k = 0; k < d; ++k) {
            const V *x = X + k * ldx + i, *y = Y + k * c + j;
            for (int a = 0; a < R; ++a)
              for (int b = 0; b < S; ++b) acc[a][b] += x[a] * y[b];
          }
          for (int a = 0; a < R; ++a)
            for (int b = 0; b < S; ++b) C[(i + a) * c + j + b] = acc[a][b];
        } else {
          for (int a = 0; a < ri; ++a)
            for (int b = 0; b < sj; ++b) {
              V acc = C[(i + a) * c + j + b];
              for (int k = 0; k < d; ++k) acc += X[k * ldx + i + a] * Y[k * c + j + b];
              C[(i + a) * c + j + b] = acc;
            }
        }
      }
    }
  }
}

// y += X v or X' v for X (r x c).
template <typename V>
inline void add_product(V* y, const V* X, const V* v, int r, int c) {
  for (int i = 0; i < r; ++i) {
    V s = y[i];
    for (int j = 0; j < c; ++j) s += X[i * c + j] * v[j];
    y[i] = s;
  }
}
template <typename V>
inline void add_transposed_product(V* y, const V* X, const V* v, int r, int c) {
  for (int i = 0; i < r; ++i) {
    const V a = v[i];
    for (int j = 0; j < c; ++j) y[j] += X[i * c + j] * a;
  }
}

// y += X v for a symmetric X (r x r), of which the lower triangle is stored by rows.
template <typename V>
inline void add_symmetric_product(V* y, const V* X, const V* v, int r) {
  for (int i = 0; i < r; ++i) {
    V s = y[i];
    for (int j = 0; j < i; ++j, ++X) {
      s += *X * v[j];
      y[j] += *X * v[i];
    }
    y[i] = s + *X++ * v[i];
  }
}

// Solve L z = b, then L' z = b, in place, for the columns of b (m x columns).
template <typename V>
inline void solve_lower(const V* L, V* b, int m, int columns) {
  for (int i = 0; i < m; ++i) {
    for (int k = 0; k < i; ++k) {
      const V a = L[i * m + k];
      for (int j = 0; j < columns; ++j) b[i * columns + j] -= a * b[k * columns + j];
    }
    const V d = L[i * m + i];
    for (int j = 0; j < columns; ++j) b[i * columns + j] *= d;
  }
}
template <typename V>
inline void solve_upper(const V* L, V* b, int m, int columns) {
  for (int i = m - 1; i >= 0; --i) {
    for (int k = i + 1; k < m; ++k) {
      const V a = L[k * m + i];
      for (int j = 0; j < columns; ++j) b[i * columns + j] -= a * b[k * columns + j];
    }
    const V d = L[i * m + i];
    for (int j = 0; j < columns; ++j) b[i * columns + j] *= d;
  }
}

// One step backward in time.  H (N x N) holds Q_t and h (N) holds p_t on entry; V, v are those of t + 1 (unless
// `last`) on entry and of t on return; F is [A B] (n x N), Y (n x N) and g (n) are scratch.
template <typename S, int W, typename V = typename LaneVector<S, W>::type>
inline void riccati_step(const RiccatiSize& z, V* H, V* h, V* value, V* slope, const V* F, const V* c, V* Y, V* g,
                         V* stage, bool last) {
  const int n = z.n, m = z.m, N = z.N();
  if (!last) {
    std::fill_n(Y, n * N, V{});
    // V is symmetric: V F = V' F.
    add_transposed_product<V, W>(Y, value, F, n, n, N, n, false);
    add_transposed_product<V, W>(H, F, Y, n, N, N, N, true);
    std::copy_n(slope, n, g);
    add_product(g, value, c, n, n);
    add_transposed_product(h, F, g, n, N);
  }
  V *K = stage + z.K(), *L = stage + z.L(), *k = stage + z.k();
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j <= i; ++j) {
      V s = H[(n + i) * N + n + j];
      for (int l = 0; l < j; ++l) s -= L[i * m + l] * L[j * m + l];
      L[i * m + j] = j < i ? s * L[j * m + j] : S(1) / square_roots<V, S, W>(s);
    }
    std::copy_n(H + (n + i) * N, n, K + i * n);
    k[i] = h[n + i];
  }
  solve_lower(L, K, m, n);
  solve_lower(L, k, m, 1);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      V s = H[i * N + j];
      for (int l = 0; l < m; ++l) s -= K[l * n + i] * K[l * n + j];
      value[i * n + j] = s;
      value[j * n + i] = s;
    }
    V s = h[i];
    for (int l = 0; l < m; ++l) s -= K[l * n + i] * k[l];
    slope[i] = s;
  }
  solve_upper(L, K, m, n);
  solve_upper(L, k, m, 1);
  for (int i = 0; i < m * n; ++i) K[i] = -K[i];
  for (int i = 0; i < m; ++i) k[i] = -k[i];
  V* packed = stage + z.V();
  for (int i = 0; i < n; ++i) packed = std::copy_n(value + i * n, i + 1, packed);
  std::copy_n(slope, n, stage + z.v());
}

// The same for the problem of the adjoint, which has the same matrices, p = h and c = 0: slope and gain only.
template <typename V>
inline void riccati_adjoint_step(const RiccatiSize& z, V* h, V* slope, const V* F, const V* stage, V* k, bool last) {
  const int n = z.n, m = z.m;
  if (!last) add_transposed_product(h, F, slope, n, z.N());
  std::copy_n(h, n, slope);
  add_transposed_product(slope, stage + z.K(), h + n, m, n);
  for (int i = 0; i < m; ++i) k[i] = h[n + i];
  solve_lower(stage + z.L(), k, m, 1);
  solve_upper(stage + z.L(), k, m, 1);
  for (int i = 0; i < m; ++i) k[i] = -k[i];
}

}  // namespace pypose
