// Stumpff functions c_k(x) = sum_j (-x)^j / (2j + k)!, x = theta^2: every coefficient of the rotation
// groups is a rational expression of them, without a division by theta.
//
//   c_0 = cos(theta), c_1 = sin(theta)/theta, c_2 = (1 - cos(theta))/theta^2, c_3 = (theta - sin(theta))/theta^3, ...
//   c_k = 1/k! - x c_{k+2}          (recurrence)
//   dc_k/dx = (k c_{k+2} - c_{k+1}) / 2
//
// Source: Stumpff, Himmelsmechanik I, 1959; the recurrence downwards is stable for small x, upwards
// for large x, and at x = 1 both lose less than two bits.
#pragma once

#include <cmath>

#include "lie/host_device.h"

namespace pypose {

template <typename T>
struct Stumpff {
  T c0, c1, c2, c3, c4, c5, c6, c7;
};

// c_6 and c_7 by their series, the rest downwards; x <= 1.  The last term kept is below 1e-18.
template <typename T>
PP_HD Stumpff<T> stumpff_series(const T& x) {
  Stumpff<T> s;
  s.c7 = T(1.0 / 5040) *
      (T(1) - x * T(1.0 / 72) * (T(1) - x * T(1.0 / 110) * (T(1) - x * T(1.0 / 156) *
      (T(1) - x * T(1.0 / 210) * (T(1) - x * T(1.0 / 272) * (T(1) - x * T(1.0 / 342)))))));
  s.c6 = T(1.0 / 720) *
      (T(1) - x * T(1.0 / 56) * (T(1) - x * T(1.0 / 90) * (T(1) - x * T(1.0 / 132) *
      (T(1) - x * T(1.0 / 182) * (T(1) - x * T(1.0 / 240) * (T(1) - x * T(1.0 / 306)))))));
  s.c5 = T(1.0 / 120) - x * s.c7;
  s.c4 = T(1.0 / 24) - x * s.c6;
  s.c3 = T(1.0 / 6) - x * s.c5;
  s.c2 = T(0.5) - x * s.c4;
  s.c1 = T(1) - x * s.c3;
  s.c0 = T(1) - x * s.c2;
  return s;
}

// All eight, for any x >= 0.
template <typename T>
PP_HD Stumpff<T> stumpff(const T& x) {
  if (x <= T(1)) return stumpff_series(x);
  Stumpff<T> s;
  const T theta = std::sqrt(x), inv = T(1) / x;
  s.c0 = std::cos(theta);
  s.c1 = std::sin(theta) / theta;
  s.c2 = (T(1) - s.c0) * inv;
  s.c3 = (T(1) - s.c1) * inv;
  s.c4 = (T(0.5) - s.c2) * inv;
  s.c5 = (T(1.0 / 6) - s.c3) * inv;
  s.c6 = (T(1.0 / 24) - s.c4) * inv;
  s.c7 = (T(1.0 / 120) - s.c5) * inv;
  return s;
}

}  // namespace pypose
