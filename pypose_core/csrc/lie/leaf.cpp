// pypose::deliver_left_tangent: the hook of pypose_core/lie/leaf.py without the way through Python.

#include <ATen/core/grad_mode.h>
#include <c10/core/TensorImpl.h>

#include <cstring>

#include "lie/operators.h"

namespace pypose {

namespace {

const Kernel& to_leaf_of(c10::string_view group) {
  const Kernel* found = nullptr;
  for_each_kernel([&](const Kernel& kernel) {
    if (group == kernel.group && std::strcmp(kernel.name, "to_leaf") == 0) found = &kernel;
  });
  TORCH_CHECK(found, "no group ", group);
  return *found;
}

at::Tensor call(const Kernel& kernel, const at::Tensor& x, const at::Tensor& g) {
  torch::jit::Stack stack{x, g};
  operator_of(kernel, 0).callBoxed(&stack);
  return stack[0].toTensor();
}

// Whether nobody else will see g changed: the engine made it, holds it in its list and in the hook's own argument, and
// no graph is made of the projection.
bool is_ours(const at::Tensor& x, const at::Tensor& g) {
  return !at::GradMode::is_enabled() && g.use_count() <= 2 && !g.requires_grad() && on_plain_cpu(g) &&
         on_plain_cpu(x) && g.is_contiguous() && g.storage().use_count() == 1 && g.sizes() == x.sizes() &&
         g.scalar_type() == x.scalar_type() && x.stride(-1) == 1 &&
         (x.scalar_type() == at::kDouble || x.scalar_type() == at::kFloat);
}

// Linear in x and in g, which gives it its forward-mode derivative.
at::Tensor to_leaf(const Kernel& kernel, const at::Tensor& x, const at::Tensor& g) {
  const at::Tensor dx = x._fw_grad(0), dg = g._fw_grad(0);
  if (!dx.defined() && !dg.defined()) {
    if (!is_ours(x, g)) return call(kernel, x, g);
    lie_forward_into(kernel, x, g);
    return g;
  }
  const at::Tensor x0 = dx.defined() ? x._fw_primal(0) : x, g0 = dg.defined() ? g._fw_primal(0) : g;
  at::Tensor tangent;
  if (dg.defined()) tangent = call(kernel, x0, dg);
  if (dx.defined()) tangent = tangent.defined() ? tangent.add(call(kernel, dx, g0)) : call(kernel, dx, g0);
  at::Tensor result = call(kernel, x0, g0);
  result._set_fw_grad(tangent, 0, false);
  return result;
}

void deliver_left_tangent(const at::Tensor& X, c10::string_view group) {
  const Kernel& kernel = to_leaf_of(group);
  // Weak: the hook belongs to X.
  const c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> own(X.getIntrusivePtr());
  X.register_hook([own, &kernel](const at::Tensor& g) { return to_leaf(kernel, at::Tensor(own.lock()), g); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("deliver_left_tangent(Tensor X, str group) -> ()", &deliver_left_tangent);
}

}  // namespace pypose
