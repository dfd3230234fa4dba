#include "linalg/cholesky.h"

#include <algorithm>
#include <cstring>

#include "linalg/dense_kernels.h"

namespace pypose {
namespace {

// A pivot that cancellation has eaten is as good as zero.
constexpr double kSmallestPivot = 1e-14;

}  // namespace

Cholesky::Cholesky(std::shared_ptr<const Symbolic> symbolic)
    : symbolic_(std::move(symbolic)),
      factor_(new double[symbolic_->factor_size + dense::kPadding]()),
      workspace_(new double[symbolic_->workspace_size + dense::kPadding]()),
      floor_(symbolic_->pattern.dimension()) {}

void Cholesky::assemble(const Supernode& node, const double* values, double damping, double shift) {
  const BlockPattern& pattern = symbolic_->pattern;
  double* panel = factor_.get() + node.panel;
  const int ld = node.columns + node.rows;
  std::memset(panel, 0, sizeof(double) * ld * node.columns);
  for (const Entry& entry : node.entries) {
    const double* block = values + pattern.value_begin[entry.block];
    const int64_t k = entry.block;
    const int height = pattern.size[pattern.row[k]];
    const int width = int((pattern.value_begin[k + 1] - pattern.value_begin[k]) / height);
    double* at = panel + entry.row + size_t(entry.column) * ld;
    if (entry.transposed) {
      for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) at[j + size_t(i) * ld] = block[i * width + j];
    } else {
      for (int j = 0; j < width; ++j)
        for (int i = 0; i < height; ++i) at[i + size_t(j) * ld] = block[i * width + j];
    }
  }
  for (int j = 0; j < node.columns; ++j) {
    double& diagonal = panel[j + size_t(j) * ld];
    diagonal += damping * diagonal + shift;
    floor_[node.first_column + j] = kSmallestPivot * std::abs(diagonal);
  }
}

void Cholesky::add_update(const Supernode& child, const Supernode& parent, bool into_panel) {
  const double* update = workspace_.get() + child.update;
  const int from = child.rows;
  for (size_t c = 0; c < child.runs.size(); ++c) {
    const Run& columns = child.runs[c];
    // A run may begin in the parent's columns and end in its rows.
    const int split = std::clamp(parent.columns - columns.parent, 0, columns.length);
    const int begin = into_panel ? 0 : split, end = into_panel ? split : columns.length;
    for (int j = begin; j < end; ++j) {
      const int target_column = columns.parent + j, source_column = columns.child + j;
      double* target = into_panel
          ? factor_.get() + parent.panel + size_t(target_column) * (parent.columns + parent.rows)
          : workspace_.get() + parent.update + size_t(target_column - parent.columns) * parent.rows - parent.columns;
      const double* source = update + size_t(source_column) * from;
      for (int i = source_column; i < columns.child + columns.length; ++i)
        target[i - columns.child + columns.parent] += source[i];
      for (size_t r = c + 1; r < child.runs.size(); ++r) {
        const Run& rows = child.runs[r];
        double* __restrict t = target + rows.parent;
        const double* __restrict s = source + rows.child;
        for (int i = 0; i < rows.length; ++i) t[i] += s[i];
      }
    }
  }
}

int Cholesky::factorize(const double* values, double damping, double shift) {
  const Symbolic& symbolic = *symbolic_;
  for (size_t s = 0; s < symbolic.supernodes.size(); ++s) {
    const Supernode& node = symbolic.supernodes[s];
    assemble(node, values, damping, shift);
    for (int c : symbolic.children[s]) add_update(symbolic.supernodes[c], node, true);
    double* panel = factor_.get() + node.panel;
    const int ld = node.columns + node.rows;
    const int failed = dense::factorize_panel(ld, node.columns, panel, ld, floor_.data() + node.first_column);
    if (failed >= 0) {
      const auto after = std::upper_bound(symbolic.eliminated_start.begin(), symbolic.eliminated_start.end(),
                                          int64_t(node.first_column + failed));
      return symbolic.order[after - symbolic.eliminated_start.begin() - 1];
    }
    if (node.rows == 0) continue;
    dense::subtract_square(node.rows, node.columns, panel + node.columns, ld, workspace_.get() + node.update,
                           node.rows, true);
    for (int c : symbolic.children[s]) add_update(symbolic.supernodes[c], node, false);
  }
  return -1;
}

}  // namespace pypose
