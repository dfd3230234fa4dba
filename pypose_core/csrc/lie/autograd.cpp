// First derivatives of the operators pypose::<group>_<name>.  Where the gradient itself is differentiated
// (create_graph), the _backward operator is called through the dispatcher, whose Autograd entry is the
// reference in Python (pypose_core/lie/registration.py).

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>

#include "lie/operators.h"

namespace pypose {

namespace {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

struct LieBackward : Node {
  const Kernel* kernel = nullptr;
  SavedVariable x, y;

  std::string name() const override { return std::string(kernel->group) + "_" + kernel->name + "_backward"; }

  void release_variables() override {
    x.reset_data();
    y.reset_data();
  }

  variable_list apply(variable_list&& grads) override {
    variable_list result(kernel->other ? 2 : 1);
    const at::Tensor& g = grads[0];
    if (!g.defined()) return result;
    const at::Tensor a = x.unpack(), b = kernel->other ? y.unpack() : at::Tensor();
    const auto call = [&] {
      torch::jit::Stack stack{g, a};
      if (kernel->other) stack.emplace_back(b);
      backward_operator(*kernel).callBoxed(&stack);
      for (size_t i = 0; i < result.size(); ++i)
        if (task_should_compute_output(i)) result[i] = stack[i].toTensor();
    };
    if (at::GradMode::is_enabled()) {
      call();
      return result;
    }
    at::AutoDispatchBelowADInplaceOrView guard;
    if (!a.is_cpu() || !g.is_cpu()) {
      call();
      return result;
    }
    auto [ga, gb] = lie_backward(*kernel, g, a, b, task_should_compute_output(0),
                                 kernel->other && task_should_compute_output(1));
    result[0] = std::move(ga);
    if (kernel->other) result[1] = std::move(gb);
    return result;
  }
};

// torch moved its graph from shared_ptr to intrusive_ptr.
using NodePointer = std::decay_t<decltype(std::declval<const at::Tensor&>().grad_fn())>;

template <class Pointer, class Made>
Pointer make_node() {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<Node>>) {
    return std::make_shared<Made>();
  } else {
    return Pointer(c10::make_intrusive<Made>());
  }
}

// Operands of different dtypes, or of half precision, are cast in the graph, so that each gets its own back.
bool cast_operands(const Kernel& kernel, at::Tensor& x, at::Tensor& y) {
  if (!kernel.other || x.scalar_type() == y.scalar_type()) return false;
  const auto type = at::promote_types(x.scalar_type(), y.scalar_type());
  x = x.to(type);
  y = y.to(type);
  return true;
}

void autograd_forward(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const Kernel& kernel = kernel_of(op);
  const size_t operands = kernel.other ? 2 : 1;
  auto arguments = torch::jit::last(*stack, operands);
  at::Tensor x = arguments[0].toTensor(), y = kernel.other ? arguments[1].toTensor() : at::Tensor();
  TORCH_CHECK(!x._fw_grad(0).defined() && !(y.defined() && y._fw_grad(0).defined()),
              "the native kernels have no forward-mode derivative: call the LieTensor methods, which use the "
              "reference then");
  if (cast_operands(kernel, x, y)) {
    torch::jit::drop(*stack, operands);
    stack->emplace_back(x);
    stack->emplace_back(y);
  }
  NodePointer node;
  if (torch::autograd::compute_requires_grad(x, y)) {
    node = make_node<NodePointer, LieBackward>();
    auto* const backward = static_cast<LieBackward*>(node.get());
    backward->set_next_edges(kernel.other ? torch::autograd::collect_next_edges(x, y)
                                      : torch::autograd::collect_next_edges(x));
    backward->kernel = &kernel;
    backward->x = SavedVariable(x, false);
    if (kernel.other) backward->y = SavedVariable(y, false);
  }
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    op.redispatchBoxed(keys & c10::after_ADInplaceOrView_keyset, stack);
  }
  if (node) {
    at::Tensor result = torch::jit::pop(*stack).toTensor();
    torch::autograd::set_history(result, node);
    stack->emplace_back(std::move(result));
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(pypose, Autograd, m) {
  for (const char* const* name = operator_names(); *name; ++name)
    m.impl(*name, torch::CppFunction::makeFromBoxedFunction<&autograd_forward>());
}

}  // namespace pypose
