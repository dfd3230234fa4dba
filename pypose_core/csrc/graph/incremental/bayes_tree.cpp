#include "graph/incremental/bayes_tree.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "linalg/amalgamate.h"
#include "linalg/dense_kernels.h"
#include "linalg/minimum_degree.h"

namespace pypose::incremental {

// The part of the tree that is eliminated anew.
struct BayesTree::Part {
  std::vector<int> removed;                   // cliques
  std::vector<int> orphans;                   // children of removed cliques that stay
  std::vector<int> variables, factors;
  std::vector<int> created;                   // cliques, children before parents
  std::vector<std::vector<int>> orphans_of;   // of each created clique
};

void BayesTree::add_variable(int dof) {
  nodes_.push_back({dof, int(delta_.size()), -1});
  delta_.resize(delta_.size() + dof, 0.0);
  at_.push_back(-1), local_.push_back(-1), changed_.push_back(0);
}

void BayesTree::drop_variables(int count) {
  for (; count > 0; --count) {
    delta_.resize(nodes_.back().start);
    nodes_.pop_back(), at_.pop_back(), local_.pop_back(), changed_.pop_back();
  }
}

int BayesTree::new_clique() {
  if (free_.empty()) {
    cliques_.push_back(std::make_unique<Clique>());
    clique_mark_.push_back(0);
    return int(cliques_.size()) - 1;
  }
  const int c = free_.back();
  free_.pop_back();
  cliques_[c] = std::make_unique<Clique>();
  return c;
}

void BayesTree::free_clique(int clique) {
  cliques_[clique].reset();
  free_.push_back(clique);
}

BayesTree::Part BayesTree::collect(const Change& change, const std::vector<Factor>& factors) {
  Part part;
  ++stamp_;
  for (int c : change.cliques)
    for (; c >= 0 && clique_mark_[c] != stamp_; c = cliques_[c]->parent) {
      clique_mark_[c] = stamp_;
      part.removed.push_back(c);
    }
  for (int c : part.removed) {
    const Clique& clique = *cliques_[c];
    part.variables.insert(part.variables.end(), clique.columns.begin(), clique.columns.end());
    for (int f : clique.factors)
      if (factors[f].alive) part.factors.push_back(f);
    for (int child : clique.children)
      if (clique_mark_[child] != stamp_) part.orphans.push_back(child);
  }
  for (int v : change.variables)
    if (nodes_[v].dof) part.variables.push_back(v);
  for (int f : change.factors)
    if (std::any_of(factors[f].variables.begin(), factors[f].variables.end(), [&](int v) { return nodes_[v].dof; }))
      part.factors.push_back(f);
  return part;
}

void BayesTree::plan(const Change& change, const std::vector<Factor>& factors, Part& part) {
  const int n = int(part.variables.size());
  for (int k = 0; k < n; ++k) local_[part.variables[k]] = k;

  // Who is coupled with whom: by factors pair by pair, by orphans all of their rows.
  std::vector<std::pair<int, int>> pairs;
  pairs.reserve(2 * part.factors.size());
  for (int f : part.factors) {
    const std::vector<int>& v = factors[f].variables;
    for (size_t a = 0; a < v.size(); ++a)
      for (size_t b = 0; b < a; ++b)
        if (nodes_[v[a]].dof && nodes_[v[b]].dof) {
          pairs.push_back({local_[v[a]], local_[v[b]]});
          pairs.push_back({local_[v[b]], local_[v[a]]});
        }
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  Graph graph;
  graph.begin.assign(n + 1, 0);
  graph.to.reserve(pairs.size());
  for (const auto& [i, j] : pairs) ++graph.begin[i + 1], graph.to.push_back(j);
  std::partial_sum(graph.begin.begin(), graph.begin.end(), graph.begin.begin());
  std::vector<std::vector<int>> elements;
  elements.reserve(part.orphans.size());
  for (int c : part.orphans) {
    elements.emplace_back();
    for (int v : cliques_[c]->rows) elements.back().push_back(local_[v]);
  }
  std::vector<int> weight(n);
  for (int k = 0; k < n; ++k) weight[k] = nodes_[part.variables[k]].dof;
  std::vector<char> last(n, 0);
  for (int v : change.last)
    if (nodes_[v].dof) last[local_[v]] = 1;
  const std::vector<Eliminated> eliminated = minimum_degree_fronts(graph, weight, elements, last);

  // The tree of the fronts, then of the cliques that they are merged to.
  const int count = int(eliminated.size());
  std::vector<int> front_of(n), parent(count, -1), order(count);
  std::vector<double> width(count, 0), below(count, 0);
  for (int k = 0; k < count; ++k)
    for (int i : eliminated[k].columns) front_of[i] = k, width[k] += weight[i];
  for (int k = 0; k < count; ++k) {
    order[k] = k;
    for (int i : eliminated[k].rows) {
      below[k] += weight[i];
      if (parent[k] < 0 || front_of[i] < parent[k]) parent[k] = front_of[i];
    }
  }
  const std::vector<Front> fronts = amalgamate(parent, order, width, below);

  std::vector<int> clique_of(count, -1), rank(n), place(n);
  int next = 0;
  for (int k = 0; k < count; ++k) {
    if (fronts[k].columns.empty()) continue;
    const int c = new_clique();
    Clique& clique = *cliques_[c];
    clique.fresh = true;
    clique_of[k] = c;
    const int created = int(part.created.size());
    part.created.push_back(c);
    for (int front : fronts[k].columns)
      for (int i : eliminated[front].columns) {
        clique.columns.push_back(part.variables[i]);
        clique.width += weight[i];
        rank[i] = next++;
        place[i] = created;
      }
    for (int child : fronts[k].children) {
      clique.children.push_back(clique_of[child]);
      cliques_[clique_of[child]]->parent = c;
    }
  }
  for (int k = 0; k < count; ++k) {
    if (clique_of[k] < 0) continue;
    Clique& clique = *cliques_[clique_of[k]];
    std::vector<int> rows = eliminated[k].rows;
    std::sort(rows.begin(), rows.end(), [&](int a, int b) { return rank[a] < rank[b]; });
    for (int i : rows) clique.rows.push_back(part.variables[i]), clique.below += weight[i];
  }
  // Factors and orphans enter where the first of their variables is eliminated.
  const auto first = [&](const std::vector<int>& variables) {
    int best = -1;
    for (int v : variables)
      if (nodes_[v].dof && (best < 0 || rank[local_[v]] < rank[best])) best = local_[v];
    return place[best];
  };
  for (int f : part.factors) cliques_[part.created[first(factors[f].variables)]]->factors.push_back(f);
  part.orphans_of.resize(part.created.size());
  for (int c : part.orphans)
    if (!cliques_[c]->rows.empty()) part.orphans_of[first(cliques_[c]->rows)].push_back(c);
}

int BayesTree::refactorize(const Change& change, std::vector<Factor>& factors, const FactorsOf& factors_of) {
  Part part = collect(change, factors);
  plan(change, factors, part);
  int failed = -1;
  for (size_t k = 0; k < part.created.size() && failed < 0; ++k)
    failed = eliminate(factors, factors_of, part.orphans_of[k], *cliques_[part.created[k]]);
  if (failed >= 0) {
    for (int c : part.created) free_clique(c);
    return failed;
  }
  commit(part, factors);
  return -1;
}

void BayesTree::commit(const Part& part, std::vector<Factor>& factors) {
  const auto gone = [&](int c) { return clique_mark_[c] == stamp_; };
  roots_.erase(std::remove_if(roots_.begin(), roots_.end(), gone), roots_.end());
  for (size_t k = 0; k < part.created.size(); ++k) {
    const int c = part.created[k];
    Clique& clique = *cliques_[c];
    for (int v : clique.columns) nodes_[v].clique = c;
    for (int f : clique.factors) factors[f].clique = c;
    for (int orphan : part.orphans_of[k]) {
      clique.children.push_back(orphan);
      cliques_[orphan]->parent = c;
    }
    if (clique.parent < 0) roots_.push_back(c);
  }
  for (int c : part.removed) free_clique(c);
  affected_ = int(part.variables.size());
  created_ = part.created;
}

double BayesTree::cost() const {
  double sum = 0;
  for (int c : roots_) sum += *cliques_[c]->complement();
  return sum;
}

}  // namespace pypose::incremental
