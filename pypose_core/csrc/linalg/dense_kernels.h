// Dense kernels of the sparse factorization: column-major matrices of a few to a few hundred rows, where the
// overhead of a general BLAS is as large as its work, and one thread.
//
// Every matrix must be followed by kPadding readable doubles: the last rows are read by whole vectors.
#pragma once

namespace pypose::dense {

constexpr int kPadding = 32;

// C (m x n) = C - A B^T with A (m x k) and B (n x k); with `overwrite`, C = -A B^T.
void subtract_product(int m, int n, int k, const double* A, int lda, const double* B, int ldb, double* C, int ldc,
                      bool overwrite);

// The lower triangle of C (n x n) = C - A A^T with A (n x k); with `overwrite`, C = -A A^T. A few entries
// above the diagonal are written too.
void subtract_square(int n, int k, const double* A, int lda, double* C, int ldc, bool overwrite);

// The first `columns` columns of the lower Cholesky factor of a symmetric matrix of `rows` rows, in place.
// A pivot must exceed floor[j]. Returns the column whose pivot does not, or -1.
int factorize_panel(int rows, int columns, double* F, int ld, const double* floor);

}  // namespace pypose::dense
