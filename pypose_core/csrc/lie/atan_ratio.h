// f(n^2, w) = atan2(n, w)/n, w >= 0, not both zero: half the factor between the vector part of a quaternion and
// its rotation vector.  Halving the angle twice leaves a short polynomial, no branch and no cancellation:
//
//   f(n^2, w) = 2 f(n^2, w_1) = 4 f(n^2, w_2),  h = |(n, w)|, w_1 = w + h, h_1 = |(n, w_1)|, w_2 = w_1 + h_1
//   df/dw = -1/h^2
//   df/dn^2 (n^2, w) = 2 df/dn^2 (n^2, w_1) - 1/(2 h^2 w_1)
#pragma once

#include <cmath>

#include "lie/dual.h"
#include "lie/host_device.h"
#include "lie/polynomial.h"

namespace pypose {

// atan(sqrt z)/sqrt z and its derivative for 0 <= z <= tan^2(pi/8): Chebyshev fits, good to the rounding of S.
template <typename S>
struct AtanSeries {
  static constexpr int terms = 13;
  static constexpr double coefficients[terms] = {
      1, -0.33333333333333324196, 0.19999999999997010881, -0.14285714285329358709, 0.1111111108530123871,
      -0.090909080582984095118, 0.076922810836789009203, -0.066662050231780916616, 0.058768317098427496904,
      -0.052172979196550592472, 0.044994415067496043881, -0.033386452259033168958, 0.01511237643149516949};
};
template <>
struct AtanSeries<float> {
  static constexpr int terms = 7;
  static constexpr double coefficients[terms] = {1, -0.333333320969, 0.199998838039, -0.142815873071,
                                                 0.110404710096, -0.08456089467, 0.0470712965526};
};
template <typename S>
struct AtanSlope {
  static constexpr int terms = 13;
  static constexpr double coefficients[terms] = {
      -0.33333333333333333277, 0.3999999999999988932, -0.42857142857106642946, 0.44444444439779247844,
      -0.45454545141565929944, 0.46153833622238890014, -0.46666343396212593566, 0.47053206464319763945,
      -0.47301096391775559711, 0.47058066299852203868, -0.44599634661119916477, 0.3549032083130347831,
      -0.16805890763036765038};
};
template <>
struct AtanSlope<float> {
  static constexpr int terms = 7;
  static constexpr double coefficients[terms] = {-0.333333333191, 0.399999918513, -0.428563761528, 0.444171497545,
                                                 -0.449854280961, 0.419065495707, -0.263898026913};
};

template <typename T>
PP_HD T atan_ratio(const T& n2, const T& w) {
  using std::sqrt;
  const T w1 = w + sqrt(n2 + w * w);
  const T inv = T(1) / (w1 + sqrt(n2 + w1 * w1));
  return T(4) * inv * polynomial<AtanSeries<scalar_of<T>>>(T(n2 * inv * inv));
}

template <typename T>
struct AtanRatio {
  T value, by_n2, by_w;
};

template <typename T>
PP_HD AtanRatio<T> atan_ratio_slopes(const T& n2, const T& w) {
  using std::sqrt;
  const T square = n2 + w * w, w1 = w + sqrt(square);
  const T square1 = n2 + w1 * w1, w2 = w1 + sqrt(square1);
  const T inv = T(1) / w2, z = n2 * inv * inv;
  const T slope = T(4) * inv * inv * inv * polynomial<AtanSlope<scalar_of<T>>>(z) -
      T(1) / (square1 * w2) - T(0.5) / (square * w1);
  return {T(4) * inv * polynomial<AtanSeries<scalar_of<T>>>(z), slope, T(-1) / square};
}

template <typename T, int N>
PP_HD Dual<T, N> atan_ratio(const Dual<T, N>& n2, const Dual<T, N>& w) {
  const AtanRatio<T> f = atan_ratio_slopes(n2.v, w.v);
  Dual<T, N> r;
  r.v = f.value;
  r.d.combine(f.by_n2, n2.d, f.by_w, w.d);
  return r;
}

}  // namespace pypose
