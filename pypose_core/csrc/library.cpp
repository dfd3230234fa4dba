// The operator library torch.ops.pypose.  Each family of kernels declares and implements its
// operators in its own folder, by TORCH_LIBRARY_FRAGMENT(pypose, m) and TORCH_LIBRARY_IMPL.

#include <torch/library.h>

TORCH_LIBRARY(pypose, m) {
  // Compared by pypose_core/native.py, so that a stale build is refused and not called with other shapes.
  m.def("abi_version() -> int", []() -> int64_t { return 24; });
}
