// What of a sparse Cholesky factorization depends on the pattern alone: the elimination order, the supernodes
// with their rows, and where each front's update goes in its parent's front.
//
// A is symmetric, in blocks of any sizes. Sources: Liu, "The role of elimination trees in sparse factorization",
// SIAM J. Matrix Anal. 11, 1990; Duff and Reid, "The multifrontal solution of indefinite sparse symmetric linear
// equations", ACM TOMS 9, 1983.
#pragma once

#include <cstdint>
#include <vector>

#include "linalg/graph.h"

namespace pypose {

// Blocks of the lower triangle by columns; the first of each column is the diagonal one. Block (i, j), i >= j,
// is row-major at value_begin[k] of the values.
struct BlockPattern {
  std::vector<int> size;                 // scalar rows of block row i
  std::vector<int64_t> start;            // scalar row where block row i starts; start[n] is the dimension
  std::vector<int64_t> column_begin;
  std::vector<int> row;
  std::vector<int64_t> value_begin;      // one more entry: the number of values

  int blocks() const { return int(size.size()); }
  int64_t dimension() const { return start.back(); }
  int64_t values() const { return value_begin.back(); }

  // From couplings (i, j) in any order, repeated or not; the diagonal is always there.
  static BlockPattern from_couplings(std::vector<int> size, const std::vector<std::pair<int, int>>& couplings);

  // Position k of block (i, j) with i >= j, or -1.
  int64_t find(int i, int j) const;

  Graph graph() const;
};

// A run of consecutive front positions of a child that are consecutive in the parent as well.
struct Run {
  int child, parent, length;
};

// A block of A in a front: its panel's position (row, column), and whether it is stored transposed there.
struct Entry {
  int64_t block;
  int row, column;
  bool transposed;
};

struct Supernode {
  int first_column, columns;             // scalar, in elimination order
  int rows;                              // scalar rows below the columns
  int parent;                            // -1: a root
  int64_t panel;                         // where its (columns + rows) x columns panel of L starts
  int64_t update;                        // where its rows x rows update matrix lies in the workspace
  int first_block, end_block;            // its block columns, as positions in `order`
  std::vector<int> row_blocks;           // block rows below, as positions in `order`, ascending
  std::vector<int> row_start;            // where each of them starts among the `rows`; one more entry
  std::vector<Run> runs;                 // of its rows in the parent's front
  std::vector<Entry> entries;            // blocks of A that enter here
};

struct Symbolic {
  BlockPattern pattern;
  std::vector<int> order, position;      // order[k] is the block eliminated k-th; position is its inverse
  std::vector<int64_t> eliminated_start; // scalar start of the k-th eliminated block
  std::vector<int> supernode_of;         // of the k-th eliminated block
  std::vector<Supernode> supernodes;     // children before parents
  std::vector<std::vector<int>> children;
  int64_t factor_size = 0, workspace_size = 0;
  int largest_front = 0;
  double flops = 0;

  Symbolic(BlockPattern pattern, std::vector<int> order);
};

}  // namespace pypose
