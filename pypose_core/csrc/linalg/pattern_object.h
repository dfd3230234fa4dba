// The pattern of a block matrix as an object that the operators hand to Python and back.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>

#include <memory>

#include "linalg/symbolic.h"

namespace pypose {

struct PatternObject : torch::CustomClassHolder {
  std::shared_ptr<const BlockPattern> pattern;
  explicit PatternObject(std::shared_ptr<const BlockPattern> pattern) : pattern(std::move(pattern)) {}
};

using PatternPtr = c10::intrusive_ptr<PatternObject>;

// t, contiguous, if it has this type and shape and is on the CPU.
inline at::Tensor checked(const at::Tensor& t, at::ScalarType type, at::IntArrayRef shape, const char* name) {
  TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == type, name, " must be a ", toString(type),
              " tensor on the CPU; it is ", toString(t.scalar_type()), " on ", t.device());
  TORCH_CHECK(t.sizes() == shape, name, " must have shape ", shape, "; it has ", t.sizes());
  return t.contiguous();
}

}  // namespace pypose
