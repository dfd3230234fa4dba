// Sine, cosine and arc tangent of packs.
#pragma once

#include <cstring>
#include <limits>

#include "lie/atan_ratio.h"
#include "lie/simd.h"
#include "lie/stumpff.h"

namespace pypose {

// The sign of b on the magnitude of a, which is not negative.
template <typename T>
PP_HD Pack<T> with_sign(const Pack<T>& a, const Pack<T>& b) {
  using Mask = typename Pack<T>::Mask;
  constexpr typename Pack<T>::Integer sign_bit = std::numeric_limits<typename Pack<T>::Integer>::min();
  return reinterpret_cast<typename Pack<T>::Vector>(
      reinterpret_cast<Mask>(a.v) | (reinterpret_cast<Mask>(b.v) & (Mask{} + sign_bit)));
}

// pi/2 in parts of few bits, so that small multiples of the first two are exact.
template <typename T>
struct HalfPi;
template <>
struct HalfPi<float> {
  static constexpr double parts[3] = {0x1.92p+0, 0x1.fb4p-12, 0x1.4442d2p-24};
  static constexpr double round = 0x1.8p+23;   // adding it drops the fraction
};
template <>
struct HalfPi<double> {
  static constexpr double parts[3] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2e037073p-69};
  static constexpr double round = 0x1.8p+52;
};

// Up to where the reduction by multiples of pi/2 is exact.
constexpr double largest_reduced_angle = 5000;

// c_k(x) of x <= (pi/4)^2, k = 0 or 1
template <int k, int j, typename T>
PP_HD Pack<T> short_series(const Pack<T>& x) {
  constexpr int last = sizeof(T) == 4 ? 5 : 9;
  if constexpr (j == last) {
    return Pack<T>(inverse_factorial<2 * j + k>);
  } else {
    return Pack<T>(inverse_factorial<2 * j + k>) - x * short_series<k, j + 1>(x);
  }
}

template <typename T>
PP_CALLED void sine_and_cosine(const Pack<T>& angle, Pack<T>* sine, Pack<T>* cosine) {
  using P = Pack<T>;
  using H = HalfPi<T>;
  if (!all(angle < largest_reduced_angle) || !all(-angle < P(largest_reduced_angle))) {
    *sine = each(angle, [](T a) { return std::sin(a); });
    *cosine = each(angle, [](T a) { return std::cos(a); });
    return;
  }
  const P shifted = angle * P(0.63661977236758134308) + P(H::round), turns = shifted - P(H::round);
  const P r = ((angle - turns * P(H::parts[0])) - turns * P(H::parts[1])) - turns * P(H::parts[2]), x = r * r;
  const P s = r * short_series<1, 0>(x), c = short_series<0, 0>(x);
  typename P::Mask quarter;
  std::memcpy(&quarter, &shifted.v, sizeof quarter);   // its lowest bits are those of the number of turns
  const Condition<T> odd{(quarter & 1) != 0}, minus_sine{(quarter & 2) != 0}, minus_cosine{((quarter + 1) & 2) != 0};
  const P s_out = select(odd, c, s), c_out = select(odd, s, c);
  *sine = select(minus_sine, -s_out, s_out);
  *cosine = select(minus_cosine, -c_out, c_out);
}

// |a|
template <typename T>
PP_HD Pack<T> magnitude(const Pack<T>& a) {
  using Mask = typename Pack<T>::Mask;
  constexpr typename Pack<T>::Integer rest = std::numeric_limits<typename Pack<T>::Integer>::max();
  return reinterpret_cast<typename Pack<T>::Vector>(reinterpret_cast<Mask>(a.v) & (Mask{} + rest));
}

// angle[k] = atan2(y[k], x[k]), as std::atan2 of finite numbers.  The smaller over the larger of the two; above
// tan(pi/8) from 45 degrees on: one division, and the polynomial of atan_ratio.h.  Several at once, step by step, so
// that none waits for its own last step.
template <int N, typename T>
PP_HD void atan2_each(const Pack<T> (&y)[N], const Pack<T> (&x)[N], Pack<T>* angle) {
  using P = Pack<T>;
  Condition<T> steep[N], far[N];
  P t[N], square[N], sum[N];
  for (int k = 0; k < N; ++k) {
    const P n = magnitude(y[k]), m = magnitude(x[k]);
    steep[k] = m < n;
    const P low = select(steep[k], m, n), high = select(steep[k], n, m);
    far[k] = high * P(0.41421356237309504880) < low;
    t[k] = select(far[k], low - high, low) / select(high <= P(0), P(1), select(far[k], low + high, high));
    square[k] = t[k] * t[k];
    sum[k] = P(AtanSeries<T>::coefficients[AtanSeries<T>::terms - 1]);
  }
  for (int i = AtanSeries<T>::terms - 2; i >= 0; --i)
    for (int k = 0; k < N; ++k) sum[k] = P(AtanSeries<T>::coefficients[i]) + square[k] * sum[k];
  for (int k = 0; k < N; ++k) {
    P a = t[k] * sum[k];
    a = select(far[k], a + P(0.78539816339744830962), a);
    a = select(steep[k], P(1.57079632679489661923) - a, a);
    const Condition<T> negative{reinterpret_cast<typename P::Mask>(x[k].v) < 0};
    angle[k] = with_sign(select(negative, P(3.14159265358979323846) - a, a), y[k]);
  }
}

template <typename T>
PP_CALLED Pack<T> atan2(const Pack<T>& y, const Pack<T>& x) {
  Pack<T> angle;
  atan2_each<1, T>({y}, {x}, &angle);
  return angle;
}

}  // namespace pypose
