// torch.ops.pypose.lookup: a table of pypose_core/control/lookup.py at many points.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "control/tape.h"

namespace pypose {
namespace {

// Of points (..., 2): (...).
at::Tensor lookup(const at::Tensor& data, const at::Tensor& points) {
  TORCH_CHECK(data.scalar_type() == at::kDouble && data.is_contiguous() && data.dim() == 1 && data.numel() >= 12 &&
                  data.const_data_ptr<double>()[0] * data.const_data_ptr<double>()[1] <= data.numel() - 8,
              "lookup: the table must be a contiguous float64 vector with all its values");
  TORCH_CHECK(points.scalar_type() == at::kDouble && points.is_contiguous() && points.dim() > 0 && points.size(-1) == 2,
              "lookup: points must be contiguous float64 (..., 2), got ", points.scalar_type(), " ", points.sizes());
  at::Tensor out = at::empty(points.sizes().slice(0, points.dim() - 1), points.options());
  const Table table{data.const_data_ptr<double>()};
  const double* from = points.const_data_ptr<double>();
  double *to = out.mutable_data_ptr<double>(), found[3];
  for (int64_t i = 0; i < out.numel(); ++i) {
    table.at(from[2 * i], from[2 * i + 1], found);
    to[i] = found[0];
  }
  return out;
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) { m.def("lookup(Tensor data, Tensor points) -> Tensor"); }

TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("lookup", pypose::lookup); }
