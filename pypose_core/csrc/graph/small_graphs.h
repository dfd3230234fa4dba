// Many small graphs of poses with the same structure, several of them at a time in the lanes of the processor's
// vectors: normal equations, block Cholesky and Levenberg-Marquardt with a damping for each.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/robust.h"

namespace pypose {

// One factor: Log(Z^-1 Xi^-1 Xj), or Log(Z^-1 Xi) where j < 0.
struct SmallFactor {
  int i, j;
  Kernel kernel;
  double width;

  auto operator<=>(const SmallFactor&) const = default;
};

// What graphs that are solved together have in common.
struct SmallStructure {
  std::vector<char> held;      // of each pose
  std::vector<SmallFactor> factors;

  auto operator<=>(const SmallStructure&) const = default;
};

// Pointers to the numbers of one graph.
struct SmallGraph {
  std::vector<const double*> measured, information;    // of each factor
  std::vector<double> weight;
  std::vector<double*> pose;                           // start and solution
  // results
  int status = 0, iterations = 0, failed = -1;         // the pose without a positive pivot
  double first_cost = 0, cost = 0, chi2 = 0;
};

struct SmallOptions {
  int max_iterations;
  double tolerance, absolute_tolerance, initial_damping, max_damping;
};

// Status: 0 converged, 1 iteration limit, 2 no decrease, 3 not positive definite, 4 not finite.
// `spatial`: SE3 poses and 6x6 information, else SE2 and 3x3.
void solve_small_graphs(bool spatial, const SmallStructure& structure, std::vector<SmallGraph*>& graphs,
                        const SmallOptions& options);

}  // namespace pypose
