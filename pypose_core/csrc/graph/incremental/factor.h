// One factor of an incremental graph, and its normal equations at the point where it was linearized last.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/robust.h"

namespace pypose::incremental {

// What a variable is: rows of `storage` numbers, perturbed on the right by `dof` numbers.
enum class Manifold : int64_t { kSe2, kSe3, kNavState, kEuclidean };

// How a factor is linearized: X_i or X_i^-1 X_j was measured, or somebody else computes its residual and Jacobians.
enum class Model : int64_t { kPrior, kBetween, kExternal };

// s = r^T Omega r costs rho(s); near the linearization point constant + 2 g^T d + d^T H d.
struct Linearized {
  std::vector<double> values;     // blocks (a, b <= a) of H, row-major one after the other, then g
  double constant = 0;

  bool finite() const {
    double zero = constant - constant;
    for (double x : values) zero += x - x;
    return zero == 0;
  }
};

struct Factor {
  Model model;
  std::vector<int> variables;
  std::vector<int> dofs;                        // of each variable
  std::vector<double> measured, information;    // not of external ones
  Kernel kernel;
  double width, weight;
  bool absolute = false;                        // whether it may tie its variables to the world
  Linearized linear;
  int clique = -1;                              // of the tree, where it entered
  bool alive = true;

  int dof() const {
    int sum = 0;
    for (int d : dofs) sum += d;
    return sum;
  }
};

// x[k] points at the value of the k-th variable. `factor.linear` takes the result.
void linearize(Manifold manifold, const double* const* x, Factor& factor);

// The same from a whitened residual r (e) and its Jacobian J (e x dof, row-major), variables side by side.
void assemble(int e, const double* r, const double* J, Factor& factor);

// out = X Exp(d)
void retract(Manifold manifold, int dof, const double* X, const double* d, double* out);

}  // namespace pypose::incremental
