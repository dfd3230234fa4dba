// The kernels on tensors: shapes, dtypes, broadcasting, and threads or launches.

#include <ATen/EmptyTensor.h>
#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "lie/huge_pages.h"
#include "lie/operators.h"
#include "lie/rows.h"

namespace pypose {

#ifdef PYPOSE_CUDA
const CudaKernel& cuda_kernel_of(const Kernel& kernel);
#endif

namespace {

// Fewer rows than this are not worth waking another thread for.
constexpr int64_t grain = 16384;

void check(const Kernel& kernel, const at::Tensor& t, int width, const char* which) {
  TORCH_CHECK(t.dim() >= 1 && t.size(-1) == width, name_of(kernel, 0), ": the last dimension of the ", which,
              " argument must be ", width, ", but the shape is ", t.sizes());
  TORCH_CHECK(at::isFloatingType(t.scalar_type()), name_of(kernel, 0), ": the ", which,
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

at::DimVector with(at::DimVector batch, std::initializer_list<int64_t> last) {
  batch.append(last.begin(), last.end());
  return batch;
}

at::Tensor empty_rows(const at::Tensor& like, at::IntArrayRef sizes, at::ScalarType type) {
  if (like.is_cpu()) {
    at::Tensor made = at::detail::empty_cpu(sizes, type);
    prefer_huge_pages(made.mutable_data_ptr(), made.nbytes());
    return made;
  }
  return at::empty(sizes, like.options().dtype(type));
}

// Runs the kernel's row function over the rows of `in` that meet; `out` is dense.  On the CPU by the threads of
// torch, elsewhere by launches on the caller's stream.
template <int N>
void run(const Kernel& kernel, int order, at::IntArrayRef batch, const std::array<at::Tensor, N>& in, Results& out) {
  const RowPlan<N> plan = plan_rows<N>(batch, in);
  if (!plan.total) return;
  const at::Tensor& x = in[0];
  const int64_t bytes = x.element_size();
  const auto stretch = [&](const std::array<int64_t, N>& offset, int64_t row) {
    Rows rows{};
    for (int i = 0; i < N; ++i) {
      rows.step[i] = plan.dimensions.back().step[i];
      if (in[i].defined()) rows.in[i] = static_cast<const char*>(in[i].const_data_ptr()) + offset[i] * bytes;
    }
    for (int i = 0; i < most_outputs; ++i)
      if (out[i].defined())
        rows.out[i] = static_cast<char*>(out[i].mutable_data_ptr()) + row * kernel.output_width(order, i) * bytes;
    return rows;
  };
  const bool is_double = x.scalar_type() == at::kDouble;
#ifdef PYPOSE_CUDA
  if (!x.is_cpu()) {
    // The stream by c10's interface to any device, which needs no CUDA header.
    const c10::OptionalDeviceGuard guard(x.device());
    void* const stream = c10::impl::VirtualGuardImpl(x.device().type()).getStream(x.device()).native_handle();
    const auto launch = cuda_kernel_of(kernel).run[order][is_double];
    for_each_stretch<N>(plan, 0, plan.total, [&](const auto& offset, int64_t row, int64_t n) {
      launch(stretch(offset, row), n, stream);
    });
    return;
  }
#endif
  const RowFunction function = kernel.run[order][is_double];
  const auto cpu = [&](int64_t begin, int64_t end) {
    for_each_stretch<N>(plan, begin, end,
                        [&](const auto& offset, int64_t row, int64_t n) { function(stretch(offset, row), n); });
  };
  if (plan.total <= grain) {
    cpu(0, plan.total);
  } else {
    at::parallel_for(0, plan.total, grain, cpu);
  }
}

// A gradient of broadcast rows summed to the shape and dtype of what it belongs to.
at::Tensor shaped(at::Tensor t, const at::Tensor& like) {
  if (!t.defined()) return t;
  if (t.sizes() != like.sizes()) t = at::sum_to(t, like.sizes());
  return t.scalar_type() == like.scalar_type() ? t : t.to(like.scalar_type());
}

at::Tensor flat(const Kernel& kernel, const at::Tensor& matrices) {
  return kernel.rows ? matrices.flatten(-2) : matrices;
}

}  // namespace

void lie_forward_into(const Kernel& kernel, const at::Tensor& x, const at::Tensor& y) {
  Results out{y};
  run<2>(kernel, 0, batch_of(x, y), {x, y}, out);
}

at::Tensor lie_forward(const Kernel& kernel, const at::Tensor& x_in, const at::Tensor& y_in) {
  check(kernel, x_in, kernel.in, "first");
  if (kernel.other) check(kernel, y_in, kernel.other, "second");
  const auto result_type = promoted(x_in, y_in), type = computed(result_type);
  const at::Tensor x = ready(x_in, type), y = ready(y_in, type);
  const auto batch = batch_of(x, y);
  const auto sizes = kernel.rows ? with(batch, {kernel.rows, kernel.rows}) : with(batch, {kernel.out});
  Results out{empty_rows(x, sizes, type)};
  run<2>(kernel, 0, batch, {x, y}, out);
  return type == result_type ? out[0] : out[0].to(result_type);
}

Results lie_backward(const Kernel& kernel, const at::Tensor& g_in, const at::Tensor& x_in, const at::Tensor& y_in,
                     bool wants_x, bool wants_y) {
  const auto type = computed(promoted(x_in, y_in));
  const at::Tensor x = ready(x_in, type), y = ready(y_in, type), g = ready(flat(kernel, g_in), type);
  const auto batch = batch_of(x, y);
  Results out;
  if (wants_x) out[0] = empty_rows(x, with(batch, {kernel.in}), type);
  if (wants_y && kernel.other) out[1] = empty_rows(x, with(batch, {kernel.other}), type);
  run<3>(kernel, 1, batch, {x, y, g}, out);
  return {shaped(out[0], x_in), shaped(out[1], y_in)};
}

Results lie_double_backward(const Kernel& kernel, const at::Tensor& hx_in, const at::Tensor& hy_in,
                            const at::Tensor& g_in, const at::Tensor& x_in, const at::Tensor& y_in,
                            std::array<bool, 3> wanted) {
  const auto type = computed(promoted(x_in, y_in));
  const at::Tensor x = ready(x_in, type), y = ready(y_in, type), g = ready(flat(kernel, g_in), type);
  // A direction that is not there is one row of zeros for all.
  const auto direction = [&](const at::Tensor& h, int width) {
    return h.defined() ? ready(h, type) : at::zeros({width}, x.options());
  };
  const at::Tensor hx = direction(hx_in, kernel.in);
  const at::Tensor hy = kernel.other ? direction(hy_in, kernel.other) : at::Tensor();
  const auto batch = batch_of(x, y);
  Results out;
  for (int i = 0; i < 2 + (kernel.other > 0); ++i)
    if (wanted[i]) out[i] = empty_rows(x, with(batch, {kernel.output_width(2, i)}), type);
  run<5>(kernel, 2, batch, {x, y, g, hx, hy}, out);
  at::Tensor gg = out[0].defined() && kernel.rows ? out[0].unflatten(-1, {kernel.rows, kernel.rows}) : out[0];
  return {shaped(gg, g_in), shaped(out[1], x_in), shaped(out[2], y_in)};
}

}  // namespace pypose
