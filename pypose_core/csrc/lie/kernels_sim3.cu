// The CUDA kernels of Sim3.

#include "lie/sim3.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(Sim3);

}  // namespace pypose
