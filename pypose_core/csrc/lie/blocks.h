// Rows to packs and back: pack j holds number j of each of Pack<T>::width rows.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "lie/simd.h"

namespace pypose {

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#define PP_SHUFFLES 1
#else
#define PP_SHUFFLES 0
#endif

// Rows of more numbers than this are not shuffled but moved one by one: shuffles grow with the square.
constexpr int most_shuffled = PP_SHUFFLES ? 12 : 1;

#if PP_SHUFFLES
// Lane l of the result of step k, in GCC's numbering: below width of the first operand, from there on of the second.
template <int S, int j, int W>
constexpr int gather_lane(int k, int l) {
  const int at = l * S + j;
  if (k == 1) return at < 2 * W ? at : 0;
  return at / W == k ? W + at % W : l;
}
template <int S, int block, int W>
constexpr int scatter_lane(int k, int l) {
  const int at = block * W + l, row = at / S, j = at % S;
  if (k == 1) return j == 0 ? row : j == 1 ? W + row : 0;
  return j == k ? W + row : l;
}

template <typename T, class Lane, size_t... l>
PP_HD Pack<T> shuffled(const Pack<T>& a, const Pack<T>& b, const Lane&, std::index_sequence<l...>) {
  using Integer = typename Pack<T>::Integer;
  constexpr typename Pack<T>::Mask lanes = {Integer(Lane::at(l))...};
  return __builtin_shuffle(a.v, b.v, lanes);
}

template <int S, int which, int W, bool gathers, int k>
struct Lane {
  static constexpr int at(int l) {
    return gathers ? gather_lane<S, which, W>(k, l) : scatter_lane<S, which, W>(k, l);
  }
};

// From S packs the one that holds number `which` of each row (gathers), or the which-th width numbers in a row.
template <int S, int which, bool gathers, int k, typename T>
PP_HD Pack<T> combined(const Pack<T>& so_far, const Pack<T>* in) {
  if constexpr (k == S) {
    return so_far;
  } else {
    constexpr int W = Pack<T>::width;
    const Pack<T> next = shuffled(so_far, in[k], Lane<S, which, W, gathers, k>(), std::make_index_sequence<W>());
    return combined<S, which, gathers, k + 1>(next, in);
  }
}
template <int S, bool gathers, typename T, size_t... which>
PP_HD void transpose(const Pack<T>* in, Pack<T>* out, std::index_sequence<which...>) {
  ((out[which] = combined<S, which, gathers, 1>(in[0], in)), ...);
}
#endif

// Reads S numbers of each of `count` rows, which lie `step` numbers apart (0: one row for all); where a pack has room
// for more rows, the last is repeated.
template <int S, typename T>
PP_CALLED void load(const T* rows, int64_t step, int64_t count, Pack<T>* out) {
  constexpr int W = Pack<T>::width;
  if (step == 0 || count == 1) {
    for (int j = 0; j < S; ++j) out[j] = Pack<T>(rows[j]);
    return;
  }
#if PP_SHUFFLES
  if constexpr (S <= most_shuffled) {
    if (step == S && count >= W) {
      Pack<T> in[S];
      for (int j = 0; j < S; ++j) std::memcpy(&in[j].v, rows + j * W, sizeof in[j].v);
      transpose<S, true>(in, out, std::make_index_sequence<S>());
      return;
    }
  }
#endif
  for (int j = 0; j < S; ++j) {
    T numbers[W];
    for (int l = 0; l < W; ++l) numbers[l] = rows[(l < count ? l : count - 1) * step + j];
    std::memcpy(&out[j].v, numbers, sizeof numbers);
  }
}

// Writes `count` dense rows of S numbers.
template <int S, typename T>
PP_CALLED void store(const Pack<T>* in, int64_t count, T* rows) {
  constexpr int W = Pack<T>::width;
#if PP_SHUFFLES
  if constexpr (S <= most_shuffled) {
    if (count >= W) {
      Pack<T> out[S];
      transpose<S, false>(in, out, std::make_index_sequence<S>());
      for (int j = 0; j < S; ++j) std::memcpy(rows + j * W, &out[j].v, sizeof out[j].v);
      return;
    }
  }
#endif
  T numbers[S][W];
  for (int j = 0; j < S; ++j) std::memcpy(numbers[j], &in[j].v, sizeof numbers[j]);
  const int present = count < W ? static_cast<int>(count) : W;
  for (int l = 0; l < present; ++l)
    for (int j = 0; j < S; ++j) rows[l * S + j] = numbers[j][l];
}

}  // namespace pypose
