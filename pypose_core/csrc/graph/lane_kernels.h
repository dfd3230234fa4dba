// Dense kernels of the solver of many small graphs: D x D blocks, row-major, of which each entry is several numbers.
#pragma once

#include <vector>

#include "graph/robust.h"
#include "lie/lanes.h"

namespace pypose {

inline Robust<Lanes> robust(Kernel kernel, double width, const Lanes& s) {
  if (kernel == Kernel::kNone) return {s, Lanes(1)};
  Robust<Lanes> out;
  for (int k = 0; k < Lanes::kCount; ++k) {
    const Robust<double> one = robust(kernel, width, s[k]);
    out.cost.set(k, one.cost), out.weight.set(k, one.weight);
  }
  return out;
}

namespace lanes {

// A pivot that cancellation has eaten is as good as zero.
constexpr double kSmallestPivot = 1e-14;

// Cholesky factor of the lower triangle of A, in place; inverse[j] = 1 / A(j, j). In the result, whether all pivots
// of a lane are positive; they are judged against the diagonal of H.
template <int D>
Lanes::Mask factorize(Lanes* A, const Lanes* H, Lanes* inverse) {
  Lanes::Mask good = ~Lanes::Mask{};
  for (int j = 0; j < D; ++j) {
    Lanes pivot = A[j * D + j];
    for (int k = 0; k < j; ++k) pivot -= A[j * D + k] * A[j * D + k];
    good &= pivot.v > (Lanes(kSmallestPivot) * H[j * D + j]).v;
    A[j * D + j] = sqrt(pivot);
    inverse[j] = Lanes(1) / A[j * D + j];
    for (int i = j + 1; i < D; ++i) {
      Lanes sum = A[i * D + j];
      for (int k = 0; k < j; ++k) sum -= A[i * D + k] * A[j * D + k];
      A[i * D + j] = sum * inverse[j];
    }
  }
  return good;
}

// X <- X L^-T
template <int D>
void solve_right(const Lanes* L, const Lanes* inverse, Lanes* X) {
  for (int i = 0; i < D; ++i)
    for (int j = 0; j < D; ++j) {
      Lanes sum = X[i * D + j];
      for (int k = 0; k < j; ++k) sum -= X[i * D + k] * L[j * D + k];
      X[i * D + j] = sum * inverse[j];
    }
}

// C -= A B^T, three columns at a time: that many sums fit the registers.
template <int D>
void subtract_product(const Lanes* A, const Lanes* B, Lanes* C) {
  for (int c = 0; c < D; c += 3) {
    Lanes sum[D][3];
    for (int i = 0; i < D; ++i)
      for (int j = 0; j < 3; ++j) sum[i][j] = C[i * D + c + j];
    for (int k = 0; k < D; ++k)
      for (int i = 0; i < D; ++i)
        for (int j = 0; j < 3; ++j) sum[i][j] -= A[i * D + k] * B[(c + j) * D + k];
    for (int i = 0; i < D; ++i)
      for (int j = 0; j < 3; ++j) C[i * D + c + j] = sum[i][j];
  }
}

// In the lanes of the mask, to = from.
inline void take(const Lanes::Mask& mask, const std::vector<Lanes>& from, std::vector<Lanes>& to) {
  for (size_t k = 0; k < to.size(); ++k) to[k].v = mask ? from[k].v : to[k].v;
}

}  // namespace lanes
}  // namespace pypose
