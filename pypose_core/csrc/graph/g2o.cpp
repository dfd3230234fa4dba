#include "graph/g2o.h"

#include <charconv>
#include <cmath>

namespace pypose {
namespace {

// The fields of one line, one after the other.
class Fields {
 public:
  explicit Fields(std::string_view line) : at_(line.data()), end_(line.data() + line.size()) { skip(); }

  bool done() const { return at_ == end_; }

  std::string_view word() {
    const char* begin = at_;
    while (at_ != end_ && !blank(*at_)) ++at_;
    const std::string_view found(begin, size_t(at_ - begin));
    skip();
    return found;
  }

  template <typename T>
  bool number(T& value) {
    if (at_ != end_ && *at_ == '+') ++at_;
    const auto [after, error] = std::from_chars(at_, end_, value);
    if (error != std::errc() || (after != end_ && !blank(*after))) return false;
    if constexpr (std::is_floating_point_v<T>)
      if (!std::isfinite(value)) return false;
    at_ = after;
    skip();
    return true;
  }

 private:
  static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
  void skip() {
    while (at_ != end_ && blank(*at_)) ++at_;
  }

  const char *at_, *end_;
};

class Parser {
 public:
  explicit Parser(Dialect dialect) : dialect_(dialect) {}

  G2o parse(std::string_view text) {
    int64_t line = 0;
    for (size_t begin = 0; begin < text.size() && !out_.bad_line;) {
      size_t end = text.find('\n', begin);
      if (end == text.npos) end = text.size();
      ++line;
      Fields fields(text.substr(begin, end - begin));
      begin = end + 1;
      if (fields.done()) continue;
      const std::string_view tag = fields.word();
      if (tag.front() == '#') continue;
      if (!record(tag, fields, line)) out_.bad_line = line;
    }
    return std::move(out_);
  }

 private:
  bool record(std::string_view tag, Fields& fields, int64_t line) {
    if (dialect_ == Dialect::kToro) {
      if (tag == "VERTEX3") return vertex(out_.se3, 6, tag, fields, line) && turned(out_.se3.vertex);
      if (tag == "EDGE3") return edge(out_.se3, 6, 6, tag, fields, line);
      if (tag == "VERTEX2" || tag == "VERTEX") return vertex(out_.se2, 3, tag, fields, line);
      if (tag == "EDGE2" || tag == "EDGE") return edge(out_.se2, 3, 3, tag, fields, line);
    } else {
      if (tag == "VERTEX_SE3:QUAT") return vertex(out_.se3, 7, tag, fields, line);
      if (tag == "EDGE_SE3:QUAT") return edge(out_.se3, 7, 6, tag, fields, line);
      if (tag == "VERTEX_SE2") return vertex(out_.se2, 3, tag, fields, line);
      if (tag == "EDGE_SE2") return edge(out_.se2, 3, 3, tag, fields, line);
      if (tag == "VERTEX_XY") return vertex(out_.xy, 2, tag, fields, line);
      if (tag == "EDGE_SE2_XY") return edge(out_.xy, 2, 2, tag, fields, line);
      if (tag == "VERTEX_TRACKXYZ") return vertex(out_.xyz, 3, tag, fields, line);
      if (tag == "EDGE_SE3_TRACKXYZ") return edge(out_.xyz, 3, 3, tag, fields, line);
      if (tag == "PARAMS_SE3OFFSET") {
        out_.parameter_line.push_back(line);
        return integers(out_.parameter, 1, tag, fields) && numbers(out_.offset, 7, tag, fields) &&
               unit(out_.offset) && ended(tag, fields);
      }
      if (tag == "FIX") {
        do {
          if (!integers(out_.fixed, 1, tag, fields)) return false;
          out_.fixed_line.push_back(line);
        } while (!fields.done());
        return true;
      }
    }
    auto& seen = out_.unknown.try_emplace(std::string(tag), 0, line).first->second;
    ++seen.first;
    return true;
  }

  bool vertex(G2oKind& kind, int size, std::string_view tag, Fields& fields, int64_t line) {
    kind.vertex_line.push_back(line);
    return integers(kind.vertex_id, 1, tag, fields) && numbers(kind.vertex, size, tag, fields) &&
           (size != 7 || unit(kind.vertex)) && ended(tag, fields);
  }

  bool edge(G2oKind& kind, int size, int dof, std::string_view tag, Fields& fields, int64_t line) {
    kind.edge_line.push_back(line);
    if (!integers(kind.edge_id, 2, tag, fields) ||
        (&kind == &out_.xyz && !integers(kind.edge_parameter, 1, tag, fields)) ||
        !numbers(kind.measurement, size, tag, fields) || (size == 7 && !unit(kind.measurement)))
      return false;
    upper_.clear();
    if (!numbers(upper_, dof * (dof + 1) / 2, tag, fields)) return false;
    const size_t at = kind.information.size();
    kind.information.resize(at + size_t(dof) * dof);
    // TORO's order in the plane: xx, xy, yy, tt, xt, yt
    static constexpr int kPlane[] = {0, 1, 4, 2, 5, 3};
    const bool plane = dialect_ == Dialect::kToro && dof == 3;
    for (int i = 0, k = 0; i < dof; ++i)
      for (int j = i; j < dof; ++j, ++k)
        kind.information[at + i * dof + j] = kind.information[at + j * dof + i] =
            upper_[plane ? kPlane[k] : k];
    return ended(tag, fields) && (dialect_ != Dialect::kToro || dof != 6 || turned(kind.measurement));
  }

  // The last three numbers, roll, pitch and yaw, become the quaternion of Rz(yaw) Ry(pitch) Rx(roll).
  static bool turned(std::vector<double>& values) {
    const double* angle = values.data() + values.size() - 3;
    const double cr = std::cos(angle[0] / 2), sr = std::sin(angle[0] / 2), cp = std::cos(angle[1] / 2),
                 sp = std::sin(angle[1] / 2), cy = std::cos(angle[2] / 2), sy = std::sin(angle[2] / 2);
    values.resize(values.size() - 3);
    for (double q : {cy * cp * sr - sy * sp * cr, cy * sp * cr + sy * cp * sr, sy * cp * cr - cy * sp * sr,
                     cy * cp * cr + sy * sp * sr})
      values.push_back(q);
    return true;
  }

  bool integers(std::vector<int64_t>& to, int count, std::string_view tag, Fields& fields) {
    for (int k = 0; k < count; ++k) {
      int64_t id;
      if (!fields.number(id)) return fail(tag, fields, "an integer id");
      to.push_back(id);
    }
    return true;
  }

  bool numbers(std::vector<double>& to, int count, std::string_view tag, Fields& fields) {
    for (int k = 0; k < count; ++k) {
      double value;
      if (!fields.number(value))
        return fail(tag, fields, "number " + std::to_string(k + 1) + " of " + std::to_string(count));
      to.push_back(value);
    }
    return true;
  }

  // The last four numbers are a quaternion: normalised, since text rounds it.
  bool unit(std::vector<double>& values) {
    double* q = values.data() + values.size() - 4;
    const double norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    if (!(std::abs(norm - 1) < 1e-2)) {
      out_.fault = "the quaternion has norm " + std::to_string(norm) + ", not 1";
      return false;
    }
    for (int k = 0; k < 4; ++k) q[k] /= norm;
    return true;
  }

  bool ended(std::string_view tag, Fields& fields) {
    if (fields.done()) return true;
    out_.fault = std::string(tag) + " has more fields than it should: '" + std::string(fields.word()) + "'";
    return false;
  }

  bool fail(std::string_view tag, Fields& fields, const std::string& wanted) {
    const std::string found(fields.word());
    out_.fault = std::string(tag) + ": wanted " + wanted + ", found " +
                 (found.empty() ? "the end of the line" : "'" + found + "'");
    return false;
  }

  const Dialect dialect_;
  G2o out_;
  std::vector<double> upper_;
};

}  // namespace

G2o parse_g2o(std::string_view text, Dialect dialect) { return Parser(dialect).parse(text); }

}  // namespace pypose
