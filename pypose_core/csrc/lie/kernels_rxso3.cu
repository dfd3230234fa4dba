// The CUDA kernels of RxSO3.

#include "lie/sim3_reverse.h"
#include "lie/cuda_rows.cuh"

namespace pypose {

PYPOSE_GROUP_CUDA_KERNELS(RxSO3);

}  // namespace pypose
