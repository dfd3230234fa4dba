// Branches that rows of a pack (simd.h) can take together: a condition is a bool, or one for each row.
#pragma once

#include "lie/host_device.h"

namespace pypose {

PP_HD bool all(bool condition) { return condition; }
PP_HD bool any(bool condition) { return condition; }

PP_HD float select(bool condition, float a, float b) { return condition ? a : b; }
PP_HD double select(bool condition, double a, double b) { return condition ? a : b; }

// The number underneath, which conditions look at (dual.h).
PP_HD float primal(float x) { return x; }
PP_HD double primal(double x) { return x; }

}  // namespace pypose
