// What the drivers know of a kernel: its name, its sizes, and functions over many rows without a type.
#pragma once

#include <cstdint>

namespace pypose {

constexpr int orders = 3;
constexpr int most_inputs = 5, most_outputs = 3;

// What a row function of each order takes and gives; y is absent for operations of one argument.
//   order 0    x, y                 z             the operation
//   order 1    x, y, g              gx, gy        its transposed derivative times g
//   order 2    x, y, g, hx, hy      gg, gx, gy    the transposed derivative of order 1 times (hx, hy)
// Rows of inputs lie `step` numbers apart (0: one row for all); results are dense.
struct Rows {
  const void* in[most_inputs];
  int64_t step[most_inputs];
  void* out[most_outputs];   // null where not wanted; never that of order 0
};

using RowFunction = void (*)(const Rows&, int64_t n);

struct Kernel {
  const char* group;
  const char* name;
  int in, other, rows, out;   // `other` is 0 for operations of one argument; `rows` > 0: out is a square matrix
  RowFunction run[orders][2];   // float, double

  // Numbers in a row of an order's result i.
  int output_width(int order, int i) const {
    if (order == 0) return out;
    const int which = order == 1 ? i : i - 1;
    return which < 0 ? out : which == 0 ? in : other;
  }
};

// The same on a CUDA device, orders 0 and 1: rows lie there, `stream` is a cudaStream_t.
struct CudaKernel {
  void (*run[2][2])(const Rows&, int64_t n, void* stream);
};

constexpr int kernels_per_group = 15;

struct KernelTable {
  const Kernel* begin;
  const Kernel* end() const { return begin + kernels_per_group; }
};

}  // namespace pypose
