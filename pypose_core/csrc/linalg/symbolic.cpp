#include "linalg/symbolic.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "linalg/amalgamate.h"

namespace pypose {
namespace {

// parent[k] of the k-th eliminated node, -1 for roots (Liu's algorithm, with path compression).
std::vector<int> elimination_tree(const Graph& graph, const std::vector<int>& order, const std::vector<int>& position) {
  const int n = graph.size();
  std::vector<int> parent(n, -1), ancestor(n, -1);
  for (int k = 0; k < n; ++k)
    for (int64_t e = graph.begin[order[k]]; e < graph.begin[order[k] + 1]; ++e)
      for (int i = position[graph.to[e]]; i < k && i >= 0;) {
        const int next = ancestor[i];
        ancestor[i] = k;
        if (next < 0) {
          parent[i] = k;
          break;
        }
        if (next == k) break;
        i = next;
      }
  return parent;
}

// Children before parents, depth first.
std::vector<int> postorder(const std::vector<int>& parent) {
  const int n = int(parent.size());
  std::vector<int> first_child(n, -1), sibling(n, -1), order, stack;
  order.reserve(n);
  for (int i = n - 1; i >= 0; --i)
    if (parent[i] >= 0) sibling[i] = first_child[parent[i]], first_child[parent[i]] = i;
  for (int root = 0; root < n; ++root) {
    if (parent[root] >= 0) continue;
    stack.push_back(root);
    while (!stack.empty()) {
      const int i = stack.back();
      if (first_child[i] >= 0) {
        stack.push_back(first_child[i]);
        first_child[i] = sibling[first_child[i]];
      } else {
        order.push_back(i);
        stack.pop_back();
      }
    }
  }
  return order;
}

// First fit: an interval of the workspace for each update matrix, free again once the parent has read it.
class Workspace {
 public:
  int64_t take(int64_t size) {
    if (size == 0) return 0;
    int64_t at = 0;
    for (const auto& [begin, end] : taken_) {
      if (begin - at >= size) break;
      at = end;
    }
    taken_[at] = at + size;
    peak_ = std::max(peak_, at + size);
    return at;
  }
  void give(int64_t at, int64_t size) {
    if (size) taken_.erase(at);
  }
  int64_t peak() const { return peak_; }

 private:
  std::map<int64_t, int64_t> taken_;
  int64_t peak_ = 0;
};

}  // namespace

Symbolic::Symbolic(BlockPattern pattern_, std::vector<int> order_)
    : pattern(std::move(pattern_)), order(std::move(order_)) {
  const int n = pattern.blocks();
  const Graph graph = pattern.graph();
  const auto invert = [&]() {
    position.resize(n);
    for (int k = 0; k < n; ++k) position[order[k]] = k;
  };
  invert();
  const std::vector<int> parent = elimination_tree(graph, order, position), post = postorder(parent);

  // Block structure of each column of L, and its scalar size.
  std::vector<std::vector<int>> structure(n);
  std::vector<double> width(n), below(n, 0);
  {
    std::vector<int> mark(n, -1);
    std::vector<std::vector<int>> children(n);
    for (int k : post) {
      mark[k] = k;
      width[k] = pattern.size[order[k]];
      const auto take = [&](int i) {
        if (i <= k || mark[i] == k) return;
        mark[i] = k;
        structure[k].push_back(i);
        below[k] += pattern.size[order[i]];
      };
      for (int64_t e = graph.begin[order[k]]; e < graph.begin[order[k] + 1]; ++e) take(position[graph.to[e]]);
      for (int c : children[k]) {
        for (int i : structure[c]) take(i);
      }
      if (parent[k] >= 0) children[parent[k]].push_back(k);
    }
  }
  std::vector<Front> fronts = amalgamate(parent, post, width, below);

  // Number supernodes and block columns, depth first. The last column of a front has the rows of all of it.
  std::vector<int> new_order, renumbered(n), representative;
  {
    std::vector<std::pair<int, size_t>> stack;
    const auto visit = [&](int root) {
      stack.push_back({root, 0});
      while (!stack.empty()) {
        auto& [k, next] = stack.back();
        if (next < fronts[k].children.size()) {
          const int child = fronts[k].children[next++];
          stack.push_back({child, 0});
          continue;
        }
        Supernode s{};
        s.first_block = int(new_order.size());
        for (int column : fronts[k].columns) {
          renumbered[column] = int(new_order.size());
          new_order.push_back(order[column]);
        }
        s.end_block = int(new_order.size());
        s.parent = -1;
        supernodes.push_back(std::move(s));
        representative.push_back(k);
        stack.pop_back();
      }
    };
    for (int k = 0; k < n; ++k)
      if (parent[k] < 0) visit(k);
  }
  order = std::move(new_order);
  invert();
  eliminated_start.assign(n + 1, 0);
  for (int k = 0; k < n; ++k) eliminated_start[k + 1] = eliminated_start[k] + pattern.size[order[k]];

  const int count = int(supernodes.size());
  supernode_of.resize(n);
  children.resize(count);
  for (int s = 0; s < count; ++s)
    for (int k = supernodes[s].first_block; k < supernodes[s].end_block; ++k) supernode_of[k] = s;
  for (int s = 0; s < count; ++s) {
    Supernode& node = supernodes[s];
    // The rows below a front are those of the column that it grew from.
    node.row_blocks = structure[representative[s]];
    for (int& i : node.row_blocks) i = renumbered[i];
    std::sort(node.row_blocks.begin(), node.row_blocks.end());
    node.first_column = int(eliminated_start[node.first_block]);
    node.columns = int(eliminated_start[node.end_block]) - node.first_column;
    node.row_start.assign(1, 0);
    for (int i : node.row_blocks) node.row_start.push_back(node.row_start.back() + pattern.size[order[i]]);
    node.rows = node.row_start.back();
    if (!node.row_blocks.empty()) {
      node.parent = supernode_of[node.row_blocks.front()];
      children[node.parent].push_back(s);
    }
    node.panel = factor_size;
    factor_size += int64_t(node.columns + node.rows) * node.columns;
    largest_front = std::max(largest_front, node.columns + node.rows);
    const double c = node.columns, r = node.rows;
    flops += c * (c * c / 3 + c * r + r * r);
  }

  // Position of a block row in a front.
  const auto front_position = [&](const Supernode& node, int block) {
    if (block < node.end_block) return int(eliminated_start[block]) - node.first_column;
    const auto found = std::lower_bound(node.row_blocks.begin(), node.row_blocks.end(), block);
    return node.columns + node.row_start[found - node.row_blocks.begin()];
  };
  for (Supernode& node : supernodes) {
    if (node.parent < 0) continue;
    for (size_t r = 0; r < node.row_blocks.size(); ++r) {
      const int at = front_position(supernodes[node.parent], node.row_blocks[r]);
      const int length = node.row_start[r + 1] - node.row_start[r];
      if (!node.runs.empty() && node.runs.back().parent + node.runs.back().length == at)
        node.runs.back().length += length;
      else
        node.runs.push_back({node.row_start[r], at, length});
    }
  }
  for (int j = 0; j < n; ++j)
    for (int64_t k = pattern.column_begin[j]; k < pattern.column_begin[j + 1]; ++k) {
      const int a = position[pattern.row[k]], b = position[j];
      Supernode& node = supernodes[supernode_of[std::min(a, b)]];
      node.entries.push_back({k, front_position(node, std::max(a, b)), front_position(node, std::min(a, b)), a < b});
    }

  Workspace workspace;
  for (int s = 0; s < count; ++s) {
    supernodes[s].update = workspace.take(int64_t(supernodes[s].rows) * supernodes[s].rows);
    for (int c : children[s]) workspace.give(supernodes[c].update, int64_t(supernodes[c].rows) * supernodes[c].rows);
  }
  workspace_size = workspace.peak();
}

}  // namespace pypose
