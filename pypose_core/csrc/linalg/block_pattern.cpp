#include <algorithm>
#include <numeric>

#include "linalg/symbolic.h"

namespace pypose {

BlockPattern BlockPattern::from_couplings(std::vector<int> size, const std::vector<std::pair<int, int>>& couplings) {
  BlockPattern pattern;
  const int n = int(size.size());
  pattern.start.resize(n + 1, 0);
  for (int i = 0; i < n; ++i) pattern.start[i + 1] = pattern.start[i] + size[i];
  std::vector<std::pair<int, int>> columns;   // (column, row)
  columns.reserve(couplings.size() + n);
  for (int i = 0; i < n; ++i) columns.push_back({i, i});
  for (const auto& [i, j] : couplings) columns.push_back({std::min(i, j), std::max(i, j)});
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  pattern.column_begin.assign(n + 1, 0);
  pattern.row.reserve(columns.size());
  pattern.value_begin.assign(1, 0);
  for (const auto& [column, row] : columns) {
    ++pattern.column_begin[column + 1];
    pattern.row.push_back(row);
    pattern.value_begin.push_back(pattern.value_begin.back() + int64_t(size[row]) * size[column]);
  }
  std::partial_sum(pattern.column_begin.begin(), pattern.column_begin.end(), pattern.column_begin.begin());
  pattern.size = std::move(size);
  return pattern;
}

int64_t BlockPattern::find(int i, int j) const {
  const auto begin = row.begin() + column_begin[j], end = row.begin() + column_begin[j + 1];
  const auto found = std::lower_bound(begin, end, i);
  return found != end && *found == i ? found - row.begin() : -1;
}

Graph BlockPattern::graph() const {
  Graph graph;
  const int n = blocks();
  graph.begin.assign(n + 1, 0);
  for (int j = 0; j < n; ++j)
    for (int64_t k = column_begin[j] + 1; k < column_begin[j + 1]; ++k) ++graph.begin[j + 1], ++graph.begin[row[k] + 1];
  std::partial_sum(graph.begin.begin(), graph.begin.end(), graph.begin.begin());
  graph.to.resize(graph.begin[n]);
  std::vector<int64_t> next(graph.begin.begin(), graph.begin.end() - 1);
  for (int j = 0; j < n; ++j)
    for (int64_t k = column_begin[j] + 1; k < column_begin[j + 1]; ++k) {
      graph.to[next[j]++] = row[k];
      graph.to[next[row[k]]++] = j;
    }
  return graph;
}

}  // namespace pypose
