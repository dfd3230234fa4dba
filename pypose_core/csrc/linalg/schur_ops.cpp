// torch.ops.pypose.schur_*, see linalg_ops.cpp.

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include "linalg/pattern_object.h"
#include "linalg/schur.h"

namespace pypose {
namespace {

struct SchurObject : torch::CustomClassHolder {
  std::shared_ptr<const BlockPattern> pattern;
  Schur schur;
  bool valid = false;
  SchurObject(std::shared_ptr<const BlockPattern> pattern, const std::vector<bool>& eliminated)
      : pattern(pattern), schur(pattern, eliminated) {}
};

using SchurPtr = c10::intrusive_ptr<SchurObject>;

SchurPtr schur_create(const PatternPtr& self, const at::Tensor& eliminated_) {
  const BlockPattern& A = *self->pattern;
  const at::Tensor eliminated = checked(eliminated_, at::kBool, {A.blocks()}, "eliminated");
  const bool* p = eliminated.const_data_ptr<bool>();
  for (int j = 0; j < A.blocks(); ++j)
    for (int64_t k = A.column_begin[j] + 1; k < A.column_begin[j + 1]; ++k)
      TORCH_CHECK(!p[j] || !p[A.row[k]], "blocks ", A.row[k], " and ", j, " are coupled: not both can be eliminated");
  return c10::make_intrusive<SchurObject>(self->pattern, std::vector<bool>(p, p + A.blocks()));
}

int64_t schur_factorize(const SchurPtr& self, const at::Tensor& values_, double damping, double shift) {
  const at::Tensor values = checked(values_, at::kDouble, {self->pattern->values()}, "values");
  self->valid = false;
  const int failed = self->schur.factorize(values.const_data_ptr<double>(), damping, shift);
  self->valid = failed < 0;
  return failed;
}

// X with A X = B, B (..., n).
at::Tensor schur_solve_rows(const SchurPtr& self, const at::Tensor& B) {
  TORCH_CHECK(self->valid, "there is no factor: factorize() has not succeeded");
  const int64_t n = self->pattern->dimension();
  TORCH_CHECK(B.device().is_cpu() && B.scalar_type() == at::kDouble && B.dim() >= 1 && B.size(-1) == n,
              "the right side must be float64 on the CPU with ", n, " entries in its last dimension; it is ",
              toString(B.scalar_type()), " ", B.sizes());
  at::Tensor X = B.clone(at::MemoryFormat::Contiguous);
  self->schur.solve(X.mutable_data_ptr<double>(), int(n ? X.numel() / n : 0), n);
  return X;
}

// (scalar rows of the Schur complement, groups of blocks with the same neighbours)
std::tuple<int64_t, int64_t> schur_statistics(const SchurPtr& self) {
  return {self->schur.reduced().pattern.dimension(), self->schur.groups()};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.class_<SchurObject>("Schur");
  m.def("schur_create", schur_create);
  m.def("schur_factorize", schur_factorize);
  m.def("schur_solve_rows", schur_solve_rows);
  m.def("schur_statistics", schur_statistics);
}

}  // namespace pypose
