// Pack: as many numbers as fit into 64 bytes, one for each row, with the arithmetic of one number; the row functions
// run on packs as they do on numbers.  GCC's and Clang's vectors: whatever the processor has of SIMD is used.
#pragma once

#if defined(__AVX512DQ__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "lie/host_device.h"
#include "lie/polynomial.h"
#include "lie/select.h"

namespace pypose {

template <typename T>
struct Pack {
  static constexpr int width = 64 / sizeof(T);
  using Integer = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef T Vector __attribute__((vector_size(64)));
  typedef Integer Mask __attribute__((vector_size(64)));

  Vector v;
  Pack() = default;
  PP_HD Pack(Vector vector) : v(vector) {}
  template <typename S, typename = std::enable_if_t<std::is_arithmetic_v<S>>>
  PP_HD Pack(S s) : v(Vector{} + T(s)) {}
  PP_HD Pack& operator+=(const Pack& b) { return v += b.v, *this; }
};

template <typename T>
struct ScalarOf<Pack<T>> {
  using type = T;
};

// A condition for each row; all bits set where it holds.
template <typename T>
struct Condition {
  typename Pack<T>::Mask m;
};

template <typename T> PP_HD Pack<T> operator+(const Pack<T>& a, const Pack<T>& b) { return a.v + b.v; }
template <typename T> PP_HD Pack<T> operator-(const Pack<T>& a, const Pack<T>& b) { return a.v - b.v; }
template <typename T> PP_HD Pack<T> operator*(const Pack<T>& a, const Pack<T>& b) { return a.v * b.v; }
template <typename T> PP_HD Pack<T> operator/(const Pack<T>& a, const Pack<T>& b) { return a.v / b.v; }
template <typename T> PP_HD Pack<T> operator-(const Pack<T>& a) { return -a.v; }

template <typename T> PP_HD Condition<T> operator<(const Pack<T>& a, const Pack<T>& b) { return {a.v < b.v}; }
template <typename T> PP_HD Condition<T> operator<=(const Pack<T>& a, const Pack<T>& b) { return {a.v <= b.v}; }
template <typename T> PP_HD Condition<T> operator<(const Pack<T>& a, double b) { return a < Pack<T>(b); }
template <typename T> PP_HD Condition<T> operator>(const Pack<T>& a, double b) { return Pack<T>(b) < a; }
template <typename T> PP_HD Condition<T> operator&&(const Condition<T>& a, const Condition<T>& b) { return {a.m & b.m}; }

template <typename T>
PP_HD bool any(const Condition<T>& c) {
#if defined(__AVX512DQ__) && !defined(__CUDACC__)
  const __m512i bits = reinterpret_cast<__m512i>(c.m);
  if constexpr (sizeof(T) == 8) return _mm512_movepi64_mask(bits) != 0;
  if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask(bits) != 0;
#endif
  typename Pack<T>::Integer seen = 0;
  for (int i = 0; i < Pack<T>::width; ++i) seen |= c.m[i];
  return seen != 0;
}
template <typename T>
PP_HD bool all(const Condition<T>& c) {
  return !any(Condition<T>{~c.m});
}
template <typename T>
PP_HD Pack<T> select(const Condition<T>& c, const Pack<T>& a, const Pack<T>& b) {
  return c.m ? a.v : b.v;
}
template <typename T>
PP_HD Pack<T> primal(const Pack<T>& x) {
  return x;
}

// f of each row.
template <typename T, class F>
PP_HD Pack<T> each(const Pack<T>& x, const F& f) {
  T rows[Pack<T>::width];
  std::memcpy(rows, &x.v, sizeof rows);
  for (int i = 0; i < Pack<T>::width; ++i) rows[i] = f(rows[i]);
  Pack<T> y;
  std::memcpy(&y.v, rows, sizeof rows);
  return y;
}
template <typename T> PP_HD Pack<T> sqrt(const Pack<T>& x) { return each(x, [](T a) { return std::sqrt(a); }); }
template <typename T> PP_CALLED Pack<T> exp(const Pack<T>& x) { return each(x, [](T a) { return std::exp(a); }); }
template <typename T> PP_CALLED Pack<T> log(const Pack<T>& x) { return each(x, [](T a) { return std::log(a); }); }

}  // namespace pypose
