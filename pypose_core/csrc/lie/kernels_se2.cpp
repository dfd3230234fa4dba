// The CPU kernels of SE2.

#include "lie/se2.h"
#include "lie/cpu_rows.h"

namespace pypose {

PYPOSE_GROUP_KERNELS(SE2);

}  // namespace pypose
