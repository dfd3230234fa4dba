// torch.classes.pypose.Ocp: a problem with its warm start. torch releases the GIL around its methods, as around
// operators.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <algorithm>

#include "control/ocp.h"
#include "control/unpack_tape.h"

namespace pypose {
namespace {

class Ocp : public torch::CustomClassHolder {
 public:
  // sizes [N, nx, nu, nxr, np, nb, nd, ld, exact], layouts [full, value] of cost, g, c, d, H, M, D, stride.
  Ocp(std::vector<int64_t> sizes, std::vector<int64_t> layout, std::vector<int64_t> box,
      std::vector<int64_t> box_number, std::vector<double> l1, std::vector<double> l2, std::vector<int64_t> elastic,
      std::vector<int64_t> quaternions, std::vector<std::vector<at::Tensor>> tapes) {
    TORCH_CHECK(sizes.size() == 9 && layout.size() == 16 && tapes.size() == 5, "malformed program");
    p_.dims = {int(sizes[0]), int(sizes[1]), int(sizes[2])};
    p_.nxr = int(sizes[3]);
    p_.np = int(sizes[4]);
    p_.nb = int(sizes[5]);
    p_.nd = int(sizes[6]);
    p_.ld = int(sizes[7]);
    p_.exact = sizes[8] != 0;
    TORCH_CHECK(leading_dimension(p_.dims.nw()) == p_.ld, "rows of ", p_.ld, " numbers for ", p_.dims.nw());
    const auto fill = [&](RecordLayout& r, size_t at) {
      int* field[] = {&r.cost, &r.g, &r.c, &r.d, &r.H, &r.M, &r.D, &r.stride};
      for (size_t i = 0; i < 8; ++i) *field[i] = int(layout[at + i]);
    };
    fill(p_.full, 0);
    fill(p_.value, 8);
    p_.box.assign(box.begin(), box.end());
    p_.box_number.assign(box_number.begin(), box_number.end());
    p_.l1 = std::move(l1);
    p_.l2 = std::move(l2);
    p_.elastic.assign(elastic.begin(), elastic.end());
    p_.quaternions.assign(quaternions.begin(), quaternions.end());
    Tape* targets[] = {&p_.stage, &p_.stage_value, &p_.terminal, &p_.terminal_value, &p_.step};
    for (size_t i = 0; i < 5; ++i) *targets[i] = unpack(tapes[i]);
  }

  // x0 (B, nxr), params (B, N + 1, np), lower and upper (B, N + 1, rows); options [max_iterations, tolerance,
  // feasibility, qp_tolerance, regularization, time_budget, start_mu, line_search]. Starts: 0 keeps the last solution,
  // 1 shifts it by a step, 2 rolls the guessed controls out, 3 is the guess itself.
  // Returns states, controls, costates, multipliers, stats (B, 11).
  std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> solve(
      const at::Tensor& x0, const at::Tensor& params, const at::Tensor& lower, const at::Tensor& upper, int64_t start,
      const std::vector<double>& options) {
    const int64_t B = x0.size(0), N = p_.dims.N, m = p_.rows();
    check(x0, {B, p_.nxr}, "x0");
    check(params, {B, N + 1, p_.np}, "params");
    check(lower, {B, N + 1, m}, "lower");
    check(upper, {B, N + 1, m}, "upper");
    const OcpOptions o = unpack_options(options);
    grow(B);
    const double *x0_data = x0.const_data_ptr<double>(), *p_data = params.const_data_ptr<double>();
    const double *lo = lower.const_data_ptr<double>(), *hi = upper.const_data_ptr<double>();
    at::parallel_for(0, B, 1, [&](int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b) {
        OcpInstance& instance = *instances_[b];
        const double *p = p_data + b * (N + 1) * p_.np, *x = x0_data + b * p_.nxr;
        if (start == 1) instance.shift(p, nullptr);
        if (start >= 2) instance.forget_multipliers();
        if (start == 2) instance.rollout(x, p);
        instance.solve(x, p, lo + b * (N + 1) * m, hi + b * (N + 1) * m, o);
      }
    });
    return results(B);
  }

  // Of the first B problems: states, controls, costates, multipliers, stats (B, 11).
  std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> results(int64_t B) {
    const int64_t N = p_.dims.N, m = p_.rows();
    grow(B);
    const auto like = at::TensorOptions().dtype(at::kDouble);
    at::Tensor X = at::empty({B, N + 1, p_.nxr}, like), U = at::empty({B, N, p_.dims.nu}, like);
    at::Tensor costates = at::empty({B, N + 1, p_.dims.nx}, like), multipliers = at::empty({B, N + 1, 2, m}, like);
    at::Tensor stats = at::empty({B, 11}, like);
    for (int64_t b = 0; b < B; ++b) {
      const OcpInstance& i = *instances_[b];
      std::copy(i.X.begin(), i.X.end(), X.mutable_data_ptr<double>() + b * X.stride(0));
      std::copy(i.U.begin(), i.U.end(), U.mutable_data_ptr<double>() + b * U.stride(0));
      std::copy(i.costates().begin(), i.costates().end(), costates.mutable_data_ptr<double>() + b * costates.stride(0));
      i.multipliers(multipliers.mutable_data_ptr<double>() + b * multipliers.stride(0));
      write(i.stats, stats.mutable_data_ptr<double>() + b * 11);
    }
    return {X, U, costates, multipliers, stats};
  }

  // The guess that the next solve starts from.
  void set_guess(const at::Tensor& X, const at::Tensor& U) {
    const int64_t B = X.size(0), N = p_.dims.N;
    check(X, {B, N + 1, p_.nxr}, "states");
    check(U, {B, N, p_.dims.nu}, "controls");
    grow(B);
    for (int64_t b = 0; b < B; ++b) {
      std::copy_n(X.const_data_ptr<double>() + b * (N + 1) * p_.nxr, (N + 1) * p_.nxr, instances_[b]->X.begin());
      std::copy_n(U.const_data_ptr<double>() + b * N * p_.dims.nu, N * p_.dims.nu, instances_[b]->U.begin());
    }
  }

  // Problems whose functions, or dynamics alone, are evaluated outside; arguments as of solve(). `last` (B, nxr) is where
  // a shifted guess ends. Then alternately wanted(), and advance() with the records of it, until advance() returns 0.
  void begin(const at::Tensor& x0, const at::Tensor& params, const at::Tensor& lower, const at::Tensor& upper,
             int64_t start, const at::Tensor& last, const std::vector<double>& options, bool dynamics_alone) {
    const int64_t B = x0.size(0), N = p_.dims.N, m = p_.rows();
    check(x0, {B, p_.nxr}, "x0");
    check(params, {B, N + 1, p_.np}, "params");
    check(lower, {B, N + 1, m}, "lower");
    check(upper, {B, N + 1, m}, "upper");
    if (start == 1) check(last, {B, p_.nxr}, "last");
    grow(B);
    outside_ = {params, lower, upper, dynamics_alone, {}};
    for (int64_t b = 0; b < B; ++b) {
      OcpInstance& i = *instances_[b];
      if (start == 1) i.shift(nullptr, last.const_data_ptr<double>() + b * p_.nxr);
      if (start >= 2) i.forget_multipliers();
      i.begin(x0.const_data_ptr<double>() + b * p_.nxr, lower.const_data_ptr<double>() + b * lower.stride(0),
              upper.const_data_ptr<double>() + b * upper.stride(0), unpack_options(options));
      outside_.active.push_back(b);
    }
  }

  // Of the A problems that are not done: their numbers (A), and what to evaluate at: states, controls, costates, and
  // the net multipliers (A, N + 1, nd) of the general rows.
  std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> wanted() {
    const int64_t A = outside_.active.size(), N = p_.dims.N, m = p_.rows(), nd = p_.nd;
    const auto like = at::TensorOptions().dtype(at::kDouble);
    at::Tensor number = at::empty({A}, at::TensorOptions().dtype(at::kLong));
    at::Tensor X = at::empty({A, N + 1, p_.nxr}, like), U = at::empty({A, N, p_.dims.nu}, like);
    at::Tensor costates = at::empty({A, N + 1, p_.dims.nx}, like), net = at::empty({A, N + 1, nd}, like);
    std::vector<double> both(2 * (N + 1) * m);
    for (int64_t a = 0; a < A; ++a) {
      const OcpInstance& i = *instances_[outside_.active[a]];
      number.mutable_data_ptr<int64_t>()[a] = outside_.active[a];
      std::copy(i.wanted_X().begin(), i.wanted_X().end(), X.mutable_data_ptr<double>() + a * X.stride(0));
      std::copy(i.wanted_U().begin(), i.wanted_U().end(), U.mutable_data_ptr<double>() + a * U.stride(0));
      std::copy(i.costates().begin(), i.costates().end(), costates.mutable_data_ptr<double>() + a * costates.stride(0));
      i.multipliers(both.data());
      double* out = net.mutable_data_ptr<double>() + a * net.stride(0);
      for (int64_t k = 0; k <= N; ++k)
        for (int64_t r = 0; r < nd; ++r)
          *out++ = both[(2 * k + 1) * m + p_.nb + r] - both[2 * k * m + p_.nb + r];
    }
    return {number, X, U, costates, net};
  }

  // Records (A, N + 1, stride) of what was wanted; how many problems are not done.
  int64_t advance(const at::Tensor& records) {
    const int64_t A = outside_.active.size(), N = p_.dims.N;
    check(records, {A, N + 1, p_.full.stride}, "records");
    at::parallel_for(0, A, 1, [&](int64_t first, int64_t last) {
      for (int64_t a = first; a < last; ++a) {
        const int64_t b = outside_.active[a];
        instances_[b]->advance(records.const_data_ptr<double>() + a * records.stride(0),
                               outside_.params.const_data_ptr<double>() + b * outside_.params.stride(0),
                               outside_.dynamics_alone);
      }
    });
    auto& active = outside_.active;
    active.erase(std::remove_if(active.begin(), active.end(), [&](int64_t b) { return instances_[b]->done(); }),
                 active.end());
    return int64_t(active.size());
  }

  // Records (N + 1, stride) of the tapes at X, U with parameters (N + 1, np), costates (N + 1, nx), zero multipliers.
  at::Tensor record(const at::Tensor& X, const at::Tensor& U, const at::Tensor& params, const at::Tensor& costates) {
    const int64_t N = p_.dims.N;
    check(X, {N + 1, p_.nxr}, "states");
    check(U, {N, p_.dims.nu}, "controls");
    check(params, {N + 1, p_.np}, "params");
    check(costates, {N + 1, p_.dims.nx}, "costates");
    OcpInstance instance(p_);
    std::copy_n(X.const_data_ptr<double>(), X.numel(), instance.X.begin());
    std::copy_n(U.const_data_ptr<double>(), U.numel(), instance.U.begin());
    std::copy_n(costates.const_data_ptr<double>(), costates.numel(), instance.costates().begin());
    instance.evaluate(params.const_data_ptr<double>());
    at::Tensor result = at::empty({N + 1, p_.full.stride}, X.options());
    std::copy_n(instance.record(), result.numel(), result.mutable_data_ptr<double>());
    return result;
  }

 private:
  static void write(const OcpStats& r, double* out) {
    const double row[11] = {double(r.status), double(r.iterations), double(r.qp_iterations), r.cost, r.defect,
                            r.violation, double(r.worst_stage), double(r.worst_row), r.stationarity, r.seconds, r.step};
    std::copy(row, row + 11, out);
  }

  static OcpOptions unpack_options(const std::vector<double>& options) {
    TORCH_CHECK(options.size() == 8, "eight options");
    OcpOptions o;
    o.max_iterations = int(options[0]);
    o.tolerance = options[1];
    o.feasibility = options[2];
    o.qp_tolerance = options[3];
    o.regularization = options[4];
    o.time_budget = options[5];
    o.start_mu = options[6];
    o.line_search = options[7] != 0;
    return o;
  }

  static void check(const at::Tensor& t, at::IntArrayRef shape, const char* name) {
    TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == at::kDouble && t.is_contiguous() && t.sizes() == shape, name,
                " must be contiguous float64 of shape ", shape, " on the CPU; it is ", toString(t.scalar_type()),
                " of shape ", t.sizes(), " on ", t.device());
  }

  void grow(int64_t count) {
    while (int64_t(instances_.size()) < count) instances_.push_back(std::make_unique<OcpInstance>(p_));
  }

  OcpProgram p_;
  struct {   // of the iteration that begin() began
    at::Tensor params, lower, upper;
    bool dynamics_alone = false;
    std::vector<int64_t> active;
  } outside_;
  std::vector<std::unique_ptr<OcpInstance>> instances_;
};

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.class_<Ocp>("Ocp")
      .def(torch::init<std::vector<int64_t>, std::vector<int64_t>, std::vector<int64_t>, std::vector<int64_t>,
                       std::vector<double>, std::vector<double>, std::vector<int64_t>, std::vector<int64_t>,
                       std::vector<std::vector<at::Tensor>>>())
      .def("solve", &Ocp::solve)
      .def("set_guess", &Ocp::set_guess)
      .def("begin", &Ocp::begin)
      .def("wanted", &Ocp::wanted)
      .def("advance", &Ocp::advance)
      .def("results", &Ocp::results)
      .def("record", &Ocp::record);
}

}  // namespace pypose
