// The CUDA kernels of SE23.

#include "lie/se23.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(SE23);

}  // namespace pypose
