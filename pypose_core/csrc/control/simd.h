// Vectors of doubles that the compiler maps to the processor's registers, and sine and cosine on them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace pypose {

typedef double v4d __attribute__((vector_size(32)));
typedef double v8d __attribute__((vector_size(64)));
typedef int64_t v8i __attribute__((vector_size(64)));

constexpr int kLanes = 8;

struct AlignedFree {
  void operator()(double* p) const { std::free(p); }
};
using AlignedBuffer = std::unique_ptr<double[], AlignedFree>;

// n doubles, zeroed, at a multiple of 64 bytes.
inline AlignedBuffer aligned_buffer(size_t n) {
  const size_t bytes = (n * sizeof(double) + 127) / 64 * 64;
  double* p = static_cast<double*>(std::aligned_alloc(64, bytes));
  for (size_t i = 0; i < bytes / sizeof(double); ++i) p[i] = 0;
  return AlignedBuffer(p);
}

// Rows of a padded, aligned buffer, four numbers at a time.
inline v4d* lanes4(const AlignedBuffer& b) { return reinterpret_cast<v4d*>(b.get()); }
inline v4d max4(v4d a, v4d b) { return a > b ? a : b; }
inline v4d abs4(v4d a) { return a > 0.0 ? a : -a; }
inline double largest4(v4d a) {
  const double x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
  return x > y ? x : y;
}

inline v8d broadcast8(double a) { return v8d{a, a, a, a, a, a, a, a}; }

// Sine and cosine to within 1.5 units in the last place for |x| < 1e5: reduction by pi/2 in three parts
// (Cody and Waite), then the minimax polynomials on [-pi/4, pi/4] that libm implementations share.
inline void sincos8(v8d x, v8d& s, v8d& c) {
  for (int i = 0; i < kLanes; ++i)
    if (!(std::abs(x[i]) < 1e5)) {
      for (int j = 0; j < kLanes; ++j) {
        s[j] = std::sin(x[j]);
        c[j] = std::cos(x[j]);
      }
      return;
    }
  const double shift = 6755399441055744.0;   // 1.5 * 2^52: adding it rounds to an integer
  const v8d n = (x * 0.63661977236758134308 + shift) - shift;
  const v8i quadrant = __builtin_convertvector(n, v8i);
  v8d r = x - n * 1.57079632673412561417e+00;
  r = r - n * 6.07710050630396597660e-11;
  r = r - n * 2.02226624879595063154e-21;
  const v8d z = r * r;
  const v8d sine = r + r * z * (-1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 +
      z * (-1.98412698298579493134e-04 + z * (2.75573137070700676789e-06 +
      z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)))));
  const v8d cosine = 1.0 - 0.5 * z + z * z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 +
      z * (2.48015872894767294178e-05 + z * (-2.75573143513906633035e-07 +
      z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
  const v8i odd = (quadrant & 1) != 0;
  const v8d sign_s = (quadrant & 2) != 0 ? broadcast8(-1.0) : broadcast8(1.0);
  const v8d sign_c = ((quadrant + 1) & 2) != 0 ? broadcast8(-1.0) : broadcast8(1.0);
  s = (odd ? cosine : sine) * sign_s;
  c = (odd ? sine : cosine) * sign_c;
}

}  // namespace pypose
