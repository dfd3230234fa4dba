// What the drivers know of a kernel: its name, its sizes, and functions over many rows without a type.
#pragma once

#include <cstdint>

namespace pypose {

// Rows lie `stride` numbers apart (0: one row for all); results and gradients are dense.
struct RowsForward {
  const void *x, *y;
  int64_t x_stride, y_stride;
  void* out;
};
struct RowsBackward {
  const void *x, *y, *g;
  int64_t x_stride, y_stride, g_stride;
  void *gx, *gy;   // one of them may be null
};

using ForwardFunction = void (*)(const RowsForward&, int64_t n);
using BackwardFunction = void (*)(const RowsBackward&, int64_t n);

struct Kernel {
  const char* group;
  const char* name;
  int in, other, rows, out;   // `other` is 0 for operations of one argument; `rows` > 0: out is a square matrix
  ForwardFunction forward[2];    // float, double
  BackwardFunction backward[2];
};

// The same on a CUDA device: rows lie there, `stream` is a cudaStream_t.
struct CudaKernel {
  void (*forward[2])(const RowsForward&, int64_t n, void* stream);
  void (*backward[2])(const RowsBackward&, int64_t n, void* stream);
};

constexpr int kernels_per_group = 15;

struct KernelTable {
  const Kernel* begin;
  const Kernel* end() const { return begin + kernels_per_group; }
};

}  // namespace pypose
