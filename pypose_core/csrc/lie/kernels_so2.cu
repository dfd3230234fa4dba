// The CUDA kernels of SO2.

#include "lie/se2.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(SO2);

}  // namespace pypose
