#include "graph/incremental/incremental_graph.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace pypose::incremental {

int IncrementalGraph::add_set(Manifold manifold, int storage, int dof, int rotation, int rotation_end) {
  sets_.push_back({manifold, storage, dof, rotation, rotation_end, {}, {}});
  return int(sets_.size()) - 1;
}

void IncrementalGraph::add_variable(int set, const double* value, bool held) {
  Set& s = sets_[set];
  const int v = int(variables_.size());
  variables_.push_back({set, int(s.variables.size()), held, false, {}});
  s.variables.push_back(v);
  s.point.insert(s.point.end(), value, value + s.storage);
  tree_.add_variable(held ? 0 : s.dof);
  root_.push_back(v);
  anchored_.push_back(held);
}

int IncrementalGraph::add_factor(Factor factor) {
  const int id = int(factors_.size());
  for (int v : factor.variables) {
    variables_[v].factors.push_back(id);
    factor.dofs.push_back(sets_[variables_[v].set].dof);
  }
  factors_.push_back(std::move(factor));
  return id;
}

void IncrementalGraph::remove_factor(int id) {
  factors_[id].alive = false;
  removed_.push_back(id);
}

void IncrementalGraph::move(int variable, const double* value) {
  moves_.push_back({variable, {value, value + sets_[variables_[variable].set].storage}});
}

void IncrementalGraph::set_point(int variable, const double* value) {
  const Set& set = sets_[variables_[variable].set];
  double* at = point(variable);
  const int dof = tree_.dof(variable);
  moved_variables_.push_back({variable, {at, at + set.storage}, {tree_.delta(variable), tree_.delta(variable) + dof}});
  std::copy_n(value, set.storage, at);
  std::fill_n(tree_.delta(variable), dof, 0.0);
}

void IncrementalGraph::linearize_native(int f) {
  Factor& factor = factors_[f];
  const double* x[2];
  for (size_t k = 0; k < factor.variables.size(); ++k) x[k] = std::as_const(*this).point(factor.variables[k]);
  linearize(sets_[variables_[factor.variables[0]].set].manifold, x, factor);
}

std::vector<int> IncrementalGraph::begin(double threshold) {
  std::vector<double> value;
  if (moves_.empty()) {
    for (int v : far_) {
      variables_[v].far = false;
      const double* d = tree_.delta(v);
      const int dof = tree_.dof(v);
      if (!std::any_of(d, d + dof, [&](double x) { return std::abs(x) > threshold; })) continue;
      value.resize(sets_[variables_[v].set].storage);
      retract(sets_[variables_[v].set].manifold, dof, std::as_const(*this).point(v), d, value.data());
      set_point(v, value.data());
    }
    far_.clear();
  }
  for (const auto& [v, point] : moves_) set_point(v, point.data());
  moves_.clear();

  for (const MovedVariable& moved : moved_variables_)
    for (int f : variables_[moved.variable].factors)
      if (f < committed_factors_ && factors_[f].alive) refreshed_.push_back(f);
  std::sort(refreshed_.begin(), refreshed_.end());
  refreshed_.erase(std::unique(refreshed_.begin(), refreshed_.end()), refreshed_.end());
  std::vector<int> external;
  for (int f : refreshed_) {
    moved_factors_.push_back({f, std::move(factors_[f].linear)});
    if (factors_[f].model == Model::kExternal) external.push_back(f);
    else linearize_native(f);
  }
  for (int f = committed_factors_; f < int(factors_.size()); ++f) {
    if (factors_[f].model == Model::kExternal) external.push_back(f);
    else linearize_native(f);
  }
  return external;
}

Update IncrementalGraph::finish(double threshold, double wildfire_threshold) {
  Update update;
  std::vector<int> added(factors_.size() - committed_factors_);
  std::iota(added.begin(), added.end(), committed_factors_);
  const auto fail = [&](Outcome outcome, int variable) {
    update.outcome = outcome;
    update.set = variables_[variable].set, update.index = variables_[variable].index;
    abandon();
    return update;
  };
  for (const std::vector<int>* ids : {&std::as_const(refreshed_), &std::as_const(added)})
    for (int f : *ids)
      if (!factors_[f].linear.finite()) return fail(Outcome::kNotFinite, factors_[f].variables.back());

  Change change;
  for (int v = committed_variables_; v < int(variables_.size()); ++v) change.variables.push_back(v);
  for (const std::vector<int>* ids : {&refreshed_, &removed_})
    for (int f : *ids)
      if (factors_[f].clique >= 0) change.cliques.push_back(factors_[f].clique);
  change.factors = added;
  for (int f : added) {
    join(factors_[f]);
    for (int v : factors_[f].variables) {
      change.last.push_back(v);
      if (tree_.clique_of(v) >= 0) change.cliques.push_back(tree_.clique_of(v));
    }
  }
  if (!removed_.empty()) rebuild_components();
  if (const int loose = first_unanchored(); loose >= 0) return fail(Outcome::kUnanchored, loose);

  if (!change.cliques.empty() || !change.variables.empty()) {
    const int failed = tree_.refactorize(change, factors_, [&](int v) -> const std::vector<int>& {
      return variables_[v].factors;
    });
    if (failed >= 0) return fail(Outcome::kNotPositiveDefinite, failed);
    update.affected = tree_.affected();
    update.cliques = tree_.created();
    update.solved = tree_.solve(wildfire_threshold, [&](int v) {
      const double* d = tree_.delta(v);
      if (variables_[v].far || !std::any_of(d, d + tree_.dof(v), [&](double x) { return std::abs(x) > threshold; }))
        return;
      variables_[v].far = true;
      far_.push_back(v);
    });
  }
  update.relinearized = int(moved_variables_.size());
  update.linearized = int(refreshed_.size() + added.size());
  commit();
  return update;
}

void IncrementalGraph::commit() {
  for (int f : removed_) {
    for (int v : factors_[f].variables) {
      std::vector<int>& list = variables_[v].factors;
      list.erase(std::find(list.begin(), list.end(), f));
    }
    Factor empty{};
    empty.alive = false;
    factors_[f] = std::move(empty);
  }
  committed_variables_ = int(variables_.size());
  committed_factors_ = int(factors_.size());
  removed_.clear(), refreshed_.clear(), moved_variables_.clear(), moved_factors_.clear();
}

void IncrementalGraph::abandon() {
  for (int f : removed_) factors_[f].alive = true;
  for (MovedFactor& moved : moved_factors_) factors_[moved.factor].linear = std::move(moved.linear);
  while (int(factors_.size()) > committed_factors_) {
    for (int v : factors_.back().variables) variables_[v].factors.pop_back();
    factors_.pop_back();
  }
  for (auto moved = moved_variables_.rbegin(); moved != moved_variables_.rend(); ++moved) {
    const int v = moved->variable;
    std::copy(moved->point.begin(), moved->point.end(), point(v));
    std::copy(moved->delta.begin(), moved->delta.end(), tree_.delta(v));
    if (!variables_[v].far) variables_[v].far = true, far_.push_back(v);
  }
  tree_.drop_variables(int(variables_.size()) - committed_variables_);
  while (int(variables_.size()) > committed_variables_) {
    Set& set = sets_[variables_.back().set];
    set.variables.pop_back();
    set.point.resize(set.point.size() - set.storage);
    variables_.pop_back();
  }
  moves_.clear(), removed_.clear(), refreshed_.clear(), moved_variables_.clear(), moved_factors_.clear();
  rebuild_components();
}

int IncrementalGraph::find(int v) {
  while (root_[v] != v) v = root_[v] = root_[root_[v]];   // the path is halved
  return v;
}

void IncrementalGraph::join(const Factor& factor) {
  const int a = find(factor.variables[0]);
  for (int v : factor.variables) {
    const int b = find(v);
    anchored_[a] = anchored_[a] || anchored_[b];
    root_[b] = a;
  }
  if (factor.absolute) anchored_[a] = true;
}

void IncrementalGraph::rebuild_components() {
  root_.resize(variables_.size());
  anchored_.resize(variables_.size());
  for (size_t v = 0; v < variables_.size(); ++v) root_[v] = int(v), anchored_[v] = variables_[v].held;
  for (const Factor& factor : factors_)
    if (factor.alive) join(factor);
}

int IncrementalGraph::first_unanchored() {
  // Only what is new can have come loose, unless something was removed.
  for (int v = removed_.empty() ? committed_variables_ : 0; v < int(variables_.size()); ++v)
    if (!anchored_[find(v)]) return v;
  return -1;
}

void IncrementalGraph::estimate(int v, double* out) const {
  const Set& set = sets_[variables_[v].set];
  if (tree_.dof(v)) retract(set.manifold, set.dof, point(v), tree_.delta(v), out);
  else std::copy_n(point(v), set.storage, out);
}

}  // namespace pypose::incremental
