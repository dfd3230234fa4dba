// Robust kernels rho(s) of a squared whitened residual s = e^T Omega e, and their weights rho'(s).
// Source: Zhang, "Parameter estimation techniques: a tutorial", Image and Vision Computing 15, 1997.
#pragma once

#include <cmath>
#include <cstdint>

namespace pypose {

enum class Kernel : int64_t { kNone, kHuber, kCauchy, kTukey, kGemanMcClure, kWelsch, kCount };

template <typename S>
struct Robust {
  S cost, weight;
};

// `width` is in units of standard deviations.
inline Robust<double> robust(Kernel kernel, double width, double s) {
  const double k2 = width * width;
  switch (kernel) {
    case Kernel::kHuber:
      if (s <= k2) return {s, 1};
      return {2 * width * std::sqrt(s) - k2, width / std::sqrt(s)};
    case Kernel::kCauchy:
      return {k2 * std::log1p(s / k2), 1 / (1 + s / k2)};
    case Kernel::kTukey: {
      if (s > k2) return {k2 / 3, 0};
      const double u = 1 - s / k2;
      return {k2 / 3 * (1 - u * u * u), u * u};
    }
    case Kernel::kGemanMcClure: {
      const double u = 1 / (1 + s / k2);
      return {s * u, u * u};
    }
    case Kernel::kWelsch: {
      const double u = std::exp(-s / k2);
      return {-k2 * std::expm1(-s / k2), u};
    }
    default:
      return {s, 1};
  }
}

}  // namespace pypose
