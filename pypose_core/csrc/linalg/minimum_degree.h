// Fill-reducing elimination order by approximate minimum degree.
//
// Source: Amestoy, Davis, Duff, "An approximate minimum degree ordering algorithm", SIAM J. Matrix Anal. 17,
// 1996: quotient graph, element absorption, approximate external degrees, mass elimination and detection of
// indistinguishable variables.
#pragma once

#include <vector>

#include "linalg/graph.h"

namespace pypose {

// order[k] is the node to eliminate k-th. `weight` is the number of scalar columns of each node.
std::vector<int> minimum_degree(const Graph& graph, const std::vector<int>& weight);

// Nodes that are eliminated together, and those that they are coupled with by then.
struct Eliminated {
  std::vector<int> columns, rows;
};

// The same as a sequence of fronts, of a graph that continues an elimination: `elements` are the sets of nodes that
// earlier eliminations have coupled, and nodes in `last` come after all others.
std::vector<Eliminated> minimum_degree_fronts(const Graph& graph, const std::vector<int>& weight,
                                              const std::vector<std::vector<int>>& elements,
                                              const std::vector<char>& last);

}  // namespace pypose
