// The operators of the Lie groups on tensors, and their names: what registration (operators.cpp) and the graph
// (autograd.cpp) share.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <array>
#include <string>

#include "lie/kernel.h"

namespace pypose {

// Suffixes of the operators pypose::<group>_<name>...: the operation, its gradient, the gradient of that.
constexpr std::array<const char*, orders> suffix{"", "_backward", "_double_backward"};

// Results of an order: one, two or three tensors; undefined where not wanted or not there.
using Results = std::array<at::Tensor, most_outputs>;

// y is undefined for operations of one argument.
at::Tensor lie_forward(const Kernel& kernel, const at::Tensor& x, const at::Tensor& y);
// The same written over y, which is dense and has the shape and dtype of x and of the result.
void lie_forward_into(const Kernel& kernel, const at::Tensor& x, const at::Tensor& y);
// gx, gy of the shapes of x and y.
Results lie_backward(const Kernel& kernel, const at::Tensor& g, const at::Tensor& x, const at::Tensor& y, bool wants_x,
                     bool wants_y);
// gg, gx, gy of the shapes of g, x and y; hx and hy have those of x and y, and may be undefined (zero).
Results lie_double_backward(const Kernel& kernel, const at::Tensor& hx, const at::Tensor& hy, const at::Tensor& g,
                            const at::Tensor& x, const at::Tensor& y, std::array<bool, 3> wanted);

// Whether, below autograd, nothing but the CPU kernel waits for this tensor: no batching, tracing or fake tensor.
bool on_plain_cpu(const at::Tensor& t);

// Calls f(kernel) for each kernel of each group.
void for_each_kernel(const std::function<void(const Kernel&)>& f);
std::string name_of(const Kernel& kernel, int order);
// The operator of an order.
const c10::OperatorHandle& operator_of(const Kernel& kernel, int order);

// A boxed function that knows its kernel: f(kernel, operator, keys, stack).
using BoxedLie = void(const Kernel&, const c10::OperatorHandle&, c10::DispatchKeySet, torch::jit::Stack*);
torch::CppFunction boxed(BoxedLie* f, const Kernel& kernel);

}  // namespace pypose
