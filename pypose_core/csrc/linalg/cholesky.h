// Multifrontal Cholesky factorization P A P^T = L L^T of a block-sparse symmetric matrix, on one thread.
//
// Each supernode of the elimination tree assembles a dense front from the blocks of A and the updates of its
// children, factorizes its own columns, and leaves the Schur complement of its rows to its parent.
// Source: Duff and Reid, "The multifrontal solution of indefinite sparse symmetric linear equations", 1983.
#pragma once

#include <memory>
#include <vector>

#include "linalg/symbolic.h"

namespace pypose {

class Cholesky {
 public:
  explicit Cholesky(std::shared_ptr<const Symbolic> symbolic);

  // Factorizes A + diag(damping * diag(A) + shift), A as the values of the pattern's blocks.
  // Returns the block column whose pivot is not positive, in the numbering of the pattern, or -1.
  int factorize(const double* values, double damping = 0, double shift = 0);

  // X <- A^-1 X for `count` right sides, the columns of X (column-major, leading dimension ldx).
  void solve(double* X, int count, int64_t ldx) const;

  // Blocks of A^-1 on the pattern of A: the inverse in the layout of its values.
  void selected_inverse(double* values) const;

  const Symbolic& symbolic() const { return *symbolic_; }

 private:
  void assemble(const Supernode& node, const double* values, double damping, double shift);
  void add_update(const Supernode& child, const Supernode& parent, bool into_panel);

  std::shared_ptr<const Symbolic> symbolic_;
  std::unique_ptr<double[]> factor_, workspace_;
  std::vector<double> floor_;
};

}  // namespace pypose
