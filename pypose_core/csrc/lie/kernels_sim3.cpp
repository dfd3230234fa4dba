// The CPU kernels of Sim3.

#include "lie/sim3_reverse.h"
#include "lie/cpu_rows.h"

namespace pypose {

PYPOSE_GROUP_KERNELS(Sim3);

}  // namespace pypose
