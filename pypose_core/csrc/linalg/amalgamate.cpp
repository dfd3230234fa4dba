#include "linalg/amalgamate.h"

#include <algorithm>

namespace pypose {
namespace {

// Nanoseconds that a front takes, roughly: an overhead, its entries, its operations.
double cost(double width, double below) {
  const double entries = width * (width + below) + 0.5 * below * below;
  const double operations = width * (width * width / 3 + width * below + below * below);
  return 900 + 0.6 * entries + 0.05 * operations;
}

}  // namespace

std::vector<Front> amalgamate(const std::vector<int>& parent, const std::vector<int>& order,
                              const std::vector<double>& width, const std::vector<double>& below) {
  const int n = int(parent.size());
  std::vector<Front> fronts(n);
  for (int k = 0; k < n; ++k) fronts[k] = {{k}, {}, width[k], below[k]};
  for (int k : order) {
    Front& front = fronts[k];
    // What each merge saves changes as the front grows: again, until none is left.
    for (bool merged = true; merged;) {
      merged = false;
      std::vector<int> children;
      children.swap(front.children);
      std::sort(children.begin(), children.end(), [&](int a, int b) { return fronts[a].below > fronts[b].below; });
      for (int c : children) {
        Front& child = fronts[c];
        const double apart = cost(child.width, child.below) + cost(front.width, front.below);
        if (cost(child.width + front.width, front.below) <= apart) {
          front.width += child.width;
          front.columns.insert(front.columns.begin(), child.columns.begin(), child.columns.end());
          front.children.insert(front.children.end(), child.children.begin(), child.children.end());
          child.columns.clear();
          merged = true;
        } else {
          front.children.push_back(c);
        }
      }
    }
    if (parent[k] >= 0) fronts[parent[k]].children.push_back(k);
  }
  return fronts;
}

}  // namespace pypose
