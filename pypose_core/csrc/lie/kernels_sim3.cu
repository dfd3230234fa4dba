// The CUDA kernels of Sim3.

#include "lie/sim3_reverse.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(Sim3);

}  // namespace pypose
