// Sine and cosine of an angle, and angles of the plane, of numbers; simd_trigonometry.h has them for packs.
#pragma once

#include <cmath>

#include "lie/host_device.h"

namespace pypose {

template <typename T>
PP_HD void sine_and_cosine(const T& angle, T* sine, T* cosine) {
  *sine = std::sin(angle);
  *cosine = std::cos(angle);
}

// angle[k] = atan2(y[k], x[k])
template <int N, typename T>
PP_HD void atan2_each(const T (&y)[N], const T (&x)[N], T* angle) {
  using std::atan2;
  for (int k = 0; k < N; ++k) angle[k] = atan2(y[k], x[k]);
}

}  // namespace pypose
