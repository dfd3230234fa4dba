// torch.ops.pypose.graph_small_parts: a graph of poses that falls apart into many small ones, solved part by part.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <map>
#include <numeric>

#include "graph/se2_factor.h"
#include "graph/se3_factor.h"
#include "graph/small_graphs.h"

namespace pypose {
namespace {

at::Tensor checked(const at::Tensor& t, at::ScalarType type, at::IntArrayRef shape, const char* name) {
  TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == type, name, " must be a ", toString(type),
              " tensor on the CPU; it is ", toString(t.scalar_type()), " on ", t.device());
  TORCH_CHECK(t.sizes() == shape, name, " must have shape ", shape, "; it has ", t.sizes());
  return t.contiguous();
}

// Of each of N nodes, the first of its connected part.
class Parts {
 public:
  explicit Parts(int64_t nodes) : root_(nodes) { std::iota(root_.begin(), root_.end(), 0); }
  int64_t find(int64_t i) {
    while (root_[i] != i) i = root_[i] = root_[root_[i]];   // the path is halved
    return i;
  }
  void join(int64_t a, int64_t b) {
    a = find(a), b = find(b);
    root_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<int64_t> root_;
};

// Numbers of each part that has variables to solve for: (first variable, status, iterations, variable without a
// positive pivot or -1; cost at the start, cost, chi2).
using Solved = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

// `kernel`, `width`: of each batch of factors. Nothing is solved, and no part returned, where a part has more than
// `largest` poses, or neither a held pose nor a prior.
Solved graph_small_parts(const at::Tensor& X_, const at::Tensor& held_, const std::vector<at::Tensor>& index,
                         const std::vector<at::Tensor>& measured, const std::vector<at::Tensor>& information,
                         const std::vector<at::Tensor>& weight, at::IntArrayRef kernel, at::ArrayRef<double> width,
                         int64_t largest, int64_t max_iterations, at::ArrayRef<double> options) {
  const int64_t N = X_.size(0), S = X_.size(1), batches = int64_t(index.size());
  TORCH_CHECK(S == Se3::kStorage || S == Se2::kStorage, "no group of storage ", S);
  TORCH_CHECK(options.size() == 4, "four options are wanted");
  const bool spatial = S == Se3::kStorage;
  const int64_t D = spatial ? Se3::kDof : Se2::kDof;
  at::Tensor X = checked(X_, at::kDouble, {N, S}, "variables").clone();
  const at::Tensor held = checked(held_, at::kBool, {N}, "held");
  const bool* is_held = held.const_data_ptr<bool>();
  std::vector<at::Tensor> kept;     // contiguous copies live as long as the pointers into them
  Parts parts(N);
  std::vector<char> anchored(N, 0);
  struct Batch {
    const int64_t* index;
    const double *measured, *information, *weight;
    int64_t count, positions;
  };
  std::vector<Batch> data;
  for (int64_t b = 0; b < batches; ++b) {
    const int64_t M = index[b].size(0), V = index[b].size(1);
    TORCH_CHECK((V == 1 || V == 2) && kernel[b] >= 0 && kernel[b] < int64_t(Kernel::kCount), "batch ", b,
                " is not of priors or pairs, or its kernel is unknown");
    kept.push_back(checked(index[b], at::kLong, {M, V}, "index"));
    kept.push_back(checked(measured[b], at::kDouble, {M, S}, "measured"));
    kept.push_back(checked(information[b], at::kDouble, {M, D, D}, "information"));
    if (weight[b].numel()) kept.push_back(checked(weight[b], at::kDouble, {M}, "weight"));
    const size_t at = kept.size() - 3 - (weight[b].numel() ? 1 : 0);
    data.push_back({kept[at].const_data_ptr<int64_t>(), kept[at + 1].const_data_ptr<double>(),
                    kept[at + 2].const_data_ptr<double>(),
                    weight[b].numel() ? kept[at + 3].const_data_ptr<double>() : nullptr, M, V});
    const int64_t* p = data.back().index;
    for (int64_t f = 0; f < M; ++f, p += V) {
      for (int64_t v = 0; v < V; ++v)
        TORCH_CHECK(0 <= p[v] && p[v] < N, "factor ", f, " names variable ", p[v], " of ", N);
      if (V == 1) anchored[p[0]] = 1;
      else parts.join(p[0], p[1]);
    }
  }

  // Which part a variable is in, its number there, and what the parts look like.
  std::vector<int64_t> part_of(N), local(N), first;
  std::vector<SmallStructure> structure;
  std::vector<SmallGraph> graphs;
  std::vector<char> safe, free;
  double* x = X.mutable_data_ptr<double>();
  for (int64_t i = 0; i < N; ++i) {
    const int64_t root = parts.find(i);
    if (root == i) {
      part_of[i] = int64_t(first.size());
      first.push_back(i);
      structure.emplace_back(), graphs.emplace_back(), safe.push_back(0), free.push_back(0);
    }
    const int64_t part = part_of[i] = part_of[root];
    local[i] = int64_t(graphs[part].pose.size());
    graphs[part].pose.push_back(x + i * S);
    structure[part].held.push_back(is_held[i]);
    if (is_held[i] || anchored[i]) safe[part] = 1;
    if (!is_held[i]) free[part] = 1;
    if (int64_t(graphs[part].pose.size()) > largest) return {at::empty({0, 4}, at::kLong), at::empty({0, 3}), X};
  }
  if (std::find(safe.begin(), safe.end(), 0) != safe.end())
    return {at::empty({0, 4}, at::kLong), at::empty({0, 3}), X};
  for (int64_t b = 0; b < batches; ++b) {
    const Batch& batch = data[b];
    const int64_t* p = batch.index;
    for (int64_t f = 0; f < batch.count; ++f, p += batch.positions) {
      const int64_t part = part_of[p[0]];
      structure[part].factors.push_back({int(local[p[0]]), batch.positions == 2 ? int(local[p[1]]) : -1,
                                         Kernel(kernel[b]), width[b]});
      graphs[part].measured.push_back(batch.measured + f * S);
      graphs[part].information.push_back(batch.information + f * D * D);
      graphs[part].weight.push_back(batch.weight ? batch.weight[f] : 1.0);
    }
  }

  // Parts of the same structure are solved together.
  std::map<SmallStructure, std::vector<SmallGraph*>> alike;
  for (size_t part = 0; part < graphs.size(); ++part)
    if (free[part]) alike[std::move(structure[part])].push_back(&graphs[part]);
  std::vector<std::pair<const SmallStructure*, std::vector<SmallGraph*>>> work;
  constexpr size_t kChunk = 64;
  for (auto& [one, members] : alike)
    for (size_t k = 0; k < members.size(); k += kChunk)
      work.push_back({&one, {members.begin() + k, members.begin() + std::min(members.size(), k + kChunk)}});
  const SmallOptions small = {int(max_iterations), options[0], options[1], options[2], options[3]};
  at::parallel_for(0, int64_t(work.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) solve_small_graphs(spatial, *work[k].first, work[k].second, small);
  });

  int64_t count = 0;
  for (char one : free) count += one;
  at::Tensor numbers = at::empty({count, 4}, at::kLong), costs = at::empty({count, 3}, at::kDouble);
  int64_t* n = numbers.mutable_data_ptr<int64_t>();
  double* c = costs.mutable_data_ptr<double>();
  for (size_t part = 0; part < graphs.size(); ++part) {
    if (!free[part]) continue;
    const SmallGraph& graph = graphs[part];
    const int64_t failed = graph.failed < 0 ? -1 : (graph.pose[graph.failed] - x) / S;
    *n++ = first[part], *n++ = graph.status, *n++ = graph.iterations, *n++ = failed;
    *c++ = graph.first_cost, *c++ = graph.cost, *c++ = graph.chi2;
  }
  return {numbers, costs, X};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("graph_small_parts(Tensor X, Tensor held, Tensor[] index, Tensor[] measured, Tensor[] information, "
        "Tensor[] weight, int[] kernel, float[] width, int largest, int max_iterations, float[] options) "
        "-> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("graph_small_parts", graph_small_parts); }

}  // namespace pypose
