// Rows to packs and back: pack j holds number j of each of Pack<T>::width rows.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <utility>

#include "lie/simd.h"

namespace pypose {

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#define PP_SHUFFLES 1
#else
#define PP_SHUFFLES 0
#endif

// Rows of more numbers than this are not shuffled but moved one by one.
constexpr int most_shuffled = PP_SHUFFLES ? 16 : 1;

#if PP_SHUFFLES
// S packs that hold W rows of S numbers as they lie in memory become S packs of one number of each row, and back, by
// steps in each of which a pack is made of at most two.  With g = gcd(S, W) there are g groups of S/g packs, each of
// whole rows, and units of g lanes.  First, within a group, blends bring the units of a column c into pack c: unit u of
// pack k belongs to column (k W/g + u) mod S/g, so a pack's lanes are taken from others as far away as u says, one bit
// of u in each step.  Blends are half the price of shuffles.  Then shuffles merge the packs of neighbouring groups.
template <int S, int W>
struct Transposition {
  static constexpr int g = std::gcd(S, W), s = S / g, units = W / g;
  static constexpr int bits(int below) { return below <= 1 ? 0 : 1 + bits((below + 1) / 2); }
  static constexpr int blends = bits(units < s ? units : s), merges = g == 1 ? 1 : bits(g), steps = blends + merges;

  // Which number of the W rows, row * S + column, lies in a lane of a pack after so many steps.
  static constexpr int number(int step, int pack, int lane) {
    if (step == 0) return pack * W + lane;
    if (step <= blends) {
      const int group = pack / s, c = pack % s, moved = (lane / g) % s % (1 << step);
      int k = 0;
      while ((k * units + moved - c) % s) ++k;
      return (group * s + k) * W + lane;
    }
    const int merged = g == 1 ? 0 : step - blends, rows = units << merged, columns = g >> merged;
    const int c = pack / g, block = pack % g >> merged, part = pack % g % (1 << merged);
    return (block * rows + lane % rows) * S + c * g + part * columns + lane / rows;
  }

  struct Step {
    int from[S][2], lane[S][W];   // lanes in GCC's numbering: below W of the first pack, from there on of the second
  };
  // From the arrangement before to the one after.
  static constexpr Step step(int before, int after) {
    int pack_of[S * W] = {}, lane_of[S * W] = {};
    for (int i = 0; i < S; ++i)
      for (int l = 0; l < W; ++l) pack_of[number(before, i, l)] = i, lane_of[number(before, i, l)] = l;
    Step made{};
    for (int i = 0; i < S; ++i) {
      const int first = pack_of[number(after, i, 0)];
      made.from[i][0] = made.from[i][1] = first;
      for (int l = 0; l < W; ++l) {
        const int id = number(after, i, l);
        if (pack_of[id] != first) made.from[i][1] = pack_of[id];
        made.lane[i][l] = lane_of[id] + (pack_of[id] == first ? 0 : W);
      }
    }
    return made;
  }
};

template <int S, int before, int after, int i, typename T, size_t... l>
PP_HD Pack<T> shuffled(const Pack<T>* in, std::index_sequence<l...>) {
  using Integer = typename Pack<T>::Integer;
  static constexpr auto step = Transposition<S, Pack<T>::width>::step(before, after);
  constexpr typename Pack<T>::Mask lanes = {Integer(step.lane[i][l])...};
  return __builtin_shuffle(in[step.from[i][0]].v, in[step.from[i][1]].v, lanes);
}

template <int S, int before, int target, typename T, size_t... i>
PP_HD void transpose(const Pack<T>* in, Pack<T>* out, std::index_sequence<i...> packs) {
  constexpr int after = before < target ? before + 1 : before - 1;
  constexpr auto lanes = std::make_index_sequence<Pack<T>::width>();
  if constexpr (after == target) {
    ((out[i] = shuffled<S, before, after, i>(in, lanes)), ...);
  } else {
    Pack<T> next[S];
    ((next[i] = shuffled<S, before, after, i>(in, lanes)), ...);
    transpose<S, after, target>(next, out, packs);
  }
}
#endif

// Reads S numbers of each of as many dense rows as a pack has.
template <int S, typename T>
PP_HD void load_dense(const T* rows, Pack<T>* out) {
  constexpr int W = Pack<T>::width;
#if PP_SHUFFLES
  if constexpr (S <= most_shuffled) {
    Pack<T> in[S];
    for (int j = 0; j < S; ++j) std::memcpy(&in[j].v, rows + j * W, sizeof in[j].v);
    transpose<S, 0, Transposition<S, W>::steps>(in, out, std::make_index_sequence<S>());
    return;
  }
#endif
  for (int j = 0; j < S; ++j) {
    T numbers[W];
    for (int l = 0; l < W; ++l) numbers[l] = rows[l * S + j];
    std::memcpy(&out[j].v, numbers, sizeof numbers);
  }
}

// Writes as many.
template <int S, typename T>
PP_HD void store_dense(const Pack<T>* in, T* rows) {
  constexpr int W = Pack<T>::width;
#if PP_SHUFFLES
  if constexpr (S <= most_shuffled) {
    Pack<T> out[S];
    transpose<S, Transposition<S, W>::steps, 0>(in, out, std::make_index_sequence<S>());
    for (int j = 0; j < S; ++j) std::memcpy(rows + j * W, &out[j].v, sizeof out[j].v);
    return;
  }
#endif
  T numbers[S][W];
  for (int j = 0; j < S; ++j) std::memcpy(numbers[j], &in[j].v, sizeof numbers[j]);
  for (int l = 0; l < W; ++l)
    for (int j = 0; j < S; ++j) rows[l * S + j] = numbers[j][l];
}

// Reads S numbers of each of `count` rows, which lie `step` numbers apart (0: one row for all); where a pack has room
// for more rows, the last is repeated.
template <int S, typename T>
PP_CALLED void load(const T* rows, int64_t step, int64_t count, Pack<T>* out) {
  constexpr int W = Pack<T>::width;
  if (step == 0 || count == 1) {
    for (int j = 0; j < S; ++j) out[j] = Pack<T>(rows[j]);
    return;
  }
  if (step == S && count >= W) return load_dense<S>(rows, out);
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
  if (count >= W) return store_dense<S>(in, rows);
  T numbers[S][W];
  for (int j = 0; j < S; ++j) std::memcpy(numbers[j], &in[j].v, sizeof numbers[j]);
  for (int l = 0; l < count; ++l)
    for (int j = 0; j < S; ++j) rows[l * S + j] = numbers[j][l];
}

}  // namespace pypose
