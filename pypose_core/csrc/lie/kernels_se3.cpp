// The CPU kernels of SE3.

#include "lie/se3.h"
#include "lie/cpu_rows.h"

namespace pypose {

PYPOSE_GROUP_KERNELS(SE3);

}  // namespace pypose
