// Reading of pose graphs in the text formats of g2o and TORO.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pypose {

// Vertices of one kind, and the edges that measure them from poses of the same space: numbers as in the file, angles of
// TORO's made quaternions, information completed to full matrices.
struct G2oKind {
  std::vector<int64_t> vertex_id, vertex_line, edge_id, edge_line;   // two ids an edge
  std::vector<double> vertex, measurement, information;
  std::vector<int64_t> edge_parameter;                               // of EDGE_SE3_TRACKXYZ
};

struct G2o {
  G2oKind se2, se3, xy, xyz;
  std::vector<int64_t> fixed, fixed_line, parameter, parameter_line;
  std::vector<double> offset;                                    // PARAMS_SE3OFFSET, 7 each
  std::map<std::string, std::pair<int64_t, int64_t>> unknown;   // tag: how many lines, the first of them
  int64_t bad_line = 0;                                          // the first line at fault, or 0
  std::string fault;
};

enum class Dialect { kG2o, kToro };

G2o parse_g2o(std::string_view text, Dialect dialect);

}  // namespace pypose
