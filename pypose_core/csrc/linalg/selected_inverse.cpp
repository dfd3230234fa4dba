// The blocks of A^-1 where A has blocks, from the factor alone and without forming the rest.
//
// For a front with columns 1 and rows 2, Z = A^-1 and Y = L21 L11^-1:
//   Z21 = -Z22 Y,   Z11 = L11^-T L11^-1 - Y^T Z21,
// and Z22 is a part of the parent's front. Source: Takahashi, Fagan, Chen, 1973; Erisman and Tinney, 1975.

#include <algorithm>
#include <memory>

#include "linalg/cholesky.h"
#include "linalg/dense_kernels.h"

namespace pypose {
namespace {

using Buffer = std::unique_ptr<double[]>;

Buffer buffer(size_t size) { return Buffer(new double[size + dense::kPadding]()); }

// The part of the parent's front (order m, full) that belongs to the rows of its child, into the child's front.
void take_rows(const Supernode& child, const double* parent, int m, double* front) {
  const int ld = child.columns + child.rows;
  for (const Run& columns : child.runs)
    for (int j = 0; j < columns.length; ++j)
      for (const Run& rows : child.runs)
        std::copy_n(parent + rows.parent + size_t(columns.parent + j) * m, rows.length,
                    front + child.columns + rows.child + size_t(child.columns + columns.child + j) * ld);
}

// Fills the columns of a front, and the rows above its Z22, from its panel of L and its Z22.
void invert_columns(const Supernode& node, const double* panel, double* Z) {
  const int c = node.columns, r = node.rows, m = c + r;
  // [L11^-1; Y]^T, by columns of L from the last: X L11 = [I; L21].
  Buffer T = buffer(size_t(c) * m);
  for (int i = 0; i < m; ++i) {
    double* x = T.get() + size_t(i) * c;      // row i of X
    for (int j = std::min(i, c - 1); j >= 0; --j) {
      double sum = i < c ? double(i == j) : panel[i + size_t(j) * m];
      for (int k = j + 1; k <= std::min(i, c - 1); ++k) sum -= x[k] * panel[k + size_t(j) * m];
      x[j] = sum / panel[j + size_t(j) * m];
    }
  }
  const double* Yt = T.get() + size_t(c) * c;
  double* Z21 = Z + c;
  if (r) dense::subtract_product(r, c, r, Z + c + size_t(c) * m, m, Yt, c, Z21, m, true);
  for (int j = 0; j < c; ++j)                 // Z12 = Z21^T
    for (int i = 0; i < r; ++i) Z[j + size_t(c + i) * m] = Z21[i + size_t(j) * m];
  // Z11 = X1^T X1 - Y^T Z21; products subtract, so of the negative first.
  dense::subtract_product(c, c, c, T.get(), c, T.get(), c, Z, m, true);
  for (int j = 0; j < c; ++j)
    for (int i = 0; i < c; ++i) Z[i + size_t(j) * m] = -Z[i + size_t(j) * m];
  if (r) dense::subtract_product(c, c, r, Yt, c, Z + size_t(c) * m, m, Z, m, false);
}

}  // namespace

void Cholesky::selected_inverse(double* values) const {
  const Symbolic& symbolic = *symbolic_;
  const BlockPattern& pattern = symbolic.pattern;
  const int count = int(symbolic.supernodes.size());
  std::vector<Buffer> fronts(count);
  std::vector<int> waiting(count);
  for (int s = count - 1; s >= 0; --s) {
    const Supernode& node = symbolic.supernodes[s];
    const int m = node.columns + node.rows;
    fronts[s] = buffer(size_t(m) * m);
    waiting[s] = int(symbolic.children[s].size());
    double* Z = fronts[s].get();
    if (node.parent >= 0) {
      const Supernode& parent = symbolic.supernodes[node.parent];
      take_rows(node, fronts[node.parent].get(), parent.columns + parent.rows, Z);
      if (--waiting[node.parent] == 0) fronts[node.parent].reset();
    }
    invert_columns(node, factor_.get() + node.panel, Z);
    for (const Entry& entry : node.entries) {
      const int64_t k = entry.block;
      double* block = values + pattern.value_begin[k];
      const int height = pattern.size[pattern.row[k]];
      const int width = int((pattern.value_begin[k + 1] - pattern.value_begin[k]) / height);
      for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j)
          block[i * width + j] = entry.transposed ? Z[entry.row + j + size_t(entry.column + i) * m]
                                                  : Z[entry.row + i + size_t(entry.column + j) * m];
    }
    if (waiting[s] == 0) fronts[s].reset();
  }
}

}  // namespace pypose
