// The adjacency of a block matrix: one node a block column, one edge a pair of coupled blocks.
#pragma once

#include <cstdint>
#include <vector>

namespace pypose {

// Undirected, without loops and without duplicates: neighbours of node i are to[begin[i]] .. to[begin[i + 1] - 1].
struct Graph {
  std::vector<int64_t> begin;
  std::vector<int> to;

  int size() const { return int(begin.size()) - 1; }
};

}  // namespace pypose
