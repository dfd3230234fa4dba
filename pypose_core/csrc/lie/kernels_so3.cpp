// The CPU kernels of SO3.

#include "lie/se3.h"
#include "lie/cpu_rows.h"

namespace pypose {

PYPOSE_GROUP_KERNELS(SO3);

}  // namespace pypose
