// Registration of the operators pypose::<group>_<name>, ..._backward and ..._double_backward: schemas, CPU, CUDA
// and Meta.  Autograd is in autograd.cpp.  GIL: released by the call through torch.ops.

#include "lie/operators.h"

#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>

#include <map>

namespace pypose {

extern const Kernel SO3_kernels[], SE3_kernels[], RxSO3_kernels[], Sim3_kernels[], SO2_kernels[], SE2_kernels[],
    SE23_kernels[];

namespace {

const KernelTable tables[] = {{SO3_kernels}, {SE3_kernels}, {RxSO3_kernels}, {Sim3_kernels},
                              {SO2_kernels}, {SE2_kernels}, {SE23_kernels}};

}  // namespace

#ifdef PYPOSE_CUDA
extern const CudaKernel SO3_cuda_kernels[], SE3_cuda_kernels[], RxSO3_cuda_kernels[], Sim3_cuda_kernels[],
    SO2_cuda_kernels[], SE2_cuda_kernels[], SE23_cuda_kernels[];

const CudaKernel& cuda_kernel_of(const Kernel& kernel) {
  static const CudaKernel* const cuda[] = {SO3_cuda_kernels, SE3_cuda_kernels, RxSO3_cuda_kernels, Sim3_cuda_kernels,
                                           SO2_cuda_kernels, SE2_cuda_kernels, SE23_cuda_kernels};
  for (size_t i = 0; i < std::size(tables); ++i)
    if (&kernel >= tables[i].begin && &kernel < tables[i].end()) return cuda[i][&kernel - tables[i].begin];
  TORCH_INTERNAL_ASSERT(false, "a kernel of no table");
}
#endif

void for_each_kernel(const std::function<void(const Kernel&)>& f) {
  for (const auto& table : tables)
    for (const Kernel* k = table.begin; k != table.end(); ++k) f(*k);
}

std::string name_of(const Kernel& kernel, int order) {
  return std::string("pypose::") + kernel.group + "_" + kernel.name + suffix[order];
}

const c10::OperatorHandle& operator_of(const Kernel& kernel, int order) {
  static const auto* const all = [] {
    auto* found = new std::map<std::pair<const Kernel*, int>, c10::OperatorHandle>;
    for_each_kernel([&](const Kernel& k) {
      for (int i = 0; i < orders; ++i)
        found->emplace(std::pair(&k, i), c10::Dispatcher::singleton().findSchemaOrThrow(name_of(k, i).c_str(), ""));
    });
    return found;
  }();
  return all->at({&kernel, order});
}

namespace {

struct KnowsKernel final : c10::OperatorKernel {
  KnowsKernel(BoxedLie* f, const Kernel& kernel) : f(f), kernel(kernel) {}
  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
    f(kernel, op, keys, stack);
  }
  BoxedLie* f;
  const Kernel& kernel;
};

}  // namespace

torch::CppFunction boxed(BoxedLie* f, const Kernel& kernel) {
  return torch::CppFunction::makeFromBoxedKernel(
      c10::BoxedKernel::makeFromFunctor<KnowsKernel>(std::make_unique<KnowsKernel>(f, kernel)));
}

namespace {

using torch::jit::Stack;

at::Tensor pop_tensor(Stack* stack) { return torch::jit::pop(*stack).toTensor(); }
at::Tensor pop_second(const Kernel& kernel, Stack* stack) {
  return kernel.other ? pop_tensor(stack) : at::Tensor();
}

void forward(const Kernel& kernel, const c10::OperatorHandle&, c10::DispatchKeySet, Stack* stack) {
  const at::Tensor y = pop_second(kernel, stack), x = pop_tensor(stack);
  stack->emplace_back(lie_forward(kernel, x, y));
}

void backward(const Kernel& kernel, const c10::OperatorHandle&, c10::DispatchKeySet, Stack* stack) {
  const at::Tensor y = pop_second(kernel, stack), x = pop_tensor(stack), g = pop_tensor(stack);
  Results result = lie_backward(kernel, g, x, y, true, true);
  for (int i = 0; i < 1 + (kernel.other > 0); ++i) stack->emplace_back(std::move(result[i]));
}

void double_backward(const Kernel& kernel, const c10::OperatorHandle&, c10::DispatchKeySet, Stack* stack) {
  const at::Tensor y = pop_second(kernel, stack), x = pop_tensor(stack), g = pop_tensor(stack);
  const at::Tensor hy = pop_second(kernel, stack), hx = pop_tensor(stack);
  Results result = lie_double_backward(kernel, hx, hy, g, x, y, {true, true, true});
  for (int i = 0; i < 2 + (kernel.other > 0); ++i) stack->emplace_back(std::move(result[i]));
}

void meta_forward(const Kernel& kernel, const c10::OperatorHandle&, c10::DispatchKeySet, Stack* stack) {
  const at::Tensor y = pop_second(kernel, stack), x = pop_tensor(stack);
  const auto own = x.sym_sizes().slice(0, x.dim() - 1);
  c10::SymDimVector sizes(own.begin(), own.end());
  auto type = x.scalar_type();
  if (y.defined()) {
    auto both = at::infer_size_symdimvector(own, y.sym_sizes().slice(0, y.dim() - 1));
    sizes.assign(both.begin(), both.end());
    type = at::promote_types(type, y.scalar_type());
  }
  sizes.push_back(kernel.rows ? kernel.rows : kernel.out);
  if (kernel.rows) sizes.push_back(kernel.rows);
  stack->emplace_back(at::empty_symint(sizes, x.options().dtype(type)));
}

// The gradients have the shapes of the last inputs.
void meta_gradients(Stack* stack, size_t inputs, size_t results) {
  std::vector<at::Tensor> made;
  for (const auto& input : torch::jit::last(*stack, results))
    made.push_back(at::empty_symint(input.toTensor().sym_sizes(), input.toTensor().options()));
  torch::jit::drop(*stack, inputs);
  for (auto& t : made) stack->emplace_back(std::move(t));
}

void meta_backward(const Kernel& kernel, const c10::OperatorHandle&, c10::DispatchKeySet, Stack* stack) {
  const size_t operands = kernel.other ? 2 : 1;
  meta_gradients(stack, operands + 1, operands);
}

void meta_double_backward(const Kernel& kernel, const c10::OperatorHandle&, c10::DispatchKeySet, Stack* stack) {
  const size_t operands = kernel.other ? 2 : 1;
  meta_gradients(stack, 2 * operands + 1, operands + 1);
}

// Hands a call of the operator to `other`(its name, operands), which has its functions in Python
// (pypose_core/lie/registration.py): two of them, where one for each operator would take long to register.
void hand_over(const char* other, const c10::OperatorHandle& op, Stack* stack) {
  const size_t count = op.schema().arguments().size();
  c10::List<at::Tensor> operands;
  for (const auto& operand : torch::jit::last(*stack, count)) operands.push_back(operand.toTensor());
  torch::jit::drop(*stack, count);
  Stack call{op.schema().name().substr(sizeof "pypose::" - 1), std::move(operands)};
  c10::Dispatcher::singleton().findSchemaOrThrow(other, "").callBoxed(&call);
  for (const at::Tensor& result : call[0].toTensorVector()) stack->emplace_back(result);
}

void by_reference(const Kernel&, const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  hand_over("pypose::by_reference", op, stack);
}

void batched(const Kernel&, const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  hand_over("pypose::batched", op, stack);
}

void implement(torch::Library& m, std::array<BoxedLie*, orders> functions) {
  for_each_kernel([&](const Kernel& kernel) {
    for (int order = 0; order < orders; ++order)
      if (functions[order]) m.impl(name_of(kernel, order).c_str(), boxed(functions[order], kernel));
  });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  for_each_kernel([&](const Kernel& kernel) {
    const bool two = kernel.other;
    m.def((name_of(kernel, 0) + (two ? "(Tensor x, Tensor y) -> Tensor" : "(Tensor x) -> Tensor")).c_str());
    m.def((name_of(kernel, 1) + (two ? "(Tensor g, Tensor x, Tensor y) -> (Tensor, Tensor)"
                                     : "(Tensor g, Tensor x) -> Tensor")).c_str());
    m.def((name_of(kernel, 2) +
           (two ? "(Tensor hx, Tensor hy, Tensor g, Tensor x, Tensor y) -> (Tensor, Tensor, Tensor)"
                : "(Tensor hx, Tensor g, Tensor x) -> (Tensor, Tensor)")).c_str());
  });
  m.def("by_reference(str name, Tensor[] operands) -> Tensor[]");
  m.def("batched(str name, Tensor[] operands) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) { implement(m, {&forward, &backward, &double_backward}); }
#ifdef PYPOSE_CUDA
TORCH_LIBRARY_IMPL(pypose, CUDA, m) { implement(m, {&forward, &backward, nullptr}); }
#endif
// Devices without kernels, third derivatives, torch.func.vmap.
TORCH_LIBRARY_IMPL(pypose, CompositeExplicitAutograd, m) {
  implement(m, {&by_reference, &by_reference, &by_reference});
}
TORCH_LIBRARY_IMPL(pypose, Autograd, m) { implement(m, {nullptr, nullptr, &by_reference}); }
TORCH_LIBRARY_IMPL(pypose, FuncTorchBatched, m) { implement(m, {&batched, &batched, &batched}); }
TORCH_LIBRARY_IMPL(pypose, Meta, m) { implement(m, {&meta_forward, &meta_backward, &meta_double_backward}); }

}  // namespace pypose
