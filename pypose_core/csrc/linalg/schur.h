// Block systems in which a set of blocks is coupled only with the others, as landmarks with cameras: each of them is
// eliminated by itself, and a Cholesky factorization of what is left, the Schur complement, does the rest.
//
// Blocks with the same neighbours are eliminated together, as one dense product of small matrices.
// Source: Brown, "A solution to the general problem of multiple station analytical stereotriangulation", 1958;
// Triggs et al., "Bundle adjustment - a modern synthesis", 2000, section 6.1.
#pragma once

#include <memory>
#include <vector>

#include "linalg/cholesky.h"

namespace pypose {

class Schur {
 public:
  // `eliminated` (one for each block) must name no two blocks that are coupled.
  Schur(std::shared_ptr<const BlockPattern> pattern, const std::vector<bool>& eliminated);

  // As Cholesky::factorize.
  int factorize(const double* values, double damping, double shift);

  // X <- A^-1 X, as Cholesky::solve.
  void solve(double* X, int count, int64_t ldx) const;

  const Symbolic& reduced() const { return cholesky_->symbolic(); }
  int groups() const { return int(groups_.size()); }

 private:
  struct Neighbour {
    int kept;             // block of the reduced pattern
    int row;              // where it starts among the rows of the group
  };
  // Blocks whose neighbours are the same.
  struct Group {
    int size;                                // scalar rows of each block
    int rows;                                // of all neighbours
    std::vector<int> members;                // blocks of the whole pattern
    std::vector<int64_t> values;             // for each member and neighbour: 2 * offset + transposed
    std::vector<Neighbour> neighbours;       // ascending
    std::vector<int64_t> targets;            // offsets of the blocks (a, b <= a) in the reduced values
    int64_t panel;                           // where its rows x (size * members) panel G starts, column-major
    int64_t inverse;                         // where the factors of the members' diagonal blocks start
  };

  bool eliminate(const Group& group, const double* values, double damping, double shift, int* failed);
  void scatter(const Group& group);

  std::shared_ptr<const BlockPattern> pattern_;
  std::vector<int> kept_;                    // block of the whole pattern for each of the reduced one
  std::vector<Group> groups_;
  std::vector<std::pair<int64_t, int64_t>> copies_;   // blocks (positions) of the whole and of the reduced pattern
  std::unique_ptr<Cholesky> cholesky_;
  std::vector<double> reduced_, update_;
  std::unique_ptr<double[]> panels_, inverses_;
};

}  // namespace pypose
