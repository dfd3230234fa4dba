// The CPU kernels of SE23.

#include "lie/se23.h"
#include "lie/cpu_rows.h"

namespace pypose {

PYPOSE_GROUP_KERNELS(SE23);

}  // namespace pypose
