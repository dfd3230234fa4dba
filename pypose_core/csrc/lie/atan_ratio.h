// atan2(n, w)/n as a function of n^2 and w >= 0, smooth at n = 0: half the factor between the vector part
// of a quaternion and its rotation vector.
#pragma once

#include <cmath>

#include "lie/dual.h"
#include "lie/host_device.h"

namespace pypose {

template <typename T>
PP_HD T atan_ratio(const T& n2, const T& w) {
  if (n2 > T(1e-12) * w * w) {
    const T n = std::sqrt(n2);
    return std::atan2(n, w) / n;
  }
  // n may underflow; the next term of the series is below 1e-24.
  return (T(1) - n2 / (T(3) * w * w)) / w;
}

// d/dn2: (w/(n2 + w2) - f)/(2 n2), which cancels for small t = n2/w2, where its series is
// (-1/3 + 2t/5 - 3t^2/7 + ...)/w^3;  d/dw = -1/(n2 + w2).
template <typename T, int N>
PP_HD Dual<T, N> atan_ratio(const Dual<T, N>& n2, const Dual<T, N>& w) {
  const T f = atan_ratio(n2.v, w.v), square = n2.v + w.v * w.v;
  T slope;
  if (n2.v > T(0.04) * w.v * w.v) {
    slope = (w.v / square - f) / (T(2) * n2.v);
  } else {
    const T t = n2.v / (w.v * w.v);
    T sum = T(0);
    for (int j = 12; j >= 1; --j) sum = T(j) / T(2 * j + 1) - t * sum;
    slope = -sum / (w.v * w.v * w.v);
  }
  Dual<T, N> r;
  r.v = f;
  r.d.combine(slope, n2.d, T(-1) / square, w.d);
  return r;
}

}  // namespace pypose
