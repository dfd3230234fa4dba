// Some numbers that are computed with together: a row function evaluated on them does several rows at once, in the
// processor's vectors. Branches are taken for each lane on its own, so functions with any are overloaded here.
#pragma once

#include <cmath>

#include "lie/atan_ratio.h"
#include "lie/so3.h"
#include "lie/stumpff.h"

namespace pypose {

struct Lanes {
#if defined(__AVX512F__)
  static constexpr int kCount = 8;
#elif defined(__AVX__)
  static constexpr int kCount = 4;
#else
  static constexpr int kCount = 2;
#endif
  typedef double Vector __attribute__((vector_size(kCount * sizeof(double))));
  typedef decltype(Vector{} < Vector{}) Mask;     // -1 in the lanes that are meant
  Vector v;

  Lanes() = default;
  Lanes(double x) : v(x - Vector{}) {}
  explicit Lanes(Vector v) : v(v) {}
  double operator[](int k) const { return v[k]; }
  void set(int k, double x) { v[k] = x; }

  friend Lanes operator+(const Lanes& a, const Lanes& b) { return Lanes(a.v + b.v); }
  friend Lanes operator-(const Lanes& a, const Lanes& b) { return Lanes(a.v - b.v); }
  friend Lanes operator*(const Lanes& a, const Lanes& b) { return Lanes(a.v * b.v); }
  friend Lanes operator/(const Lanes& a, const Lanes& b) { return Lanes(a.v / b.v); }
  friend Lanes operator-(const Lanes& a) { return Lanes(-a.v); }
  Lanes& operator+=(const Lanes& b) { return v += b.v, *this; }
  Lanes& operator-=(const Lanes& b) { return v -= b.v, *this; }
  Lanes& operator*=(const Lanes& b) { return v *= b.v, *this; }
  Lanes& operator/=(const Lanes& b) { return v /= b.v, *this; }

  // function(k) in each lane k
  template <typename Function>
  static Lanes each(Function function) {
    Lanes out;
    for (int k = 0; k < kCount; ++k) out.v[k] = function(k);
    return out;
  }
};

inline Lanes sqrt(const Lanes& x) {
  Lanes out;
  for (int k = 0; k < Lanes::kCount; ++k) out.v[k] = std::sqrt(x.v[k]);
  return out;
}

inline Lanes atan2(const Lanes& y, const Lanes& x) {
  return Lanes::each([&](int k) { return std::atan2(y[k], x[k]); });
}

inline Lanes atan_ratio(const Lanes& n2, const Lanes& w) {
  return Lanes::each([&](int k) { return atan_ratio(n2[k], w[k]); });
}

inline Stumpff<Lanes> stumpff(const Lanes& x) {
  bool small = true;
  for (int k = 0; k < Lanes::kCount; ++k) small = small && x[k] <= 1;
  if (small) return stumpff_series(x);
  Stumpff<Lanes> s;
  for (int k = 0; k < Lanes::kCount; ++k) {
    const Stumpff<double> one = stumpff(x[k]);
    s.c0.set(k, one.c0), s.c1.set(k, one.c1), s.c2.set(k, one.c2), s.c3.set(k, one.c3);
    s.c4.set(k, one.c4), s.c5.set(k, one.c5), s.c6.set(k, one.c6), s.c7.set(k, one.c7);
  }
  return s;
}

inline void so3_log(const Lanes* q, Lanes* out) {
  const Lanes sign = Lanes::each([&](int k) { return q[3][k] < 0 ? -1.0 : 1.0; });
  const Lanes factor = Lanes(2) * sign * atan_ratio(dot3(q, q), sign * q[3]);
  for (int k = 0; k < 3; ++k) out[k] = factor * q[k];
}

}  // namespace pypose
