// The operators pypose::<group>_<name>: shapes, dtypes, broadcasting and threads (or launches) around the
// kernels, and their registration.  GIL: released by the call through torch.ops.

#include "lie/operators.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/library.h>

#include <string>
#include <unordered_map>

#include "lie/rows.h"

namespace pypose {

extern const Kernel SO3_kernels[], SE3_kernels[], RxSO3_kernels[], Sim3_kernels[], SO2_kernels[], SE2_kernels[],
    SE23_kernels[];

#ifdef PYPOSE_CUDA
extern const CudaKernel SO3_cuda_kernels[], SE3_cuda_kernels[], RxSO3_cuda_kernels[], Sim3_cuda_kernels[],
    SO2_cuda_kernels[], SE2_cuda_kernels[], SE23_cuda_kernels[];
#endif

namespace {

const KernelTable tables[] = {{SO3_kernels}, {SE3_kernels}, {RxSO3_kernels}, {Sim3_kernels},
                              {SO2_kernels}, {SE2_kernels}, {SE23_kernels}};

// Fewer rows than this are not worth waking another thread for.
constexpr int64_t grain = 16384;

std::string name_of(const Kernel& kernel) { return std::string("pypose::") + kernel.group + "_" + kernel.name; }

void check(const Kernel& kernel, const at::Tensor& t, int width, const char* which) {
  TORCH_CHECK(t.dim() >= 1 && t.size(-1) == width, name_of(kernel), ": the last dimension of the ", which,
              " argument must be ", width, ", but the shape is ", t.sizes());
  TORCH_CHECK(at::isFloatingType(t.scalar_type()), name_of(kernel), ": the ", which,
              " argument must be of a floating dtype, not ", t.scalar_type());
}

at::ScalarType promoted(const at::Tensor& x, const at::Tensor& y) {
  return y.defined() ? at::promote_types(x.scalar_type(), y.scalar_type()) : x.scalar_type();
}

// Half precision is computed in single.
at::ScalarType computed(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

// Rows whose numbers lie next to each other, of the dtype of the computation.
at::Tensor ready(const at::Tensor& t, at::ScalarType type) {
  if (!t.defined()) return t;
  const at::Tensor cast = t.scalar_type() == type ? t : t.to(type);
  return cast.size(-1) == 1 || cast.stride(-1) == 1 ? cast : cast.contiguous();
}

at::DimVector batch_of(const at::Tensor& x, const at::Tensor& y) {
  const auto own = x.sizes().slice(0, x.dim() - 1);
  if (!y.defined()) return at::DimVector(own.begin(), own.end());
  return at::infer_size_dimvector(own, y.sizes().slice(0, y.dim() - 1));
}

template <class Function>
void run_parallel(int64_t total, const Function& f) {
  if (total <= grain) {
    f(0, total);
  } else {
    at::parallel_for(0, total, grain, f);
  }
}

#ifdef PYPOSE_CUDA
const CudaKernel& cuda_kernel_of(const Kernel& kernel) {
  static const CudaKernel* const cuda[] = {SO3_cuda_kernels, SE3_cuda_kernels, RxSO3_cuda_kernels, Sim3_cuda_kernels,
                                           SO2_cuda_kernels, SE2_cuda_kernels, SE23_cuda_kernels};
  for (size_t i = 0; i < std::size(tables); ++i)
    if (&kernel >= tables[i].begin && &kernel < tables[i].end()) return cuda[i][&kernel - tables[i].begin];
  TORCH_INTERNAL_ASSERT(false, "a kernel of no table");
}

// The caller's stream; by c10's interface to any device, which needs no CUDA header.
void* stream_of(const at::Tensor& t) {
  const auto stream = c10::impl::VirtualGuardImpl(t.device().type()).getStream(t.device());
  return stream.native_handle();
}
#endif

// On the CPU by the threads of torch, elsewhere by launches on the caller's stream.
template <class Cpu, class Launch>
void run_stretches(const RowPlan& plan, const at::Tensor& x, const Cpu& cpu, const Launch& launch) {
  if (x.is_cpu()) {
    run_parallel(plan.total, [&](int64_t begin, int64_t end) { for_each_stretch(plan, begin, end, cpu); });
  } else {
    const c10::OptionalDeviceGuard guard(x.device());
    for_each_stretch(plan, 0, plan.total, launch);
  }
}

const char* at_row(const at::Tensor& t, int64_t offset) {
  return t.defined() ? static_cast<const char*>(t.const_data_ptr()) + offset * t.element_size() : nullptr;
}

char* dense_row(at::Tensor& t, int64_t row, int width) {
  return t.defined() ? static_cast<char*>(t.mutable_data_ptr()) + row * width * t.element_size() : nullptr;
}

at::Tensor empty_rows(const at::Tensor& like, at::IntArrayRef sizes, at::ScalarType type) {
  if (like.is_cpu()) return at::detail::empty_cpu(sizes, type);
  return at::empty(sizes, like.options().dtype(type));
}

at::DimVector with(at::DimVector batch, std::initializer_list<int64_t> last) {
  batch.append(last.begin(), last.end());
  return batch;
}

}  // namespace

at::Tensor lie_forward(const Kernel& kernel, const at::Tensor& x_in, const at::Tensor& y_in) {
  check(kernel, x_in, kernel.in, "first");
  if (kernel.other) check(kernel, y_in, kernel.other, "second");
  const auto result_type = promoted(x_in, y_in), type = computed(result_type);
  const at::Tensor x = ready(x_in, type), y = ready(y_in, type);
  const auto batch = batch_of(x, y);
  const auto sizes = kernel.rows ? with(batch, {kernel.rows, kernel.rows}) : with(batch, {kernel.out});
  at::Tensor out = empty_rows(x, sizes, type);
  const RowPlan plan = plan_rows(batch, x, y, {});
  if (plan.total) {
    const auto& inner = plan.dimensions.back();
    const auto rows = [&](int64_t xo, int64_t yo, int64_t row) {
      return RowsForward{at_row(x, xo), at_row(y, yo), inner.x, inner.y, dense_row(out, row, kernel.out)};
    };
    const bool is_double = type == at::kDouble;
    const auto forward = kernel.forward[is_double];
    const auto cpu = [&](int64_t xo, int64_t yo, int64_t, int64_t row, int64_t n) { forward(rows(xo, yo, row), n); };
#ifdef PYPOSE_CUDA
    run_stretches(plan, x, cpu, [&](int64_t xo, int64_t yo, int64_t, int64_t row, int64_t n) {
      cuda_kernel_of(kernel).forward[is_double](rows(xo, yo, row), n, stream_of(x));
    });
#else
    run_stretches(plan, x, cpu, cpu);
#endif
  }
  return type == result_type ? out : out.to(result_type);
}

std::tuple<at::Tensor, at::Tensor> lie_backward(const Kernel& kernel, const at::Tensor& g_in, const at::Tensor& x_in,
                                                const at::Tensor& y_in, bool wants_x, bool wants_y) {
  const auto type = computed(promoted(x_in, y_in));
  const at::Tensor x = ready(x_in, type), y = ready(y_in, type);
  const auto batch = batch_of(x, y);
  at::Tensor g = kernel.rows ? g_in.flatten(-2) : g_in;
  g = ready(g, type);
  wants_y = wants_y && kernel.other;
  at::Tensor gx, gy;
  if (wants_x) gx = empty_rows(x, with(batch, {kernel.in}), type);
  if (wants_y) gy = empty_rows(x, with(batch, {kernel.other}), type);
  const RowPlan plan = plan_rows(batch, x, y, g);
  if (plan.total) {
    const auto& inner = plan.dimensions.back();
    const auto rows = [&](int64_t xo, int64_t yo, int64_t go, int64_t row) {
      return RowsBackward{at_row(x, xo), at_row(y, yo), at_row(g, go), inner.x, inner.y, inner.g,
                          dense_row(gx, row, kernel.in), dense_row(gy, row, kernel.other)};
    };
    const bool is_double = type == at::kDouble;
    const auto backward = kernel.backward[is_double];
    const auto cpu = [&](int64_t xo, int64_t yo, int64_t go, int64_t row, int64_t n) {
      backward(rows(xo, yo, go, row), n);
    };
#ifdef PYPOSE_CUDA
    run_stretches(plan, x, cpu, [&](int64_t xo, int64_t yo, int64_t go, int64_t row, int64_t n) {
      cuda_kernel_of(kernel).backward[is_double](rows(xo, yo, go, row), n, stream_of(x));
    });
#else
    run_stretches(plan, x, cpu, cpu);
#endif
  }
  const auto shaped = [](at::Tensor t, const at::Tensor& like) {
    if (!t.defined()) return t;
    if (t.sizes() != like.sizes()) t = at::sum_to(t, like.sizes());
    return t.scalar_type() == like.scalar_type() ? t : t.to(like.scalar_type());
  };
  return {shaped(gx, x_in), shaped(gy, y_in)};
}

namespace {

struct Entry {
  const Kernel* kernel;
  mutable std::optional<c10::OperatorHandle> backward;
};

// By the operator's full name; those of the backward operators have the same kernel.
const std::unordered_map<std::string, Entry>& entries() {
  static const auto* const map = [] {
    auto* m = new std::unordered_map<std::string, Entry>;
    for (const auto& table : tables)
      for (const Kernel* k = table.begin; k != table.end(); ++k) {
        m->emplace(name_of(*k), Entry{k, std::nullopt});
        m->emplace(name_of(*k) + "_backward", Entry{k, std::nullopt});
      }
    return m;
  }();
  return *map;
}

void native_forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Kernel& kernel = kernel_of(op);
  const at::Tensor y = kernel.other ? torch::jit::pop(*stack).toTensor() : at::Tensor();
  const at::Tensor x = torch::jit::pop(*stack).toTensor();
  stack->emplace_back(lie_forward(kernel, x, y));
}

void native_backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Kernel& kernel = kernel_of(op);
  const at::Tensor y = kernel.other ? torch::jit::pop(*stack).toTensor() : at::Tensor();
  const at::Tensor x = torch::jit::pop(*stack).toTensor();
  const at::Tensor g = torch::jit::pop(*stack).toTensor();
  auto [gx, gy] = lie_backward(kernel, g, x, y, true, true);
  stack->emplace_back(std::move(gx));
  if (kernel.other) stack->emplace_back(std::move(gy));
}

void meta_forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Kernel& kernel = kernel_of(op);
  const at::Tensor y = kernel.other ? torch::jit::pop(*stack).toTensor() : at::Tensor();
  const at::Tensor x = torch::jit::pop(*stack).toTensor();
  const auto own = x.sym_sizes().slice(0, x.dim() - 1);
  c10::SymDimVector sizes(own.begin(), own.end());
  if (y.defined()) {
    auto both = at::infer_size_symdimvector(own, y.sym_sizes().slice(0, y.dim() - 1));
    sizes.assign(both.begin(), both.end());
  }
  sizes.push_back(kernel.rows ? kernel.rows : kernel.out);
  if (kernel.rows) sizes.push_back(kernel.rows);
  stack->emplace_back(at::empty_symint(sizes, x.options().dtype(promoted(x, y))));
}

void meta_backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Kernel& kernel = kernel_of(op);
  const at::Tensor y = kernel.other ? torch::jit::pop(*stack).toTensor() : at::Tensor();
  const at::Tensor x = torch::jit::pop(*stack).toTensor();
  torch::jit::drop(*stack, 1);
  stack->emplace_back(at::empty_symint(x.sym_sizes(), x.options()));
  if (y.defined()) stack->emplace_back(at::empty_symint(y.sym_sizes(), y.options()));
}

}  // namespace

const Kernel& kernel_of(const c10::OperatorHandle& op) {
  return *entries().at(op.operator_name().name).kernel;
}

const c10::OperatorHandle& backward_operator(const Kernel& kernel) {
  const Entry& entry = entries().at(name_of(kernel));
  if (!entry.backward) {
    entry.backward = c10::Dispatcher::singleton().findSchemaOrThrow((name_of(kernel) + "_backward").c_str(), "");
  }
  return *entry.backward;
}

namespace {

template <class Define>
void for_each_kernel(const Define& define) {
  for (const auto& table : tables)
    for (const Kernel* k = table.begin; k != table.end(); ++k) define(*k, std::string(k->group) + "_" + k->name);
}

}  // namespace

const char* const* operator_names() {
  static const auto* const names = [] {
    auto* list = new std::vector<const char*>;
    for_each_kernel([&](const Kernel&, const std::string& name) { list->push_back((new std::string(name))->c_str()); });
    list->push_back(nullptr);
    return list;
  }();
  return names->data();
}

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  for_each_kernel([&](const Kernel& kernel, const std::string& name) {
    const bool two = kernel.other;
    m.def((name + (two ? "(Tensor x, Tensor y) -> Tensor" : "(Tensor x) -> Tensor")).c_str());
    m.def((name + (two ? "_backward(Tensor g, Tensor x, Tensor y) -> (Tensor, Tensor)"
                       : "_backward(Tensor g, Tensor x) -> Tensor")).c_str());
  });
}

namespace {

void implement(torch::Library& m) {
  for_each_kernel([&](const Kernel&, const std::string& name) {
    m.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&native_forward>());
    m.impl((name + "_backward").c_str(), torch::CppFunction::makeFromBoxedFunction<&native_backward>());
  });
}

}  // namespace

TORCH_LIBRARY_IMPL(pypose, CPU, m) { implement(m); }
#ifdef PYPOSE_CUDA
TORCH_LIBRARY_IMPL(pypose, CUDA, m) { implement(m); }
#endif

TORCH_LIBRARY_IMPL(pypose, Meta, m) {
  for_each_kernel([&](const Kernel&, const std::string& name) {
    m.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&meta_forward>());
    m.impl((name + "_backward").c_str(), torch::CppFunction::makeFromBoxedFunction<&meta_backward>());
  });
}

}  // namespace pypose
