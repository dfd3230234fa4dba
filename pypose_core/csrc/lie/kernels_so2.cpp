// The CPU kernels of SO2.

#include "lie/se2.h"
#include "lie/cpu_rows.h"

namespace pypose {

PYPOSE_GROUP_KERNELS(SO2);

}  // namespace pypose
