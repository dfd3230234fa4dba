// Numbers of W problems side by side in one vector, and the way between them and problems that lie apart in memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace pypose {

template <typename S, int W>
struct LaneVector {
  typedef S type __attribute__((vector_size(W * sizeof(S))));
};
template <typename S>
struct LaneVector<S, 1> {
  using type = S;
};

// A single number of a vector, read or written through a pointer.
template <typename S>
struct Lane {
  typedef S type __attribute__((may_alias));
};

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define PYPOSE_SHUFFLE 1
#endif
#endif

#ifdef PYPOSE_SHUFFLE
template <int W, bool high, typename V, int... I>
inline V interleave(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I % 2 * W + I / 2 + (high ? W / 2 : 0))...);
}
#endif

// The W x W matrix in W vectors, transposed in place.
template <typename S, int W, typename V = typename LaneVector<S, W>::type>
inline void transpose(V* x) {
#ifdef PYPOSE_SHUFFLE
  // log2(W) perfect shuffles of the rows bring each number to its place.
  using Indices = std::make_integer_sequence<int, W>;
  for (int round = 1; round < W; round *= 2) {
    V y[W];
#pragma GCC unroll 16
    for (int i = 0; i < W / 2; ++i) {
      y[2 * i] = interleave<W, false>(x[i], x[i + W / 2], Indices());
      y[2 * i + 1] = interleave<W, true>(x[i], x[i + W / 2], Indices());
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) x[i] = y[i];
  }
#else
  for (int i = 0; i < W; ++i)
    for (int j = 0; j < i; ++j) {
      const S a = x[i][j];
      x[i][j] = x[j][i];
      x[j][i] = a;
    }
#endif
}

// `count` consecutive numbers of each of W problems, from the places `from`, into `count` vectors.
template <typename S, int W, typename V = typename LaneVector<S, W>::type>
inline void gather_rows(const S* const* from, int count, V* out) {
  if constexpr (W == 1) {
    std::memcpy(out, from[0], count * sizeof(S));
  } else {
    int j = 0;
    for (; j + W <= count; j += W) {
      for (int l = 0; l < W; ++l) std::memcpy(out + j + l, from[l] + j, sizeof(V));
      transpose<S, W>(out + j);
    }
    if (j < count) {
      V block[W] = {};
      for (int l = 0; l < W; ++l) std::memcpy(block + l, from[l] + j, (count - j) * sizeof(S));
      transpose<S, W>(block);
      for (int i = 0; j < count; ++i, ++j) out[j] = block[i];
    }
  }
}

// The way back, for the first `valid` problems.
template <typename S, int W, typename V = typename LaneVector<S, W>::type>
inline void scatter_rows(const V* in, int count, S* const* to, int valid) {
  if constexpr (W == 1) {
    std::memcpy(to[0], in, count * sizeof(S));
  } else {
    for (int j = 0; j < count; j += W) {
      const int some = count - j < W ? count - j : W;
      V block[W] = {};
      for (int i = 0; i < some; ++i) block[i] = in[j + i];
      transpose<S, W>(block);
      if (some == W)
        for (int l = 0; l < valid; ++l) std::memcpy(to[l] + j, block + l, sizeof(V));
      else
        for (int l = 0; l < valid; ++l) std::memcpy(to[l] + j, block + l, some * sizeof(S));
    }
  }
}

}  // namespace pypose
