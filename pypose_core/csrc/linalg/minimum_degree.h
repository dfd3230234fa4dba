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

}  // namespace pypose
