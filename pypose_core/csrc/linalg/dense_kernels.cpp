#include "linalg/dense_kernels.h"

#include <algorithm>
#include <cmath>

namespace pypose::dense {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 8;
#elif defined(__AVX__)
constexpr int kLanes = 4;
#else
constexpr int kLanes = 2;
#endif
typedef double Vector __attribute__((vector_size(kLanes * sizeof(double)), aligned(sizeof(double)), may_alias));

constexpr int kColumns = 6;      // of a tile: six accumulators by two vectors fit the registers of every target
constexpr int kDepth = 192;      // columns of A and B at a time, so that a tile's part of both stays in L1
constexpr int kHeight = 320;     // rows of A at a time, so that they stay in L2

inline Vector load(const double* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(double* p, const Vector& v) { *reinterpret_cast<Vector*>(p) = v; }

// A tile of V vectors by N columns; only the first `rows` of its rows are stored.
template <int V, int N, bool Overwrite>
inline void tile(int rows, int k, const double* A, int lda, const double* B, int ldb, double* C, int ldc) {
  Vector sum[N][V] = {};
  for (int p = 0; p < k; ++p) {
    Vector a[V];
    for (int v = 0; v < V; ++v) a[v] = load(A + v * kLanes);
    for (int j = 0; j < N; ++j)
      for (int v = 0; v < V; ++v) sum[j][v] += a[v] * B[j];
    A += lda;
    B += ldb;
  }
  for (int j = 0; j < N; ++j) {
    double* c = C + size_t(j) * ldc;
    for (int v = 0; v < V; ++v, c += kLanes) {
      const int left = rows - v * kLanes;
      if (left >= kLanes) {
        store(c, Overwrite ? -sum[j][v] : load(c) - sum[j][v]);
      } else {
        for (int i = 0; i < left; ++i) c[i] = Overwrite ? -sum[j][v][i] : c[i] - sum[j][v][i];
      }
    }
  }
}

template <int N, bool Overwrite>
inline void tiles_down(int m, int k, const double* A, int lda, const double* B, int ldb, double* C, int ldc) {
  int i = 0;
  for (; i + kLanes < m; i += 2 * kLanes) tile<2, N, Overwrite>(m - i, k, A + i, lda, B, ldb, C + i, ldc);
  if (i < m) tile<1, N, Overwrite>(m - i, k, A + i, lda, B, ldb, C + i, ldc);
}

template <bool Overwrite>
void tiles_down(int n, int m, int k, const double* A, int lda, const double* B, int ldb, double* C, int ldc) {
  switch (n) {
    case 1: return tiles_down<1, Overwrite>(m, k, A, lda, B, ldb, C, ldc);
    case 2: return tiles_down<2, Overwrite>(m, k, A, lda, B, ldb, C, ldc);
    case 3: return tiles_down<3, Overwrite>(m, k, A, lda, B, ldb, C, ldc);
    case 4: return tiles_down<4, Overwrite>(m, k, A, lda, B, ldb, C, ldc);
    case 5: return tiles_down<5, Overwrite>(m, k, A, lda, B, ldb, C, ldc);
    default: return tiles_down<6, Overwrite>(m, k, A, lda, B, ldb, C, ldc);
  }
}

// As subtract_product; with `lower`, only what lies on and below the diagonal of C.
void product(int m, int n, int k, const double* A, int lda, const double* B, int ldb, double* C, int ldc,
             bool overwrite, bool lower) {
  for (int p = 0; p < k || p == 0; p += kDepth) {
    const int depth = std::min(kDepth, k - p);
    for (int top = 0; top < m; top += kHeight) {
      const int bottom = std::min(m, top + kHeight);
      for (int j = 0; j < (lower ? std::min(n, bottom) : n); j += kColumns) {
        const int i = lower ? std::max(top, j) : top, width = std::min(kColumns, n - j);
        const double* a = A + i + size_t(p) * lda;
        const double* b = B + j + size_t(p) * ldb;
        double* c = C + i + size_t(j) * ldc;
        if (overwrite && p == 0) tiles_down<true>(width, bottom - i, depth, a, lda, b, ldb, c, ldc);
        else tiles_down<false>(width, bottom - i, depth, a, lda, b, ldb, c, ldc);
      }
    }
  }
}

// Cholesky factor of the n x n block at D, n <= kColumns; inverse[j] = 1 / D(j, j). Returns the failing column, or -1.
int factorize_block(int n, double* D, int ld, const double* floor, double* inverse) {
  for (int j = 0; j < n; ++j) {
    double* column = D + size_t(j) * ld;
    for (int k = 0; k < j; ++k) {
      const double* left = D + size_t(k) * ld;
      for (int i = j; i < n; ++i) column[i] -= left[i] * left[j];
    }
    if (!(column[j] > floor[j])) return j;
    column[j] = std::sqrt(column[j]);
    inverse[j] = 1 / column[j];
    for (int i = j + 1; i < n; ++i) column[i] *= inverse[j];
  }
  return -1;
}

// X (m x N) <- X L^-T with the lower triangle L (N x N), inverse[j] = 1 / L(j, j).
template <int N>
void solve_right(int m, const double* L, int ldl, const double* inverse, double* X, int ldx) {
  int i = 0;
  for (; i + kLanes <= m; i += kLanes) {
    Vector x[N];
    for (int j = 0; j < N; ++j) {
      x[j] = load(X + i + size_t(j) * ldx);
      for (int k = 0; k < j; ++k) x[j] -= x[k] * L[j + size_t(k) * ldl];
      x[j] *= inverse[j];
      store(X + i + size_t(j) * ldx, x[j]);
    }
  }
  for (; i < m; ++i) {
    double x[N];
    for (int j = 0; j < N; ++j) {
      x[j] = X[i + size_t(j) * ldx];
      for (int k = 0; k < j; ++k) x[j] -= x[k] * L[j + size_t(k) * ldl];
      x[j] *= inverse[j];
      X[i + size_t(j) * ldx] = x[j];
    }
  }
}

void solve_right(int n, int m, const double* L, int ldl, const double* inverse, double* X, int ldx) {
  switch (n) {
    case 1: return solve_right<1>(m, L, ldl, inverse, X, ldx);
    case 2: return solve_right<2>(m, L, ldl, inverse, X, ldx);
    case 3: return solve_right<3>(m, L, ldl, inverse, X, ldx);
    case 4: return solve_right<4>(m, L, ldl, inverse, X, ldx);
    case 5: return solve_right<5>(m, L, ldl, inverse, X, ldx);
    default: return solve_right<6>(m, L, ldl, inverse, X, ldx);
  }
}

}  // namespace

void subtract_product(int m, int n, int k, const double* A, int lda, const double* B, int ldb, double* C, int ldc,
                      bool overwrite) {
  product(m, n, k, A, lda, B, ldb, C, ldc, overwrite, false);
}

void subtract_square(int n, int k, const double* A, int lda, double* C, int ldc, bool overwrite) {
  product(n, n, k, A, lda, A, lda, C, ldc, overwrite, true);
}

int factorize_panel(int rows, int columns, double* F, int ld, const double* floor) {
  // Left-looking by blocks of kColumns within strips of kStrip columns, right-looking from strip to strip, so
  // that most of the work is products of some depth.
  constexpr int kStrip = 8 * kColumns;
  for (int s = 0; s < columns; s += kStrip) {
    const int end = std::min(columns, s + kStrip);
    for (int j = s; j < end; j += kColumns) {
      const int n = std::min(kColumns, end - j);
      double* D = F + j + size_t(j) * ld;
      if (j > s)
        product(rows - j, n, j - s, F + j + size_t(s) * ld, ld, F + j + size_t(s) * ld, ld, D, ld, false, false);
      double inverse[kColumns];
      const int failed = factorize_block(n, D, ld, floor + j, inverse);
      if (failed >= 0) return j + failed;
      solve_right(n, rows - j - n, D, ld, inverse, D + n, ld);
    }
    if (end < columns) {
      const double* left = F + end + size_t(s) * ld;
      product(rows - end, columns - end, end - s, left, ld, left, ld, F + end + size_t(end) * ld, ld, false, true);
    }
  }
  return -1;
}

}  // namespace pypose::dense
