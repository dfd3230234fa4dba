// Normal equations of batches of factors: cost sum rho(r^T Omega r), gradient sum w J^T Omega r (half of the
// cost's), Hessian sum w J^T Omega J, added to the blocks of a block-sparse matrix.
#pragma once

#include <algorithm>
#include <cstdint>

#include "graph/robust.h"
#include "graph/se2_factor.h"
#include "graph/se3_factor.h"

namespace pypose {

// Where the blocks go. column[v] is the scalar row of variable v, or -1 for one that is held. A slot is
// 2 * (offset of the block in H) + (whether it is stored transposed there), or -1 for none.
template <typename S>
struct Target {
  const int64_t* column;
  const int64_t* slots;
  S* H;           // nullptr: only the cost is wanted
  S* g;
};

template <typename S>
struct Cost {
  S robust = 0, chi2 = 0;
};

template <typename S>
struct Weighting {
  const S* information;    // per factor, row-major
  const S* weight;         // per factor; nullptr: 1
  Kernel kernel;
  double width;
};

// C = A^T B of D x D matrices.
template <int D, typename S>
inline void transposed_product(const S* A, const S* B, S* C) {
  for (int i = 0; i < D; ++i) {
    S row[D] = {};
    for (int k = 0; k < D; ++k)
      for (int j = 0; j < D; ++j) row[j] += A[D * k + i] * B[D * k + j];
    for (int j = 0; j < D; ++j) C[D * i + j] = row[j];
  }
}

template <int D, typename S>
inline void add_block(const S* block, S weight, int64_t slot, S* H) {
  if (slot < 0) return;
  S* at = H + (slot >> 1);
  if (slot & 1) {
    for (int i = 0; i < D; ++i)
      for (int j = 0; j < D; ++j) at[D * i + j] += weight * block[D * j + i];
  } else {
    for (int i = 0; i < D * D; ++i) at[i] += weight * block[i];
  }
}

// One factor, given its residual and the Jacobians of its V variables, first variable first.
template <int D, int V, typename S>
inline void accumulate(const S* r, const S (*J)[D * D], const S* information, S weight,
                       const int64_t* column, const int64_t* slots, S* H, S* g) {
  S WJ[V][D * D], Wr[D], block[D * D];
  for (int i = 0; i < D; ++i) {
    Wr[i] = 0;
    for (int k = 0; k < D; ++k) Wr[i] += information[D * i + k] * r[k];
  }
  for (int v = 0; v < V; ++v) {
    transposed_product<D>(information, J[v], WJ[v]);
    if (column[v] < 0) continue;
    for (int k = 0; k < D; ++k)
      for (int j = 0; j < D; ++j) g[column[v] + j] += weight * J[v][D * k + j] * Wr[k];
  }
  int slot = 0;
  for (int a = 0; a < V; ++a)
    for (int b = 0; b <= a; ++b, ++slot) {
      if (slots[slot] < 0) continue;
      transposed_product<D>(J[a], WJ[b], block);
      add_block<D>(block, weight, slots[slot], H);
    }
}

template <int D, typename S>
inline S quadratic(const S* r, const S* information) {
  S s = 0;
  for (int i = 0; i < D; ++i) {
    S row = 0;
    for (int j = 0; j < D; ++j) row += information[D * i + j] * r[j];
    s += r[i] * row;
  }
  return s;
}

// Factors with residual Log(Z^-1 Xi^-1 Xj) (V = 2) or Log(Z^-1 X) (V = 1); `squared` (M) takes r^T Omega r.
template <typename Group, int V, typename S>
Cost<S> linearize(int64_t count, const S* X, const int64_t* index, const S* Z, const Weighting<S>& weighting,
                  const Target<S>& target, S* squared) {
  constexpr int D = Group::kDof, N = Group::kStorage, kSlots = V * (V + 1) / 2;
  Cost<S> cost;
  for (int64_t f = 0; f < count; ++f, index += V, Z += N) {
    S T[N], E[N], r[D], J[V][D * D];
    if constexpr (V == 2) Group::between(X + N * index[0], X + N * index[1], T);
    else std::copy_n(X + N * index[0], N, T);
    Group::between(Z, T, E);
    Group::log(E, r);
    const S* information = weighting.information + int64_t(D * D) * f;
    const S s = quadratic<D>(r, information), weight = weighting.weight ? weighting.weight[f] : S(1);
    const Robust<S> k = robust(weighting.kernel, weighting.width, weight * s);
    cost.robust += k.cost;
    cost.chi2 += s;
    if (squared) squared[f] = s;
    if (!target.H) continue;
    Group::right_jacobian(E, r, J[V - 1]);
    int64_t column[V];
    for (int v = 0; v < V; ++v) column[v] = target.column[index[v]];
    if constexpr (V == 2) Group::first_jacobian(T, J[1], J[0]);
    accumulate<D, V>(r, J, information, weight * k.weight, column, target.slots + kSlots * f, target.H, target.g);
  }
  return cost;
}

}  // namespace pypose
