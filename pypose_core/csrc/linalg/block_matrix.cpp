#include "linalg/block_matrix.h"

#include <algorithm>
#include <cmath>

namespace pypose {
namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// The inverses of the diagonal blocks, block i at begin[i].
struct BlockJacobi {
  std::vector<double> inverse;
  std::vector<int64_t> begin;
  int failed = -1;

  BlockJacobi(const BlockPattern& pattern, const double* values) : begin(1, 0) {
    for (int i = 0; i < pattern.blocks(); ++i) begin.push_back(begin.back() + pattern.size[i] * pattern.size[i]);
    inverse.resize(begin.back());
    for (int i = 0; i < pattern.blocks() && failed < 0; ++i)
      if (!invert(pattern.size[i], values + pattern.value_begin[pattern.column_begin[i]], inverse.data() + begin[i]))
        failed = i;
  }

  // B = A^-1 by Cholesky, from the lower triangle of A.
  static bool invert(int n, const double* A, double* B) {
    std::vector<double> L(n * n, 0.0);
    for (int i = 0; i < n; ++i)
      for (int j = 0; j <= i; ++j) {
        double sum = A[i * n + j];
        for (int k = 0; k < j; ++k) sum -= L[i * n + k] * L[j * n + k];
        if (i == j && !(sum > 0)) return false;
        L[i * n + j] = i == j ? std::sqrt(sum) : sum / L[j * n + j];
      }
    for (int c = 0; c < n; ++c) {
      for (int i = 0; i < n; ++i) {
        double sum = i == c;
        for (int k = 0; k < i; ++k) sum -= L[i * n + k] * B[k * n + c];
        B[i * n + c] = sum / L[i * n + i];
      }
      for (int i = n - 1; i >= 0; --i) {
        double sum = B[i * n + c];
        for (int k = i + 1; k < n; ++k) sum -= L[k * n + i] * B[k * n + c];
        B[i * n + c] = sum / L[i * n + i];
      }
    }
    return true;
  }

  void apply(const BlockPattern& pattern, const std::vector<double>& r, std::vector<double>& z) const {
    for (int i = 0; i < pattern.blocks(); ++i) {
      const int n = pattern.size[i];
      const double *B = inverse.data() + begin[i], *ri = r.data() + pattern.start[i];
      double* zi = z.data() + pattern.start[i];
      for (int a = 0; a < n; ++a) {
        double sum = 0;
        for (int c = 0; c < n; ++c) sum += B[a * n + c] * ri[c];
        zi[a] = sum;
      }
    }
  }
};

}  // namespace

void multiply(const BlockPattern& pattern, const double* values, const double* x, double* y) {
  std::fill_n(y, pattern.dimension(), 0.0);
  for (int j = 0; j < pattern.blocks(); ++j) {
    const int width = pattern.size[j];
    const double* xj = x + pattern.start[j];
    double* yj = y + pattern.start[j];
    for (int64_t k = pattern.column_begin[j]; k < pattern.column_begin[j + 1]; ++k) {
      const int i = pattern.row[k], height = pattern.size[i];
      const double *block = values + pattern.value_begin[k], *xi = x + pattern.start[i];
      double* yi = y + pattern.start[i];
      for (int a = 0; a < height; ++a) {
        // Of a diagonal block only the lower triangle counts.
        const int last = i == j ? a : width;
        double sum = 0;
        for (int c = 0; c < last; ++c) {
          sum += block[a * width + c] * xj[c];
          yj[c] += block[a * width + c] * xi[a];
        }
        if (i == j) sum += block[a * width + a] * xj[a];
        yi[a] += sum;
      }
    }
  }
}

ConjugateGradients conjugate_gradients(const BlockPattern& pattern, const double* values, const double* b, double* x,
                                       double tolerance, int max_iterations) {
  ConjugateGradients result;
  const BlockJacobi preconditioner(pattern, values);
  result.failed_block = preconditioner.failed;
  const size_t n = size_t(pattern.dimension());
  std::vector<double> r(b, b + n), z(n), d(n), Ad(n);
  const double size = std::sqrt(dot(r, r));
  if (size == 0) {
    std::fill_n(x, n, 0.0);
    return result;
  }
  multiply(pattern, values, x, Ad.data());
  for (size_t i = 0; i < n; ++i) r[i] -= Ad[i];
  result.residual = std::sqrt(dot(r, r)) / size;
  if (result.failed_block >= 0) return result;
  preconditioner.apply(pattern, r, z);
  d = z;
  double rz = dot(r, z);
  while (result.residual > tolerance && result.iterations < max_iterations) {
    multiply(pattern, values, d.data(), Ad.data());
    const double curvature = dot(d, Ad);
    if (!(curvature > 0)) {
      result.indefinite = true;
      break;
    }
    const double step = rz / curvature;
    for (size_t i = 0; i < n; ++i) x[i] += step * d[i], r[i] -= step * Ad[i];
    ++result.iterations;
    result.residual = std::sqrt(dot(r, r)) / size;
    preconditioner.apply(pattern, r, z);
    const double next = dot(r, z), ratio = next / rz;
    rz = next;
    for (size_t i = 0; i < n; ++i) d[i] = z[i] + ratio * d[i];
  }
  return result;
}

}  // namespace pypose
