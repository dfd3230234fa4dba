// Dual numbers with N directions: a row function evaluated on them gives its Jacobian, by the chain rule
// and so as exactly as its value.  The N derivatives lie in SIMD vectors where the compiler has such.
#pragma once

#include <cmath>

#include "lie/host_device.h"
#include "lie/polynomial.h"
#include "lie/select.h"
#include "lie/stumpff.h"

namespace pypose {

constexpr int next_power_of_two(int n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}

// N numbers added and scaled together.  Scalars get a SIMD vector, duals (of duals) a plain array.
template <typename T, int N>
struct Tangent {
  T v[N];
  PP_HD T& operator[](int i) { return v[i]; }
  PP_HD const T& operator[](int i) const { return v[i]; }
  PP_CALLED void zero() {
    for (int i = 0; i < N; ++i) v[i] = T(0);
  }
  // *this = s a + t b
  PP_CALLED void combine(const T& s, const Tangent& a, const T& t, const Tangent& b) {
    for (int i = 0; i < N; ++i) v[i] = s * a.v[i] + t * b.v[i];
  }
  PP_CALLED void scale(const T& s, const Tangent& a) {
    for (int i = 0; i < N; ++i) v[i] = s * a.v[i];
  }
  PP_CALLED void add(const Tangent& a, const Tangent& b) {
    for (int i = 0; i < N; ++i) v[i] = a.v[i] + b.v[i];
  }
  PP_CALLED void subtract(const Tangent& a, const Tangent& b) {
    for (int i = 0; i < N; ++i) v[i] = a.v[i] - b.v[i];
  }
  template <typename M>
  PP_CALLED void choose(const M& condition, const Tangent& a, const Tangent& b) {
    for (int i = 0; i < N; ++i) v[i] = select(condition, a.v[i], b.v[i]);
  }
};

// One direction: as inlined as a number.
template <typename T>
struct Tangent<T, 1> {
  T v[1];
  PP_HD T& operator[](int i) { return v[i]; }
  PP_HD const T& operator[](int i) const { return v[i]; }
  PP_HD void zero() { v[0] = T(0); }
  PP_HD void combine(const T& s, const Tangent& a, const T& t, const Tangent& b) { v[0] = s * a.v[0] + t * b.v[0]; }
  PP_HD void scale(const T& s, const Tangent& a) { v[0] = s * a.v[0]; }
  PP_HD void add(const Tangent& a, const Tangent& b) { v[0] = a.v[0] + b.v[0]; }
  PP_HD void subtract(const Tangent& a, const Tangent& b) { v[0] = a.v[0] - b.v[0]; }
  template <typename M>
  PP_HD void choose(const M& condition, const Tangent& a, const Tangent& b) {
    v[0] = select(condition, a.v[0], b.v[0]);
  }
};

#if defined(__GNUC__) && !defined(__CUDACC__)
template <typename T, int N>
struct SimdTangent {
  // Vectors of more than 64 bytes are compiled badly.
  static constexpr int most = 64 / sizeof(T), lanes = next_power_of_two(N) < most ? next_power_of_two(N) : most;
  static constexpr int count = (N + lanes - 1) / lanes;
  typedef T Vector __attribute__((vector_size(lanes * sizeof(T))));
  Vector v[count];
  PP_HD T operator[](int i) const { return v[i / lanes][i % lanes]; }
  PP_HD void set(int i, T value) { v[i / lanes][i % lanes] = value; }
  PP_HD void zero() {
    for (int i = 0; i < count; ++i) v[i] = Vector{};
  }
  PP_HD void combine(T s, const SimdTangent& a, T t, const SimdTangent& b) {
    for (int i = 0; i < count; ++i) v[i] = s * a.v[i] + t * b.v[i];
  }
  PP_HD void scale(T s, const SimdTangent& a) {
    for (int i = 0; i < count; ++i) v[i] = s * a.v[i];
  }
  PP_HD void add(const SimdTangent& a, const SimdTangent& b) {
    for (int i = 0; i < count; ++i) v[i] = a.v[i] + b.v[i];
  }
  PP_HD void subtract(const SimdTangent& a, const SimdTangent& b) {
    for (int i = 0; i < count; ++i) v[i] = a.v[i] - b.v[i];
  }
  PP_HD void choose(bool condition, const SimdTangent& a, const SimdTangent& b) {
    for (int i = 0; i < count; ++i) v[i] = condition ? a.v[i] : b.v[i];
  }
};
template <int N>
  requires(N > 1)
struct Tangent<float, N> : SimdTangent<float, N> {};
template <int N>
  requires(N > 1)
struct Tangent<double, N> : SimdTangent<double, N> {};
#endif

template <typename T, int N>
struct Dual {
  T v;
  Tangent<T, N> d;
  PP_HD Dual() {}
  PP_HD Dual(const T& value) : v(value) { d.zero(); }
  template <typename S, typename = decltype(T(S()))>
  PP_HD explicit Dual(S value) : v(T(value)) { d.zero(); }
  // The variable of direction i.
  PP_HD static Dual variable(const T& value, int i) {
    Dual x(value);
    set(x, i, T(1));
    return x;
  }
  PP_HD static void set(Dual& x, int i, const T& value) {
#if defined(__GNUC__) && !defined(__CUDACC__)
    if constexpr (requires { x.d.set(i, value); }) {
      x.d.set(i, value);
    } else {
      x.d[i] = value;
    }
#else
    x.d[i] = value;
#endif
  }
  PP_HD Dual& operator+=(const Dual& b) { return *this = *this + b; }
};

template <typename T, int N>
PP_HD Dual<T, N> operator+(const Dual<T, N>& a, const Dual<T, N>& b) {
  Dual<T, N> r;
  r.v = a.v + b.v;
  r.d.add(a.d, b.d);
  return r;
}
template <typename T, int N>
PP_HD Dual<T, N> operator-(const Dual<T, N>& a, const Dual<T, N>& b) {
  Dual<T, N> r;
  r.v = a.v - b.v;
  r.d.subtract(a.d, b.d);
  return r;
}
template <typename T, int N>
PP_HD Dual<T, N> operator-(const Dual<T, N>& a) {
  Dual<T, N> r;
  r.v = -a.v;
  r.d.scale(T(-1), a.d);
  return r;
}
template <typename T, int N>
PP_HD Dual<T, N> operator*(const Dual<T, N>& a, const Dual<T, N>& b) {
  Dual<T, N> r;
  r.v = a.v * b.v;
  r.d.combine(b.v, a.d, a.v, b.d);
  return r;
}
template <typename T, int N>
PP_HD Dual<T, N> operator/(const Dual<T, N>& a, const Dual<T, N>& b) {
  const T inv = T(1) / b.v;
  Dual<T, N> r;
  r.v = a.v * inv;
  r.d.combine(inv, a.d, -r.v * inv, b.d);
  return r;
}

// f(a) with its value and its derivative.
template <typename T, int N>
PP_HD Dual<T, N> chain(const Dual<T, N>& a, const T& value, const T& slope) {
  Dual<T, N> r;
  r.v = value;
  r.d.scale(slope, a.d);
  return r;
}
template <typename T, int N>
PP_HD Dual<T, N> sqrt(const Dual<T, N>& a) {
  using std::sqrt;
  const T s = sqrt(a.v);
  return chain(a, s, T(0.5) / s);
}
template <typename T, int N>
PP_HD Dual<T, N> exp(const Dual<T, N>& a) {
  using std::exp;
  const T e = exp(a.v);
  return chain(a, e, e);
}
template <typename T, int N>
PP_HD Dual<T, N> log(const Dual<T, N>& a) {
  using std::log;
  return chain(a, T(log(a.v)), T(1) / a.v);
}
template <typename T, int N>
PP_HD void sine_and_cosine(const Dual<T, N>& angle, Dual<T, N>* sine, Dual<T, N>* cosine) {
  T s, c;
  sine_and_cosine(angle.v, &s, &c);
  const Dual<T, N> a = angle;   // which may be one of the results
  *sine = chain(a, s, c);
  *cosine = chain(a, c, T(-s));
}
template <typename T, int N>
PP_HD Dual<T, N> atan2(const Dual<T, N>& y, const Dual<T, N>& x) {
  using std::atan2;
  const T inv = T(1) / (x.v * x.v + y.v * y.v);
  Dual<T, N> r;
  r.v = atan2(y.v, x.v);
  r.d.combine(x.v * inv, y.d, -y.v * inv, x.d);
  return r;
}

template <typename T, int N>
PP_HD auto primal(const Dual<T, N>& x) {
  return primal(x.v);
}
template <typename M, typename T, int N>
PP_HD Dual<T, N> select(const M& condition, const Dual<T, N>& a, const Dual<T, N>& b) {
  Dual<T, N> r;
  r.v = select(condition, a.v, b.v);
  r.d.choose(condition, a.d, b.d);
  return r;
}
template <typename T, int N>
struct ScalarOf<Dual<T, N>> {
  using type = scalar_of<T>;
};

// By dc_k/dx = (k c_{k+2} - c_{k+1})/2, exact at zero; c_10 and c_11 come without derivative: what is derived uses
// c_0 to c_7, its first derivatives up to c_9, its second ones up to c_11.
template <typename T, int N>
PP_HD Stumpff<Dual<T, N>> stumpff(const Dual<T, N>& x) {
  const Stumpff<T> s = stumpff(x.v);
  const T half = T(0.5);
  Stumpff<Dual<T, N>> r;
  r.c0 = chain(x, s.c0, T(-0.5) * s.c1);
  r.c1 = chain(x, s.c1, half * (s.c3 - s.c2));
  r.c2 = chain(x, s.c2, half * (T(2) * s.c4 - s.c3));
  r.c3 = chain(x, s.c3, half * (T(3) * s.c5 - s.c4));
  r.c4 = chain(x, s.c4, half * (T(4) * s.c6 - s.c5));
  r.c5 = chain(x, s.c5, half * (T(5) * s.c7 - s.c6));
  r.c6 = chain(x, s.c6, half * (T(6) * s.c8 - s.c7));
  r.c7 = chain(x, s.c7, half * (T(7) * s.c9 - s.c8));
  r.c8 = chain(x, s.c8, half * (T(8) * s.c10 - s.c9));
  r.c9 = chain(x, s.c9, half * (T(9) * s.c11 - s.c10));
  r.c10 = Dual<T, N>(s.c10);
  r.c11 = Dual<T, N>(s.c11);
  return r;
}

}  // namespace pypose
