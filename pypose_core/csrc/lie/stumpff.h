// Stumpff functions c_k(x) = sum_j (-x)^j / (2j + k)!, x = theta^2: every coefficient of the rotation
// groups is a rational expression of them, without a division by theta.
//
//   c_0 = cos(theta), c_1 = sin(theta)/theta, c_2 = (1 - cos(theta))/theta^2, c_3 = (theta - sin(theta))/theta^3, ...
//   c_k = 1/k! - x c_{k+2}          (recurrence)
//   dc_k/dx = (k c_{k+2} - c_{k+1}) / 2
//
// Source: Stumpff, Himmelsmechanik I, 1959.  The recurrence downwards is stable for small x, upwards for large x.
#pragma once

#include <cmath>

#include "lie/polynomial.h"
#include "lie/select.h"
#include "lie/trigonometry.h"

namespace pypose {

template <typename T>
struct Stumpff {
  T c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11;
};

template <int n>
constexpr double inverse_factorial = inverse_factorial<n - 1> / n;
template <>
inline constexpr double inverse_factorial<0> = 1;

// Up to here the series; c_2 to c_11 lose at most two bits by it.
constexpr double stumpff_series_limit = 10;
// Up to here c_0 and c_1 do, too.
constexpr double stumpff_cosine_limit = 2.5;

// c_k(x), x <= stumpff_series_limit, k >= 10, to the rounding of T's scalar.
template <int k, int j = 0, typename T>
PP_HD T stumpff_tail(const T& x) {
  constexpr int last = sizeof(scalar_of<T>) == sizeof(float) ? 5 : 11;
  if constexpr (j == last) {
    return T(inverse_factorial<2 * j + k>);
  } else {
    return T(inverse_factorial<2 * j + k>) - x * stumpff_tail<k, j + 1>(x);
  }
}

// c_10 and c_11 by their series, the rest downwards.
template <typename T>
PP_HD Stumpff<T> stumpff_series(const T& x) {
  Stumpff<T> s;
  s.c11 = stumpff_tail<11>(x);
  s.c10 = stumpff_tail<10>(x);
  s.c9 = T(inverse_factorial<9>) - x * s.c11;
  s.c8 = T(inverse_factorial<8>) - x * s.c10;
  s.c7 = T(inverse_factorial<7>) - x * s.c9;
  s.c6 = T(inverse_factorial<6>) - x * s.c8;
  s.c5 = T(inverse_factorial<5>) - x * s.c7;
  s.c4 = T(inverse_factorial<4>) - x * s.c6;
  s.c3 = T(inverse_factorial<3>) - x * s.c5;
  s.c2 = T(0.5) - x * s.c4;
  s.c1 = T(1) - x * s.c3;
  s.c0 = T(1) - x * s.c2;
  return s;
}

// From c_0 and c_1 upwards.
template <typename T>
PP_HD Stumpff<T> stumpff_upwards(const T& x, const T& c0, const T& c1) {
  Stumpff<T> s;
  const T inv = T(1) / x;
  s.c0 = c0;
  s.c1 = c1;
  s.c2 = (T(1) - s.c0) * inv;
  s.c3 = (T(1) - s.c1) * inv;
  s.c4 = (T(0.5) - s.c2) * inv;
  s.c5 = (T(inverse_factorial<3>) - s.c3) * inv;
  s.c6 = (T(inverse_factorial<4>) - s.c4) * inv;
  s.c7 = (T(inverse_factorial<5>) - s.c5) * inv;
  s.c8 = (T(inverse_factorial<6>) - s.c6) * inv;
  s.c9 = (T(inverse_factorial<7>) - s.c7) * inv;
  s.c10 = (T(inverse_factorial<8>) - s.c8) * inv;
  s.c11 = (T(inverse_factorial<9>) - s.c9) * inv;
  return s;
}

template <typename M, typename T>
PP_HD Stumpff<T> select(const M& condition, const Stumpff<T>& a, const Stumpff<T>& b) {
  return {select(condition, a.c0, b.c0), select(condition, a.c1, b.c1), select(condition, a.c2, b.c2),
          select(condition, a.c3, b.c3), select(condition, a.c4, b.c4), select(condition, a.c5, b.c5),
          select(condition, a.c6, b.c6), select(condition, a.c7, b.c7), select(condition, a.c8, b.c8),
          select(condition, a.c9, b.c9), select(condition, a.c10, b.c10), select(condition, a.c11, b.c11)};
}

// Where some row's x is beyond stumpff_cosine_limit.
template <typename T>
PP_CALLED Stumpff<T> stumpff_beyond(const T& x) {
  using std::sqrt;
  const auto small = x <= T(stumpff_cosine_limit), medium = x <= T(stumpff_series_limit);
  // Nothing infinite where the series is not meant to go.
  Stumpff<T> s = stumpff_series(select(medium, x, T(0)));
  const T theta = sqrt(x);
  T sine, cosine;
  sine_and_cosine(theta, &sine, &cosine);
  s.c0 = select(small, s.c0, cosine);
  s.c1 = select(small, s.c1, T(sine / theta));
  if (all(medium)) return s;
  return select(medium, s, stumpff_upwards(x, s.c0, s.c1));
}

// All twelve, for any x >= 0.
template <typename T>
PP_HD Stumpff<T> stumpff(const T& x) {
  if (all(x <= T(stumpff_cosine_limit))) return stumpff_series(x);
  return stumpff_beyond(x);
}

}  // namespace pypose
