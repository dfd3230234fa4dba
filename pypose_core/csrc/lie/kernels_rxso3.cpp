// The CPU kernels of RxSO3.

#include "lie/sim3_reverse.h"
#include "lie/cpu_rows.h"

namespace pypose {

PYPOSE_GROUP_KERNELS(RxSO3);

}  // namespace pypose
