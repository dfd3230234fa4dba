// torch.classes.pypose.Ocp: a problem with its warm start. torch releases the GIL around its methods, as around
// operators.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/custom_class.h>
#include <torch/library.h>

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
    const auto like = x0.options();
    at::Tensor X = at::empty({B, N + 1, p_.nxr}, like), U = at::empty({B, N, p_.dims.nu}, like);
    at::Tensor costates = at::empty({B, N + 1, p_.dims.nx}, like), multipliers = at::empty({B, N + 1, 2, m}, like);
    at::Tensor stats = at::empty({B, 11}, like);
    const double *x0_data = x0.const_data_ptr<double>(), *p_data = params.const_data_ptr<double>();
    const double *lo = lower.const_data_ptr<double>(), *hi = upper.const_data_ptr<double>();
    double *X_out = X.mutable_data_ptr<double>(), *U_out = U.mutable_data_ptr<double>();
    double *c_out = costates.mutable_data_ptr<double>(), *m_out = multipliers.mutable_data_ptr<double>();
    double* s_out = stats.mutable_data_ptr<double>();
    at::parallel_for(0, B, 1, [&](int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b) {
        OcpInstance& instance = *instances_[b];
        const double *p = p_data + b * (N + 1) * p_.np, *x = x0_data + b * p_.nxr;
        if (start == 1) instance.shift(p);
        if (start >= 2) instance.forget_multipliers();
        if (start == 2) instance.rollout(x, p);
        const OcpStats r = instance.solve(x, p, lo + b * (N + 1) * m, hi + b * (N + 1) * m, o);
        std::copy(instance.X.begin(), instance.X.end(), X_out + b * (N + 1) * p_.nxr);
        std::copy(instance.U.begin(), instance.U.end(), U_out + b * N * p_.dims.nu);
        std::copy(instance.costates().begin(), instance.costates().end(), c_out + b * (N + 1) * p_.dims.nx);
        instance.multipliers(m_out + b * (N + 1) * 2 * m);
        write(r, s_out + b * 11);
      }
    });
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

  // One problem whose functions are evaluated outside; arguments as of solve(). Then alternately: trajectory(), and
  // advance() with the records of it. advance() returns 0 where derivatives are needed at trajectory(false), 1 for values
  // at trajectory(true), 2 at the end.
  void begin(const at::Tensor& x0, const at::Tensor& lower, const at::Tensor& upper, bool keep,
             const std::vector<double>& options) {
    const int64_t N = p_.dims.N, m = p_.rows();
    check(x0, {p_.nxr}, "x0");
    check(lower, {N + 1, m}, "lower");
    check(upper, {N + 1, m}, "upper");
    grow(1);
    lower_ = lower;
    upper_ = upper;
    if (!keep) instances_[0]->forget_multipliers();
    instances_[0]->begin(x0.const_data_ptr<double>(), lower_.const_data_ptr<double>(), upper_.const_data_ptr<double>(),
                         unpack_options(options));
  }

  std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> trajectory(bool trial) {
    grow(1);
    const OcpInstance& i = *instances_[0];
    const auto like = at::TensorOptions().dtype(at::kDouble);
    const int64_t N = p_.dims.N;
    at::Tensor X = at::empty({N + 1, p_.nxr}, like), U = at::empty({N, p_.dims.nu}, like);
    at::Tensor costates = at::empty({N + 1, p_.dims.nx}, like), net = at::empty({N + 1, 2, p_.rows()}, like);
    const auto &Xs = trial ? i.X_trial() : i.X, &Us = trial ? i.U_trial() : i.U;
    std::copy(Xs.begin(), Xs.end(), X.mutable_data_ptr<double>());
    std::copy(Us.begin(), Us.end(), U.mutable_data_ptr<double>());
    std::copy(i.costates().begin(), i.costates().end(), costates.mutable_data_ptr<double>());
    i.multipliers(net.mutable_data_ptr<double>());
    return {X, U, costates, net};
  }

  int64_t advance(const at::Tensor& record, bool values) {
    OcpInstance& i = *instances_.at(0);
    const int64_t stride = values ? p_.value.stride : p_.full.stride;
    check(record, {p_.dims.N + 1, stride}, "record");
    const double* data = record.const_data_ptr<double>();
    std::copy(data, data + record.numel(), values ? i.trial_record() : i.record());
    return int64_t(values ? i.tried() : i.linearized());
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

  at::Tensor stats() {
    at::Tensor result = at::empty({11}, at::TensorOptions().dtype(at::kDouble));
    write(instances_.at(0)->stats, result.mutable_data_ptr<double>());
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
  at::Tensor lower_, upper_;   // of the iteration that begin() began
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
      .def("trajectory", &Ocp::trajectory)
      .def("advance", &Ocp::advance)
      .def("record", &Ocp::record)
      .def("stats", &Ocp::stats);
}

}  // namespace pypose
