// Sine and cosine of one angle, of a number; simd.h has them for packs.
#pragma once

#include <cmath>

#include "lie/host_device.h"

namespace pypose {

template <typename T>
PP_HD void sine_and_cosine(const T& angle, T* sine, T* cosine) {
  *sine = std::sin(angle);
  *cosine = std::cos(angle);
}

}  // namespace pypose
