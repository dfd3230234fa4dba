// The CUDA kernels of SO3.

#include "lie/se3.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(SO3);

}  // namespace pypose
