// Reading of pose graphs in g2o's text format.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pypose {

// Vertices and edges of one kind of pose: numbers as in the file, information completed to full matrices.
struct G2oKind {
  std::vector<int64_t> vertex_id, vertex_line, edge_id, edge_line;   // two ids an edge
  std::vector<double> vertex, measurement, information;
};

struct G2o {
  G2oKind se2, se3;
  std::vector<int64_t> fixed, fixed_line;
  std::map<std::string, std::pair<int64_t, int64_t>> unknown;   // tag: how many lines, the first of them
  int64_t bad_line = 0;                                          // the first line at fault, or 0
  std::string fault;
};

G2o parse_g2o(std::string_view text);

}  // namespace pypose
