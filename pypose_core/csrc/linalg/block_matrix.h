// Products with a block-sparse symmetric matrix, and conjugate gradients preconditioned by its diagonal blocks.
#pragma once

#include "linalg/symbolic.h"

namespace pypose {

// y = A x
void multiply(const BlockPattern& pattern, const double* values, const double* x, double* y);

struct ConjugateGradients {
  int iterations = 0;
  double residual = 0;      // |b - A x| / |b|
  int failed_block = -1;    // the block whose diagonal is not positive definite; no iteration was made
  bool indefinite = false;  // a direction with d^T A d <= 0 was met; x is the iterate before it
};

// Solves A x = b from x, until |b - A x| <= tolerance |b|. Source: Saad, Iterative Methods for Sparse Linear
// Systems, algorithm 9.1, with the block Jacobi preconditioner.
ConjugateGradients conjugate_gradients(const BlockPattern& pattern, const double* values, const double* b, double* x,
                                       double tolerance, int max_iterations);

}  // namespace pypose
