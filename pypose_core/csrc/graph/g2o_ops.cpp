// torch.ops.pypose.graph_parse_g2o

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "graph/g2o.h"

namespace pypose {
namespace {

template <typename T>
at::Tensor to_tensor(const std::vector<T>& values, at::ScalarType type, int64_t columns) {
  at::Tensor out = at::empty({int64_t(values.size()) / columns, columns}, type);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<T>());
  return out;
}

std::vector<at::Tensor> tensors(const G2oKind& kind, int64_t size, int64_t dof) {
  return {to_tensor(kind.vertex_id, at::kLong, 1).squeeze(1), to_tensor(kind.vertex_line, at::kLong, 1).squeeze(1),
          to_tensor(kind.vertex, at::kDouble, size), to_tensor(kind.edge_id, at::kLong, 2),
          to_tensor(kind.edge_line, at::kLong, 1).squeeze(1), to_tensor(kind.measurement, at::kDouble, size),
          to_tensor(kind.information, at::kDouble, dof * dof).view({-1, dof, dof})};
}

// Bytes as Latin-1, in UTF-8: what a damaged file holds must reach Python as a string.
std::string readable(const std::string& bytes) {
  std::string out;
  for (const unsigned char c : bytes) {
    if (c < 0x80) {
      out += char(c);
    } else {
      out += char(0xC0 | (c >> 6));
      out += char(0x80 | (c & 0x3F));
    }
  }
  return out;
}

// From the bytes of a file: for SE2, SE3, XY and XYZ [vertex ids, lines, values, edge ids, lines, measurements,
// information], one after the other; parameters of the XYZ edges; [ids, lines, offsets] of parameters; fixed ids and
// lines; unknown tags with [count, first line] each; the first line at fault or 0, and what is wrong with it.
std::tuple<std::vector<at::Tensor>, std::vector<at::Tensor>, at::Tensor, at::Tensor, std::vector<std::string>,
           at::Tensor, int64_t, std::string>
graph_parse_g2o(const at::Tensor& bytes, bool toro) {
  TORCH_CHECK(bytes.device().is_cpu() && bytes.scalar_type() == at::kByte && bytes.dim() == 1 && bytes.is_contiguous(),
              "bytes must be a contiguous vector of uint8 on the CPU");
  const G2o file = parse_g2o({reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), size_t(bytes.numel())},
                             toro ? Dialect::kToro : Dialect::kG2o);
  if (file.bad_line) {
    const at::Tensor none = at::empty({0}, at::kLong);
    return {{}, {}, none, none, {}, none, file.bad_line, readable(file.fault)};
  }
  std::vector<std::string> tags;
  std::vector<int64_t> counts;
  for (const auto& [tag, seen] : file.unknown) {
    tags.push_back(readable(tag));
    counts.push_back(seen.first);
    counts.push_back(seen.second);
  }
  const auto longs = [](const std::vector<int64_t>& values) { return to_tensor(values, at::kLong, 1).squeeze(1); };
  std::vector<at::Tensor> kinds;
  for (const auto& kind : {tensors(file.se2, 3, 3), tensors(file.se3, 7, 6), tensors(file.xy, 2, 2),
                           tensors(file.xyz, 3, 3)})
    kinds.insert(kinds.end(), kind.begin(), kind.end());
  return {kinds, {longs(file.xyz.edge_parameter), longs(file.parameter), longs(file.parameter_line),
                  to_tensor(file.offset, at::kDouble, 7)},
          longs(file.fixed), longs(file.fixed_line), tags, to_tensor(counts, at::kLong, 2), 0, ""};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("graph_parse_g2o(Tensor bytes, bool toro) -> (Tensor[], Tensor[], Tensor, Tensor, str[], Tensor, int, str)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("graph_parse_g2o", graph_parse_g2o); }

}  // namespace pypose
