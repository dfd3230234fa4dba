// The CUDA kernels of SE3.

#include "lie/se3.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(SE3);

}  // namespace pypose
