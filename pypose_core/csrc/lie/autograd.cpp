// The graph of the operators pypose::<group>_<name>: first and second derivatives are native.  Where a second
// derivative is itself differentiated (create_graph), ..._double_backward is called through the dispatcher, whose
// Autograd entry is the reference in Python (pypose_core/lie/registration.py).

#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include "lie/operators.h"

namespace pypose {

bool on_plain_cpu(const at::Tensor& t) {
  const auto tls = c10::impl::tls_local_dispatch_key_set();
  const auto keys = ((t.key_set() | tls.included_) - tls.excluded_).remove(c10::DispatchKey::BackendSelect);
  return (keys & c10::after_ADInplaceOrView_keyset).highestPriorityTypeId() == c10::DispatchKey::CPU;
}

namespace {

using torch::autograd::collect_next_edges;
using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using torch::jit::Stack;

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

bool on_plain_cpu(std::initializer_list<at::Tensor> tensors) {
  for (const at::Tensor& t : tensors)
    if (t.defined() && !pypose::on_plain_cpu(t)) return false;
  return true;
}

// Node of the operation or of its gradient: what it saves and how results return.
struct LieNode : Node {
  const Kernel* kernel = nullptr;
  SavedVariable g, x, y;   // g only in the gradient's

  void release_variables() override {
    g.reset_data();
    x.reset_data();
    y.reset_data();
  }
  int operands() const { return kernel->other ? 2 : 1; }
  at::Tensor second() { return kernel->other ? y.unpack() : at::Tensor(); }
  // Calls the operator of that order; its n results, where wanted.
  void dispatch(int order, Stack stack, variable_list& results) {
    operator_of(*kernel, order).callBoxed(&stack);
    for (size_t i = 0; i < results.size(); ++i)
      if (task_should_compute_output(i)) results[i] = stack[i].toTensor();
  }
  bool wanted(size_t i) { return i < num_outputs() && task_should_compute_output(i); }
};

struct LieBackward : LieNode {
  std::string name() const override { return std::string(kernel->group) + "_" + kernel->name + "_backward"; }

  variable_list apply(variable_list&& grads) override {
    variable_list results(operands());
    const at::Tensor& grad = grads[0];
    if (!grad.defined()) return results;
    const at::Tensor a = x.unpack(), b = second();
    if (at::GradMode::is_enabled() || !on_plain_cpu({grad, a, b})) {
      dispatch(1, kernel->other ? Stack{grad, a, b} : Stack{grad, a}, results);
      return results;
    }
    const at::AutoDispatchBelowADInplaceOrView guard;
    Results found = lie_backward(*kernel, grad, a, b, wanted(0), wanted(1));
    for (size_t i = 0; i < results.size(); ++i) results[i] = std::move(found[i]);
    return results;
  }
};

struct LieDoubleBackward : LieNode {
  std::string name() const override { return std::string(kernel->group) + "_" + kernel->name + "_double_backward"; }

  variable_list apply(variable_list&& h) override {
    variable_list results(operands() + 1);
    at::Tensor hx = h[0], hy = kernel->other ? h[1] : at::Tensor();
    if (!hx.defined() && !hy.defined()) return results;
    const at::Tensor c = g.unpack(), a = x.unpack(), b = second();
    if (at::GradMode::is_enabled() || !on_plain_cpu({hx, hy, c, a, b})) {
      if (!hx.defined()) hx = at::zeros_like(a);
      if (kernel->other && !hy.defined()) hy = at::zeros_like(b);
      dispatch(2, kernel->other ? Stack{hx, hy, c, a, b} : Stack{hx, c, a}, results);
      return results;
    }
    const at::AutoDispatchBelowADInplaceOrView guard;
    Results found = lie_double_backward(*kernel, hx, hy, c, a, b, {wanted(0), wanted(1), wanted(2)});
    for (size_t i = 0; i < results.size(); ++i) results[i] = std::move(found[i]);
    return results;
  }
};

template <class... Tensors>
void refuse_forward_mode(const Tensors&... tensors) {
  TORCH_CHECK(!((tensors.defined() && tensors._fw_grad(0).defined()) || ...),
              "the native kernels have no forward-mode derivative: call the LieTensor methods, which use the "
              "reference then");
}

// Operands of different dtypes are cast in the graph, so that each gets its own back.
void cast_operands(at::Tensor& x, at::Tensor& y) {
  if (!y.defined() || x.scalar_type() == y.scalar_type()) return;
  const auto type = at::promote_types(x.scalar_type(), y.scalar_type());
  x = x.to(type);
  y = y.to(type);
}

template <class Made>
NodePointer save(const Kernel& kernel, const at::Tensor& g, const at::Tensor& x, const at::Tensor& y) {
  NodePointer node = make_node<NodePointer, Made>();
  auto* const made = static_cast<Made*>(node.get());
  made->kernel = &kernel;
  if (g.defined()) made->g = SavedVariable(g, false);
  made->x = SavedVariable(x, false);
  if (kernel.other) made->y = SavedVariable(y, false);
  return node;
}

void autograd_forward(const Kernel& kernel, const c10::OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  at::Tensor y = kernel.other ? torch::jit::pop(*stack).toTensor() : at::Tensor();
  at::Tensor x = torch::jit::pop(*stack).toTensor();
  refuse_forward_mode(x, y);
  cast_operands(x, y);
  NodePointer node;
  if (torch::autograd::compute_requires_grad(x, y)) {
    node = save<LieBackward>(kernel, {}, x, y);
    node->set_next_edges(kernel.other ? collect_next_edges(x, y) : collect_next_edges(x));
  }
  at::Tensor result;
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    if (on_plain_cpu({x, y})) {
      result = lie_forward(kernel, x, y);
    } else {
      stack->emplace_back(x);
      if (kernel.other) stack->emplace_back(y);
      op.redispatchBoxed(keys & c10::after_ADInplaceOrView_keyset, stack);
      result = torch::jit::pop(*stack).toTensor();
    }
  }
  if (node) torch::autograd::set_history(result, node);
  stack->emplace_back(std::move(result));
}

void autograd_backward(const Kernel& kernel, const c10::OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  const size_t operands = kernel.other ? 2 : 1;
  const auto arguments = torch::jit::last(*stack, operands + 1);
  const at::Tensor g = arguments[0].toTensor(), x = arguments[1].toTensor();
  const at::Tensor y = kernel.other ? arguments[2].toTensor() : at::Tensor();
  refuse_forward_mode(g, x, y);
  NodePointer node;
  if (torch::autograd::compute_requires_grad(g, x, y)) {
    node = save<LieDoubleBackward>(kernel, g, x, y);
    node->set_next_edges(kernel.other ? collect_next_edges(g, x, y) : collect_next_edges(g, x));
  }
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    op.redispatchBoxed(keys & c10::after_ADInplaceOrView_keyset, stack);
  }
  if (node) {
    variable_list results;
    for (const auto& result : torch::jit::last(*stack, operands)) results.push_back(result.toTensor());
    torch::autograd::set_history(results, node);
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(pypose, Autograd, m) {
  for_each_kernel([&](const Kernel& kernel) {
    m.impl(name_of(kernel, 0).c_str(), boxed(&autograd_forward, kernel));
    m.impl(name_of(kernel, 1).c_str(), boxed(&autograd_backward, kernel));
  });
}

}  // namespace pypose
