// Polynomials whose coefficients are known to the compiler, by Horner's rule.
#pragma once

#include "lie/host_device.h"

namespace pypose {

// The floating type that a number is made of; simd.h has it for packs.
template <typename T>
struct ScalarOf {
  using type = T;
};
template <typename T>
using scalar_of = typename ScalarOf<T>::type;

// C::coefficients[0] + C::coefficients[1] x + ... of C::terms terms
template <class C, int i = 0, typename T>
PP_HD T polynomial(const T& x) {
  constexpr double a = C::coefficients[i];
  if constexpr (i + 1 == C::terms) {
    return T(a);
  } else {
    return T(a) + x * polynomial<C, i + 1>(x);
  }
}

}  // namespace pypose
