// The CUDA kernels of SE2.

#include "lie/se2.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(SE2);

}  // namespace pypose
