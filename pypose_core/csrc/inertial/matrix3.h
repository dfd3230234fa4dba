// Products of 3x3 matrices, row-major.
#pragma once

#include "lie/host_device.h"
#include "lie/so3.h"

namespace pypose {

// A row times a column of a row-major matrix with row stride N.
template <int N, typename T>
PP_HD T dot3_column(const T* a, const T* b) {
  return a[0] * b[0] + a[1] * b[N] + a[2] * b[2 * N];
}

// C = scale * A B; C must be neither A nor B.
template <typename T>
PP_HD void mul3(const T* A, const T* B, T* C, T scale = T(1)) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      C[3 * i + j] = scale * dot3_column<3>(A + 3 * i, B + j);
}

// S = scale * A Q A^T.
template <typename T>
PP_HD void congruence3(const T* A, const T* Q, T scale, T* S) {
  T AQ[9];
  mul3(A, Q, AQ);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      S[3 * i + j] = scale * dot3(AQ + 3 * i, A + 3 * j);
}

}  // namespace pypose
