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

// C += scale * A^T B
template <typename T>
PP_HD void add_mul3_tn(const T* A, const T* B, T scale, T* C) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      C[3 * i + j] += scale * (A[i] * B[j] + A[3 + i] * B[3 + j] + A[6 + i] * B[6 + j]);
}

// Sum of the products of all elements.
template <typename T>
PP_HD T dot9(const T* a, const T* b) {
  return dot3(a, b) + dot3(a + 3, b + 3) + dot3(a + 6, b + 6);
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
