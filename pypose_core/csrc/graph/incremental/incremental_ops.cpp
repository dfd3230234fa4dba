// torch.classes.pypose.IncrementalGraph: the graph as an object with methods, whose calls cost microseconds (an operator
// that takes such an object costs 20). torch releases the GIL around them; a mutex lets other threads read between
// updates.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <cmath>
#include <mutex>

#include "graph/incremental/incremental_graph.h"

namespace pypose::incremental {
namespace {

struct GraphObject : torch::CustomClassHolder {
  IncrementalGraph graph;
  std::mutex mutex;
};

using GraphPtr = c10::intrusive_ptr<GraphObject>;
using Lock = std::lock_guard<std::mutex>;

at::Tensor checked(const at::Tensor& t, at::ScalarType type, at::IntArrayRef shape, const char* name) {
  TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == type, name, " must be a ", toString(type),
              " tensor on the CPU; it is ", toString(t.scalar_type()), " on ", t.device());
  TORCH_CHECK(t.sizes() == shape, name, " must have shape ", shape, "; it has ", t.sizes());
  return t.contiguous();
}

const Set& checked_set(const IncrementalGraph& graph, int64_t set) {
  TORCH_CHECK(0 <= set && set < int64_t(graph.sets().size()), "there is no set ", set);
  return graph.sets()[set];
}

int checked_variable(const Set& set, int64_t index) {
  TORCH_CHECK(0 <= index && index < int64_t(set.variables.size()), "there is no variable ", index, " among ",
              set.variables.size());
  return set.variables[index];
}

Factor& checked_factor(IncrementalGraph& graph, int64_t id) {
  TORCH_CHECK(0 <= id && id < int64_t(graph.factors().size()) && graph.factors()[id].alive, "there is no factor ", id);
  return graph.factors()[id];
}

at::Tensor to_tensor(const std::vector<int>& values) {
  at::Tensor out = at::empty({int64_t(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<int64_t>());
  return out;
}

at::Tensor rows(const std::vector<double>& values, at::IntArrayRef shape) {
  at::Tensor out = at::empty(shape, at::kDouble);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<double>());
  return out;
}

int64_t add_set(const GraphPtr& self, int64_t manifold, int64_t storage, int64_t dof, int64_t rotation,
                            int64_t rotation_end) {
  const Lock lock(self->mutex);
  TORCH_CHECK(0 <= manifold && manifold <= int64_t(Manifold::kEuclidean) && storage > 0 && dof > 0 && 0 <= rotation &&
              rotation <= rotation_end && rotation_end <= storage, "no such set");
  return self->graph.add_set(Manifold(manifold), int(storage), int(dof), int(rotation), int(rotation_end));
}

// Rotations are normalised. Returns the row that is not finite or has no rotation, or -1.
int64_t add_variables(const GraphPtr& self, int64_t set_, const at::Tensor& values_, at::IntArrayRef held) {
  const Lock lock(self->mutex);
  const Set& set = checked_set(self->graph, set_);
  const int64_t M = values_.size(0), S = set.storage;
  const at::Tensor values = checked(values_, at::kDouble, {M, S}, "values");
  std::vector<char> hold(M, 0);
  for (int64_t k : held) {
    TORCH_CHECK(0 <= k && k < M, "there is no new variable ", k);
    hold[k] = 1;
  }
  std::vector<double> row(S);
  for (int64_t k = 0; k < M; ++k) {
    std::copy_n(values.const_data_ptr<double>() + k * S, S, row.begin());
    double square = 0;
    for (int j = set.rotation; j < set.rotation_end; ++j) square += row[j] * row[j];
    for (int j = set.rotation; j < set.rotation_end; ++j) row[j] /= std::sqrt(square);
    for (double x : row)
      if (!std::isfinite(x)) return k;
    self->graph.add_variable(int(set_), row.data(), hold[k]);
  }
  return -1;
}

// Returns the id of the first; those of the others follow.
int64_t add_factors(const GraphPtr& self, int64_t model_, at::IntArrayRef sets, const at::Tensor& index_,
                                const at::Tensor& measured_, const at::Tensor& information_, const at::Tensor& weight_,
                                int64_t kernel, double width, bool absolute) {
  const Lock lock(self->mutex);
  IncrementalGraph& graph = self->graph;
  TORCH_CHECK(0 <= model_ && model_ <= int64_t(Model::kExternal), "no such factors");
  const Model model = Model(model_);
  const int64_t V = int64_t(sets.size()), M = index_.size(0), first = int64_t(graph.factors().size());
  TORCH_CHECK(model == Model::kExternal || (V == (model == Model::kBetween ? 2 : 1) && sets[0] == sets[V - 1]),
              "a factor of this kind cannot have ", V, " variables");
  TORCH_CHECK(0 <= kernel && kernel < int64_t(Kernel::kCount) && (kernel == 0 || width > 0), "no robust kernel ",
              kernel, " of width ", width);
  const at::Tensor index = checked(index_, at::kLong, {M, V}, "index");
  const Set& set = checked_set(graph, sets[0]);
  const bool native = model != Model::kExternal;
  const at::Tensor measured = checked(measured_, at::kDouble, {native ? M : 0, native ? set.storage : 0}, "measured");
  const int64_t d = native ? set.dof : 0;
  const at::Tensor information = checked(information_, at::kDouble, {native ? M : 0, d, d}, "information");
  const at::Tensor weight = weight_.numel() ? checked(weight_, at::kDouble, {M}, "weight") : weight_;
  const int64_t* p = index.const_data_ptr<int64_t>();
  for (int64_t k = 0; k < M * V; ++k) checked_variable(checked_set(graph, sets[k % V]), p[k]);
  for (int64_t f = 0; f < M; ++f, p += V) {
    Factor factor{};
    factor.model = model, factor.kernel = Kernel(kernel), factor.width = width;
    factor.absolute = absolute;
    factor.weight = weight.numel() ? weight.const_data_ptr<double>()[f] : 1;
    for (int64_t v = 0; v < V; ++v) factor.variables.push_back(graph.sets()[sets[v]].variables[p[v]]);
    if (native) {
      const double* Z = measured.const_data_ptr<double>() + f * set.storage;
      const double* Omega = information.const_data_ptr<double>() + f * d * d;
      factor.measured.assign(Z, Z + set.storage);
      factor.information.assign(Omega, Omega + d * d);
    }
    graph.add_factor(std::move(factor));
  }
  return first;
}

void remove(const GraphPtr& self, const at::Tensor& ids_) {
  const Lock lock(self->mutex);
  const at::Tensor ids = checked(ids_, at::kLong, {ids_.numel()}, "ids");
  for (int64_t k = 0; k < ids.numel(); ++k) {
    const int64_t id = ids.const_data_ptr<int64_t>()[k];
    checked_factor(self->graph, id);
    TORCH_CHECK(id < self->graph.committed_factors(), "factor ", id, " is not yet part of the graph");
    self->graph.remove_factor(int(id));
  }
}

// Linearization points for all variables of a set.
void move(const GraphPtr& self, int64_t set_, const at::Tensor& values_) {
  const Lock lock(self->mutex);
  const Set& set = checked_set(self->graph, set_);
  const at::Tensor values = checked(values_, at::kDouble, {int64_t(set.variables.size()), set.storage}, "values");
  for (size_t k = 0; k < set.variables.size(); ++k)
    self->graph.move(set.variables[k], values.const_data_ptr<double>() + k * set.storage);
}

using Report = std::tuple<at::Tensor, std::vector<int64_t>, double>;

Report finish(IncrementalGraph& graph, double threshold, double wildfire) {
  const Update u = graph.finish(threshold, wildfire);
  const BayesTree& tree = graph.tree();
  return {to_tensor({}), {int64_t(u.outcome), u.set, u.index, u.affected, u.relinearized, u.linearized, u.solved,
                          u.cliques, tree.cliques()}, tree.cost()};
}

// (factors that wait for assemble, numbers of the update, cost of the linearized factors); while factors
// wait the numbers are empty, and finish_update has to follow.
Report update(const GraphPtr& self, double threshold, double wildfire) {
  const Lock lock(self->mutex);
  const std::vector<int> external = self->graph.begin(threshold);
  if (!external.empty()) return {to_tensor(external), {}, 0};
  return finish(self->graph, threshold, wildfire);
}

Report finish_update(const GraphPtr& self, double threshold, double wildfire) {
  const Lock lock(self->mutex);
  return finish(self->graph, threshold, wildfire);
}

void abandon(const GraphPtr& self) {
  const Lock lock(self->mutex);
  self->graph.abandon();
}

// Whitened residuals (M, e) and Jacobians (M, e, D) of factors at the linearization points.
void assemble_external(const GraphPtr& self, const at::Tensor& ids_, const at::Tensor& r_, const at::Tensor& J_) {
  const Lock lock(self->mutex);
  const int64_t M = ids_.numel(), e = r_.size(1);
  const at::Tensor ids = checked(ids_, at::kLong, {M}, "ids"), r = checked(r_, at::kDouble, {M, e}, "r");
  for (int64_t k = 0; k < M; ++k) {
    Factor& factor = checked_factor(self->graph, ids.const_data_ptr<int64_t>()[k]);
    TORCH_CHECK(factor.model == Model::kExternal, "factor ", ids.const_data_ptr<int64_t>()[k], " is linearized here");
    const int64_t D = factor.dof();
    const at::Tensor J = checked(J_, at::kDouble, {M, e, D}, "J");
    assemble(int(e), r.const_data_ptr<double>() + k * e, J.const_data_ptr<double>() + k * e * D, factor);
  }
}

int64_t committed(const IncrementalGraph& graph, const Set& set) {
  int64_t count = int64_t(set.variables.size());
  while (count && set.variables[count - 1] >= graph.committed_variables()) --count;
  return count;
}

// (M, storage) of variables of a set, of all where `index` is None; at the estimate, or where factors are linearized.
at::Tensor values(const GraphPtr& self, int64_t set_, const std::optional<at::Tensor>& index_, bool estimate) {
  const Lock lock(self->mutex);
  const IncrementalGraph& graph = self->graph;
  const Set& set = checked_set(graph, set_);
  const int64_t count = estimate ? committed(graph, set) : int64_t(set.variables.size());
  at::Tensor index;
  if (index_) index = checked(*index_, at::kLong, {index_->numel()}, "index");
  const int64_t M = index_ ? index.numel() : count;
  at::Tensor out = at::empty({M, set.storage}, at::kDouble);
  for (int64_t k = 0; k < M; ++k) {
    const int64_t at = index_ ? index.const_data_ptr<int64_t>()[k] : k;
    TORCH_CHECK(0 <= at && at < count, "there is no variable ", at, " among ", count);
    double* to = out.mutable_data_ptr<double>() + k * set.storage;
    if (estimate) graph.estimate(set.variables[at], to);
    else std::copy_n(graph.point(set.variables[at]), set.storage, to);
  }
  return out;
}

// (storage,) of one variable at the estimate.
at::Tensor value(const GraphPtr& self, int64_t set_, int64_t index) {
  const Lock lock(self->mutex);
  const Set& set = checked_set(self->graph, set_);
  const int64_t count = committed(self->graph, set);
  TORCH_CHECK(0 <= index && index < count, "there is no variable ", index, " among ", count);
  at::Tensor out = at::empty({set.storage}, at::kDouble);
  self->graph.estimate(set.variables[index], out.mutable_data_ptr<double>());
  return out;
}

// Joint covariance of variables given by set and index; held ones have no rows.
at::Tensor covariance(const GraphPtr& self, at::IntArrayRef sets, at::IntArrayRef index) {
  const Lock lock(self->mutex);
  std::vector<int> variables;
  int64_t D = 0;
  for (size_t k = 0; k < sets.size(); ++k) {
    variables.push_back(checked_variable(checked_set(self->graph, sets[k]), index[k]));
    TORCH_CHECK(variables.back() < self->graph.committed_variables(), "variable ", index[k], " is not in the graph");
    D += self->graph.tree().dof(variables.back());
  }
  return rows(self->graph.tree().covariance(variables), {D, D});
}

// Native factors of one model on one set: (index, measured, information, weight, kernel, width).
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> native_factors(
    const GraphPtr& self, int64_t model, int64_t set_) {
  const Lock lock(self->mutex);
  const IncrementalGraph& graph = self->graph;
  const Set& set = checked_set(graph, set_);
  std::vector<int> index, kernel;
  std::vector<double> measured, information, weight, width;
  for (int f = 0; f < graph.committed_factors(); ++f) {
    const Factor& factor = graph.factors()[f];
    if (!factor.alive || factor.model != Model(model) || graph.variable(factor.variables[0]).set != set_) continue;
    for (int v : factor.variables) index.push_back(graph.variable(v).index);
    measured.insert(measured.end(), factor.measured.begin(), factor.measured.end());
    information.insert(information.end(), factor.information.begin(), factor.information.end());
    weight.push_back(factor.weight), width.push_back(factor.width), kernel.push_back(int(factor.kernel));
  }
  const int64_t M = int64_t(weight.size()), V = Model(model) == Model::kBetween ? 2 : 1, d = set.dof;
  return {to_tensor(index).view({M, V}), rows(measured, {M, set.storage}), rows(information, {M, d, d}),
          rows(weight, {M}), to_tensor(kernel), rows(width, {M})};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.class_<GraphObject>("IncrementalGraph")
      .def(torch::init<>())
      .def("add_set", &add_set)
      .def("add_variables", &add_variables)
      .def("add_factors", &add_factors)
      .def("remove", &remove)
      .def("move", &move)
      .def("update", &update)
      .def("finish", &finish_update)
      .def("abandon", &abandon)
      .def("assemble", &assemble_external)
      .def("values", &values)
      .def("value", &value)
      .def("covariance", &covariance)
      .def("factors", &native_factors);
}

}  // namespace pypose::incremental
