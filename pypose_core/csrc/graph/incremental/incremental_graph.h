// A factor graph that grows: variables with a linearization point each, factors linearized there, and the Bayes tree
// of their normal equations. An update moves the points of variables that have come far from them, linearizes the
// factors of these, and redoes the tree where it has changed. An update that fails leaves no trace.
// Source: Kaess, Johannsson, Roberts, Ila, Leonard, Dellaert, "iSAM2", IJRR 31, 2012 (fluid relinearization).
#pragma once

#include <utility>
#include <vector>

#include "graph/incremental/bayes_tree.h"

namespace pypose::incremental {

struct Set {
  Manifold manifold;
  int storage, dof;
  int rotation, rotation_end;    // of the storage: what is kept at length 1
  std::vector<int> variables;
  std::vector<double> point;     // (N, storage): where their factors are linearized
};

struct Variable {
  int set, index;
  bool held;
  bool far = false;              // its step is beyond the threshold: in `far_`
  std::vector<int> factors;
};

enum class Outcome : int64_t { kUpdated, kUnanchored, kNotPositiveDefinite, kNotFinite };

struct Update {
  Outcome outcome = Outcome::kUpdated;
  int set = -1, index = -1;            // the variable that a failure is about
  int affected = 0, relinearized = 0, linearized = 0, solved = 0, cliques = 0;
};

class IncrementalGraph {
 public:
  int add_set(Manifold manifold, int storage, int dof, int rotation, int rotation_end);

  // Staged until the next update. `index` is in the sets of each position.
  void add_variable(int set, const double* value, bool held);
  int add_factor(Factor factor);
  void remove_factor(int id);
  void move(int variable, const double* value);      // another linearization point, and no step

  // The first half: moves points, linearizes. Returns the external factors that wait for assemble().
  std::vector<int> begin(double relinearize_threshold);
  // The second half.
  Update finish(double relinearize_threshold, double wildfire_threshold);
  // Instead of the second half, where the first could not be completed.
  void abandon();

  const std::vector<Set>& sets() const { return sets_; }
  const std::vector<Factor>& factors() const { return factors_; }
  std::vector<Factor>& factors() { return factors_; }
  const Variable& variable(int v) const { return variables_[v]; }
  int committed_factors() const { return committed_factors_; }
  int committed_variables() const { return committed_variables_; }
  const BayesTree& tree() const { return tree_; }

  void estimate(int variable, double* out) const;
  const double* point(int variable) const {
    const Variable& v = variables_[variable];
    return sets_[v.set].point.data() + size_t(v.index) * sets_[v.set].storage;
  }

 private:
  struct MovedVariable {
    int variable;
    std::vector<double> point, delta;
  };
  struct MovedFactor {
    int factor;
    Linearized linear;
  };

  double* point(int variable) { return const_cast<double*>(std::as_const(*this).point(variable)); }
  void set_point(int variable, const double* value);
  void linearize_native(int factor);
  int find(int variable);
  void join(const Factor& factor);
  int first_unanchored();
  void rebuild_components();
  void commit();

  std::vector<Set> sets_;
  std::vector<Variable> variables_;
  std::vector<Factor> factors_;
  BayesTree tree_;
  std::vector<int> far_;
  std::vector<int> root_;                    // union of what factors connect
  std::vector<char> anchored_;               // of roots
  int committed_variables_ = 0, committed_factors_ = 0;

  // Of the update at work.
  std::vector<std::pair<int, std::vector<double>>> moves_;
  std::vector<int> removed_, refreshed_;
  std::vector<MovedVariable> moved_variables_;
  std::vector<MovedFactor> moved_factors_;
};

}  // namespace pypose::incremental
