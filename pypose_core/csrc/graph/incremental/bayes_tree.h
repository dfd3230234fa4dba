// The square root of the normal equations H d = -g as a tree of dense fronts, of which only a part is redone when
// factors change.
//
// A clique eliminates its columns and is coupled with its rows, which all belong to ancestors. It keeps its columns
// of L and y = -L^-1 g, and the Schur complement that it has left to its parent. Factors that change touch the
// cliques where they entered and all ancestors of these; those are eliminated anew in an order of their own, while
// the subtrees below hang themselves in again with the Schur complements that they kept.
// Source: Kaess, Johannsson, Roberts, Ila, Leonard, Dellaert, "iSAM2: Incremental smoothing and mapping using the
// Bayes tree", IJRR 31, 2012.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "graph/incremental/factor.h"

namespace pypose::incremental {

struct Clique {
  std::vector<int> columns, rows;    // variables
  std::vector<int> children, factors;
  int parent = -1;
  int width = 0, below = 0;          // scalar columns, scalar rows
  bool fresh = false;                // made by the last refactorization

  // The front has one more row at its end, that of the right side. By columns: the panel, `height()` rows of `width`
  // columns, then the Schur complement of order below + 1; of both only the lower triangle.
  std::unique_ptr<double[]> values;

  int height() const { return width + below + 1; }
  double* panel() const { return values.get(); }
  double* complement() const { return values.get() + size_t(height()) * width; }
  // Column j of the front, so that [i] is its row i.
  double* column(int j) const {
    return j < width ? panel() + size_t(j) * height() : complement() + size_t(j - width) * (below + 1) - width;
  }
};

// What has changed since the last refactorization.
struct Change {
  std::vector<int> cliques;      // where factors that changed or went had entered
  std::vector<int> variables;    // new ones
  std::vector<int> factors;      // new ones
  std::vector<int> last;         // variables to eliminate last: changes to come will most likely be at these
};

class BayesTree {
 public:
  // Variables are numbered as they are added; one of dof 0 has no part in the tree.
  void add_variable(int dof);
  void drop_variables(int count);      // the newest, which no clique has yet

  // Eliminates anew what has changed; `factors` learn where they entered. Returns the variable without a positive
  // pivot, with nothing changed, or -1. Pivots are judged against the diagonal of H, which the factors of a variable
  // add up to.
  using FactorsOf = std::function<const std::vector<int>&(int variable)>;
  int refactorize(const Change& change, std::vector<Factor>& factors, const FactorsOf& factors_of);

  // d, at least where cliques are new, and below them as far as it changes by more than `threshold`.
  // Returns the number of variables solved for; calls solved(variable) for each that took a new value.
  template <typename Solved>
  int solve(double threshold, Solved solved);

  int clique_of(int variable) const { return nodes_[variable].clique; }
  int dof(int variable) const { return nodes_[variable].dof; }
  double* delta(int variable) { return delta_.data() + nodes_[variable].start; }
  const double* delta(int variable) const { return delta_.data() + nodes_[variable].start; }

  // The least value of the quadratic cost.
  double cost() const;

  // H^-1 of some variables, (D x D) row-major with D the sum of their dofs.
  std::vector<double> covariance(const std::vector<int>& variables) const;

  int affected() const { return affected_; }       // variables eliminated by the last refactorization
  int created() const { return int(created_.size()); }
  int64_t cliques() const { return int64_t(cliques_.size()) - int64_t(free_.size()); }

 private:
  struct Node {
    int dof, start, clique;
  };
  struct Part;

  Part collect(const Change& change, const std::vector<Factor>& factors);
  void plan(const Change& change, const std::vector<Factor>& factors, Part& part);
  int eliminate(const std::vector<Factor>& factors, const FactorsOf& factors_of, const std::vector<int>& orphans,
                Clique& clique);
  void add_factor(const Factor& factor, Clique& clique) const;
  void add_complement(const Clique& child, Clique& parent) const;
  void commit(const Part& part, std::vector<Factor>& factors);
  int new_clique();
  void free_clique(int clique);
  bool back_substitute(Clique& clique, double threshold);

  std::vector<Node> nodes_;
  std::vector<double> delta_;
  std::vector<std::unique_ptr<Clique>> cliques_;
  std::vector<int> free_, roots_, created_;
  int affected_ = 0;
  mutable std::vector<int> at_;                    // scratch: of a variable, its row in the front at work
  std::vector<int> local_;                         // scratch: of a variable, its number in the part at work
  std::vector<int> clique_mark_, changed_;         // stamps, of cliques and of variables
  int stamp_ = 0;
  std::vector<double> front_, floor_;              // scratch of back_substitute and eliminate
};

template <typename Solved>
int BayesTree::solve(double threshold, Solved solved) {
  ++stamp_;
  std::vector<int> stack;
  for (int c : roots_)
    if (cliques_[c]->fresh) stack.push_back(c);
  int count = 0;
  while (!stack.empty()) {
    Clique& clique = *cliques_[stack.back()];
    stack.pop_back();
    count += int(clique.columns.size());
    if (!back_substitute(clique, threshold)) continue;
    for (int v : clique.columns) solved(v);
    for (int c : clique.children) {
      const Clique& child = *cliques_[c];
      bool wanted = clique.fresh;
      for (size_t k = 0; k < child.rows.size() && !wanted; ++k) wanted = changed_[child.rows[k]] == stamp_;
      if (wanted) stack.push_back(c);
    }
  }
  for (int c : created_) cliques_[c]->fresh = false;
  return count;
}

}  // namespace pypose::incremental
