// Which fronts of an elimination tree are merged: dense work on a few explicit zeros is cheaper than many small fronts.
#pragma once

#include <vector>

namespace pypose {

// A front under amalgamation: the nodes of the tree that it eliminates, scalar widths, and its children.
struct Front {
  std::vector<int> columns, children;
  double width, below;      // scalar columns, and scalar rows below them
};

// Merges children into parents wherever that makes the factorization cheaper. `order` has children before parents;
// a front is named by the last of its nodes, and those that were merged into another have no columns left.
std::vector<Front> amalgamate(const std::vector<int>& parent, const std::vector<int>& order,
                              const std::vector<double>& width, const std::vector<double>& below);

}  // namespace pypose
