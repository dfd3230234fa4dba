// torch.ops.pypose.block_* and cholesky_*: the pattern, its analysis and the factor are objects that the operators
// hand to Python and back. torch releases the GIL around operators that are called through torch.ops.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include "linalg/block_matrix.h"
#include "linalg/cholesky.h"
#include "linalg/minimum_degree.h"
#include "linalg/pattern_object.h"

namespace pypose {
namespace {

struct SymbolicObject : torch::CustomClassHolder {
  std::shared_ptr<const Symbolic> symbolic;
  explicit SymbolicObject(std::shared_ptr<const Symbolic> symbolic) : symbolic(std::move(symbolic)) {}
};

struct CholeskyObject : torch::CustomClassHolder {
  Cholesky cholesky;
  bool valid = false;
  explicit CholeskyObject(std::shared_ptr<const Symbolic> symbolic) : cholesky(std::move(symbolic)) {}
};

using SymbolicPtr = c10::intrusive_ptr<SymbolicObject>;
using CholeskyPtr = c10::intrusive_ptr<CholeskyObject>;

template <typename T>
at::Tensor to_tensor(const std::vector<T>& values) {
  at::Tensor out = at::empty({int64_t(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<int64_t>());
  return out;
}

PatternPtr block_pattern(const at::Tensor& sizes_, const at::Tensor& couplings_) {
  const at::Tensor sizes = checked(sizes_, at::kLong, {sizes_.numel()}, "sizes");
  const at::Tensor couplings = checked(couplings_, at::kLong, {couplings_.size(0), 2}, "couplings");
  const int64_t n = sizes.numel();
  std::vector<int> size(sizes.const_data_ptr<int64_t>(), sizes.const_data_ptr<int64_t>() + n);
  for (int64_t i = 0; i < n; ++i) TORCH_CHECK(size[i] > 0, "block ", i, " has size ", size[i]);
  std::vector<std::pair<int, int>> pairs(couplings.size(0));
  const int64_t* p = couplings.const_data_ptr<int64_t>();
  for (size_t k = 0; k < pairs.size(); ++k) {
    TORCH_CHECK(0 <= p[2 * k] && p[2 * k] < n && 0 <= p[2 * k + 1] && p[2 * k + 1] < n, "coupling (", p[2 * k], ", ",
                p[2 * k + 1], ") is not among ", n, " blocks");
    pairs[k] = {int(p[2 * k]), int(p[2 * k + 1])};
  }
  return c10::make_intrusive<PatternObject>(
      std::make_shared<const BlockPattern>(BlockPattern::from_couplings(std::move(size), pairs)));
}

// (rows, columns, offsets into the values) of the stored blocks.
std::tuple<at::Tensor, at::Tensor, at::Tensor> block_pattern_layout(const PatternPtr& self) {
  const BlockPattern& pattern = *self->pattern;
  std::vector<int> columns;
  columns.reserve(pattern.row.size());
  for (int j = 0; j < pattern.blocks(); ++j)
    columns.insert(columns.end(), size_t(pattern.column_begin[j + 1] - pattern.column_begin[j]), j);
  return {to_tensor(pattern.row), to_tensor(columns), to_tensor(pattern.value_begin)};
}

// Offset into the values of block (i, j), i >= j, for each row of `pairs`; -1 where there is none.
at::Tensor block_offsets(const PatternPtr& self, const at::Tensor& pairs_) {
  const at::Tensor pairs = checked(pairs_, at::kLong, {pairs_.size(0), 2}, "pairs");
  const BlockPattern& pattern = *self->pattern;
  at::Tensor out = at::empty({pairs.size(0)}, at::kLong);
  const int64_t* p = pairs.const_data_ptr<int64_t>();
  int64_t* o = out.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < pairs.size(0); ++k, p += 2) {
    TORCH_CHECK(0 <= p[1] && p[1] <= p[0] && p[0] < pattern.blocks(), "block (", p[0], ", ", p[1],
                ") is not in the lower triangle of ", pattern.blocks(), " blocks");
    const int64_t found = pattern.find(int(p[0]), int(p[1]));
    o[k] = found < 0 ? -1 : pattern.value_begin[found];
  }
  return out;
}

// For rows (M, V) of blocks, the places of their pairs (a, b <= a) as (M, V (V + 1) / 2): 2 * (offset of the block in
// the values) + (whether it is stored transposed), or -1 where one of the two blocks is -1.
at::Tensor block_slots(const PatternPtr& self, const at::Tensor& blocks_) {
  TORCH_CHECK(blocks_.dim() == 2, "blocks must be (M, V)");
  const int64_t M = blocks_.size(0), V = blocks_.size(1);
  const at::Tensor blocks = checked(blocks_, at::kLong, {M, V}, "blocks");
  const BlockPattern& pattern = *self->pattern;
  at::Tensor out = at::empty({M, V * (V + 1) / 2}, at::kLong);
  const int64_t* p = blocks.const_data_ptr<int64_t>();
  int64_t* slot = out.mutable_data_ptr<int64_t>();
  for (int64_t m = 0; m < M; ++m, p += V)
    for (int64_t a = 0; a < V; ++a)
      for (int64_t b = 0; b <= a; ++b, ++slot) {
        *slot = -1;
        if (p[a] < 0 || p[b] < 0) continue;
        const int64_t i = std::max(p[a], p[b]), j = std::min(p[a], p[b]);
        const int64_t found = i < pattern.blocks() ? pattern.find(int(i), int(j)) : -1;
        TORCH_CHECK(found >= 0, "the pattern has no block (", i, ", ", j, ")");
        *slot = 2 * pattern.value_begin[found] + (p[a] < p[b]);
      }
  return out;
}

at::Tensor block_multiply(const PatternPtr& self, const at::Tensor& values_, const at::Tensor& x_) {
  const at::Tensor values = checked(values_, at::kDouble, {self->pattern->values()}, "values");
  const at::Tensor x = checked(x_, at::kDouble, {self->pattern->dimension()}, "x");
  at::Tensor y = at::empty(x.sizes(), x.options());
  multiply(*self->pattern, values.const_data_ptr<double>(), x.const_data_ptr<double>(), y.mutable_data_ptr<double>());
  return y;
}

// (x, iterations, relative residual, block that is not positive definite or -1, whether A was found indefinite)
std::tuple<at::Tensor, int64_t, double, int64_t, bool> block_conjugate_gradients(
    const PatternPtr& self, const at::Tensor& values_, const at::Tensor& b_, const at::Tensor& x0_, double tolerance,
    int64_t max_iterations) {
  const at::Tensor values = checked(values_, at::kDouble, {self->pattern->values()}, "values");
  const at::Tensor b = checked(b_, at::kDouble, {self->pattern->dimension()}, "b");
  at::Tensor x = checked(x0_, at::kDouble, {self->pattern->dimension()}, "x0").clone();
  const ConjugateGradients done = conjugate_gradients(*self->pattern, values.const_data_ptr<double>(),
                                                      b.const_data_ptr<double>(), x.mutable_data_ptr<double>(),
                                                      tolerance, int(max_iterations));
  return {x, done.iterations, done.residual, done.failed_block, done.indefinite};
}

SymbolicPtr cholesky_analyse(const PatternPtr& self, const std::optional<at::Tensor>& order_) {
  const BlockPattern& pattern = *self->pattern;
  std::vector<int> order;
  if (order_) {
    const at::Tensor given = checked(*order_, at::kLong, {pattern.blocks()}, "order");
    order.assign(given.const_data_ptr<int64_t>(), given.const_data_ptr<int64_t>() + given.numel());
    std::vector<bool> seen(order.size(), false);
    for (int k : order) {
      TORCH_CHECK(0 <= k && k < pattern.blocks() && !seen[k], "order is not a permutation: ", k);
      seen[k] = true;
    }
  } else {
    order = minimum_degree(pattern.graph(), pattern.size);
  }
  return c10::make_intrusive<SymbolicObject>(std::make_shared<const Symbolic>(pattern, std::move(order)));
}

at::Tensor cholesky_order(const SymbolicPtr& self) { return to_tensor(self->symbolic->order); }

// (supernodes, doubles in the factor, operations, rows of the largest front)
std::tuple<int64_t, int64_t, double, int64_t> cholesky_statistics(const SymbolicPtr& self) {
  const Symbolic& s = *self->symbolic;
  return {int64_t(s.supernodes.size()), s.factor_size, s.flops, s.largest_front};
}

CholeskyPtr cholesky_create(const SymbolicPtr& self) { return c10::make_intrusive<CholeskyObject>(self->symbolic); }

int64_t cholesky_factorize(const CholeskyPtr& self, const at::Tensor& values_, double damping, double shift) {
  const BlockPattern& pattern = self->cholesky.symbolic().pattern;
  const at::Tensor values = checked(values_, at::kDouble, {pattern.values()}, "values");
  self->valid = false;
  const int failed = self->cholesky.factorize(values.const_data_ptr<double>(), damping, shift);
  self->valid = failed < 0;
  return failed;
}

// X with A X = B, B (..., n).
at::Tensor cholesky_solve_rows(const CholeskyPtr& self, const at::Tensor& B) {
  TORCH_CHECK(self->valid, "there is no factor: factorize() has not succeeded");
  const int64_t n = self->cholesky.symbolic().pattern.dimension();
  TORCH_CHECK(B.device().is_cpu() && B.scalar_type() == at::kDouble && B.dim() >= 1 && B.size(-1) == n,
              "the right side must be float64 on the CPU with ", n, " entries in its last dimension; it is ",
              toString(B.scalar_type()), " ", B.sizes());
  at::Tensor X = B.clone(at::MemoryFormat::Contiguous);
  self->cholesky.solve(X.mutable_data_ptr<double>(), int(n ? X.numel() / n : 0), n);
  return X;
}

at::Tensor cholesky_selected_inverse(const CholeskyPtr& self) {
  TORCH_CHECK(self->valid, "there is no factor: factorize() has not succeeded");
  at::Tensor values = at::empty({self->cholesky.symbolic().pattern.values()}, at::kDouble);
  self->cholesky.selected_inverse(values.mutable_data_ptr<double>());
  return values;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.class_<PatternObject>("BlockPattern");
  m.class_<SymbolicObject>("SymbolicCholesky");
  m.class_<CholeskyObject>("Cholesky");
  m.def("block_pattern", block_pattern);
  m.def("block_pattern_layout", block_pattern_layout);
  m.def("block_offsets", block_offsets);
  m.def("block_slots", block_slots);
  m.def("block_multiply", block_multiply);
  m.def("block_conjugate_gradients", block_conjugate_gradients);
  m.def("cholesky_analyse", cholesky_analyse);
  m.def("cholesky_order", cholesky_order);
  m.def("cholesky_statistics", cholesky_statistics);
  m.def("cholesky_create", cholesky_create);
  m.def("cholesky_factorize", cholesky_factorize);
  m.def("cholesky_solve_rows", cholesky_solve_rows);
  m.def("cholesky_selected_inverse", cholesky_selected_inverse);
}

}  // namespace pypose
