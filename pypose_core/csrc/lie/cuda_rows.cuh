// Launches over rows for CUDA, and the table of a group's kernels made of them.  No torch headers: nvcc
// compiles it whatever torch there is.
#pragma once

#include <cuda_runtime.h>

#include "lie/kernel.h"
#include "lie/composed_reverse.h"

namespace pypose {

constexpr int threads_per_block = 128;

template <class Op, typename T>
__global__ void forward_row(Rows r, int64_t n) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const T *x = static_cast<const T*>(r.in[0]), *y = static_cast<const T*>(r.in[1]);
  Op::forward(x + i * r.step[0], y + i * r.step[1], static_cast<T*>(r.out[0]) + i * Op::out);
}

template <class Op, typename T>
__global__ void backward_row(Rows r, int64_t n) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const T *x = static_cast<const T*>(r.in[0]), *y = static_cast<const T*>(r.in[1]), *g = static_cast<const T*>(r.in[2]);
  T gx[Op::in], gy[Op::other + 1];
  Reverse<Op>::backward(x + i * r.step[0], y + i * r.step[1], g + i * r.step[2], gx, gy);
  if (r.out[0])
    for (int j = 0; j < Op::in; ++j) static_cast<T*>(r.out[0])[i * Op::in + j] = gx[j];
  if (r.out[1])
    for (int j = 0; j < Op::other; ++j) static_cast<T*>(r.out[1])[i * Op::other + j] = gy[j];
}

inline unsigned blocks(int64_t n) { return unsigned((n + threads_per_block - 1) / threads_per_block); }

template <class Op, typename T>
void launch_forward(const Rows& r, int64_t n, void* stream) {
  forward_row<Op, T><<<blocks(n), threads_per_block, 0, static_cast<cudaStream_t>(stream)>>>(r, n);
}

template <class Op, typename T>
void launch_backward(const Rows& r, int64_t n, void* stream) {
  backward_row<Op, T><<<blocks(n), threads_per_block, 0, static_cast<cudaStream_t>(stream)>>>(r, n);
}

template <class Op>
constexpr CudaKernel cuda_kernel() {
  return {{{&launch_forward<Op, float>, &launch_forward<Op, double>},
           {&launch_backward<Op, float>, &launch_backward<Op, double>}}};
}

}  // namespace pypose

// In the order of PYPOSE_GROUP_KERNELS.
#define PYPOSE_GROUP_CUDA_KERNELS(G)                                                          \
  extern const ::pypose::CudaKernel G##_cuda_kernels[::pypose::kernels_per_group];            \
  const ::pypose::CudaKernel G##_cuda_kernels[::pypose::kernels_per_group] = {                \
      cuda_kernel<Exp<G>>(), cuda_kernel<Log<G>>(), cuda_kernel<Inv<G>>(),                    \
      cuda_kernel<Matrix<G>>(), cuda_kernel<Jr<G>>(), cuda_kernel<Mul<G>>(),                  \
      cuda_kernel<Between<G>>(), cuda_kernel<Retract<G>>(), cuda_kernel<Act<G>>(),            \
      cuda_kernel<ActHomogeneous<G>>(), cuda_kernel<Adj<G>>(), cuda_kernel<AdjT<G>>(),        \
      cuda_kernel<Jinvp<G>>(), cuda_kernel<Euler<G>>(), cuda_kernel<ToLeaf<G>>()}
