// The registered operators of the Lie groups: what joins their names, kernels and dispatcher entries.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <tuple>

#include "lie/kernel.h"

namespace pypose {

// The kernel of pypose::<group>_<name> or of its _backward.
const Kernel& kernel_of(const c10::OperatorHandle& op);
// The operator pypose::<group>_<name>_backward of a kernel.
const c10::OperatorHandle& backward_operator(const Kernel& kernel);

// Names without namespace of all operators but the backward ones; ends with a null.
const char* const* operator_names();

// y is undefined for operations of one argument.
at::Tensor lie_forward(const Kernel& kernel, const at::Tensor& x, const at::Tensor& y);
// Gradients summed to the shapes of x and y; undefined where not wanted.
std::tuple<at::Tensor, at::Tensor> lie_backward(const Kernel& kernel, const at::Tensor& g, const at::Tensor& x,
                                                const at::Tensor& y, bool wants_x, bool wants_y);

}  // namespace pypose
