// torch.ops.pypose.window_solve and window_marginalize. torch releases the GIL around operators that are
// called through torch.ops, so a solve in a worker thread does not hold up a callback.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "online/window.h"

namespace pypose {
namespace {

at::Tensor checked(const at::Tensor& t, at::ScalarType type, at::IntArrayRef shape, const char* name) {
  TORCH_CHECK(t.device().is_cpu() && t.scalar_type() == type, name, " must be a ", toString(type),
              " tensor on the CPU; it is ", toString(t.scalar_type()), " on ", t.device());
  TORCH_CHECK(t.sizes() == shape, name, " must have shape ", shape, "; it has ", t.sizes());
  return t.contiguous();
}

// Contiguous tensors and the view into them.
struct Arguments {
  at::Tensor states, imu, pose_index, pose, pose_information, relative_index, relative, relative_information,
      velocity_index, velocity_rate, velocity, velocity_information, T_imu_base, prior_states, prior_information, prior_gradient;
  WindowView view;

  Arguments(const at::Tensor& states_, const at::Tensor& imu_, const at::Tensor& pose_index_,
            const at::Tensor& pose_, const at::Tensor& pose_information_, const at::Tensor& relative_index_,
            const at::Tensor& relative_, const at::Tensor& relative_information_,
            const at::Tensor& velocity_index_, const at::Tensor& velocity_rate_, const at::Tensor& velocity_,
            const at::Tensor& velocity_information_, const at::Tensor& T_imu_base_, const at::Tensor& prior_states_,
            const at::Tensor& prior_information_, const at::Tensor& prior_gradient_, double gravity,
            int64_t kernel, double kernel_width) {
    const auto f64 = at::kDouble;
    TORCH_CHECK(states_.dim() == 2 && states_.size(0) >= 1, "states must be (W, 16) with W >= 1");
    const int64_t W = states_.size(0), A = pose_index_.numel(), B = relative_index_.size(0);
    const int64_t C = velocity_index_.numel(), M = prior_states_.size(0);
    TORCH_CHECK(M <= W, "the prior covers ", M, " keyframes of ", W);
    states = checked(states_, f64, {W, nav_state::kSize}, "states");
    imu = checked(imu_, f64, {W - 1, preintegrated::kSize}, "imu");
    pose_index = checked(pose_index_, at::kLong, {A}, "pose_index");
    pose = checked(pose_, f64, {A, 7}, "pose");
    pose_information = checked(pose_information_, f64, {A, 6, 6}, "pose_information");
    relative_index = checked(relative_index_, at::kLong, {B, 2}, "relative_index");
    relative = checked(relative_, f64, {B, 7}, "relative");
    relative_information = checked(relative_information_, f64, {B, 6, 6}, "relative_information");
    velocity_index = checked(velocity_index_, at::kLong, {C}, "velocity_index");
    velocity_rate = checked(velocity_rate_, f64, {C, 3}, "velocity_rate");
    velocity = checked(velocity_, f64, {C, 3}, "velocity");
    velocity_information = checked(velocity_information_, f64, {C, 3, 3}, "velocity_information");
    T_imu_base = checked(T_imu_base_, f64, {7}, "T_imu_base");
    prior_states = checked(prior_states_, f64, {M, nav_state::kSize}, "prior_states");
    prior_information = checked(prior_information_, f64, {kDof * M, kDof * M}, "prior_information");
    prior_gradient = checked(prior_gradient_, f64, {kDof * M}, "prior_gradient");
    for (const at::Tensor* index : {&pose_index, &velocity_index})
      for (int64_t k = 0; k < index->numel(); ++k) {
        const int64_t i = index->const_data_ptr<int64_t>()[k];
        TORCH_CHECK(i >= 0 && i < W, "index ", i, " of a factor is not one of ", W, " keyframes");
      }
    for (int64_t k = 0; k < B; ++k) {
      const int64_t i = relative_index.const_data_ptr<int64_t>()[2 * k];
      const int64_t j = relative_index.const_data_ptr<int64_t>()[2 * k + 1];
      TORCH_CHECK(0 <= i && i < j && j < W, "relative_index (", i, ", ", j, ") is not an ordered pair of ", W,
                  " keyframes");
    }
    view = {W, A, B, C, M, states.const_data_ptr<double>(), imu.const_data_ptr<double>(),
            pose_index.const_data_ptr<int64_t>(), pose.const_data_ptr<double>(),
            pose_information.const_data_ptr<double>(), relative_index.const_data_ptr<int64_t>(),
            relative.const_data_ptr<double>(), relative_information.const_data_ptr<double>(),
            velocity_index.const_data_ptr<int64_t>(), velocity_rate.const_data_ptr<double>(),
            velocity.const_data_ptr<double>(), velocity_information.const_data_ptr<double>(),
            T_imu_base.const_data_ptr<double>(), prior_states.const_data_ptr<double>(), prior_information.const_data_ptr<double>(),
            prior_gradient.const_data_ptr<double>(), gravity, kernel, kernel_width};
  }
};

std::tuple<at::Tensor, at::Tensor, at::Tensor> window_solve(
    const at::Tensor& states, const at::Tensor& imu, const at::Tensor& pose_index, const at::Tensor& pose,
    const at::Tensor& pose_information, const at::Tensor& relative_index, const at::Tensor& relative,
    const at::Tensor& relative_information, const at::Tensor& velocity_index, const at::Tensor& velocity_rate,
    const at::Tensor& velocity, const at::Tensor& velocity_information, const at::Tensor& T_imu_base,
    const at::Tensor& prior_states, const at::Tensor& prior_information, const at::Tensor& prior_gradient, double gravity, int64_t kernel, double kernel_width, int64_t max_iterations,
    double tolerance, double time_budget) {
  const Arguments a(states, imu, pose_index, pose, pose_information, relative_index, relative,
                    relative_information, velocity_index, velocity_rate, velocity, velocity_information, T_imu_base,
                    prior_states, prior_information, prior_gradient, gravity, kernel, kernel_width);
  at::Tensor solved = a.states.clone(), covariance = at::empty({kDof, kDof}, a.states.options());
  at::Tensor stats = at::empty({4}, a.states.options());
  Window window(a.view);
  const Window::Result result =
      window.solve(solved.mutable_data_ptr<double>(), covariance.mutable_data_ptr<double>(),
                   int(max_iterations), tolerance, time_budget);
  double* s = stats.mutable_data_ptr<double>();
  s[0] = result.status;
  s[1] = result.iterations;
  s[2] = result.cost_initial;
  s[3] = result.cost_final;
  return {solved, covariance, stats};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> window_marginalize(
    const at::Tensor& states, const at::Tensor& imu, const at::Tensor& pose_index, const at::Tensor& pose,
    const at::Tensor& pose_information, const at::Tensor& relative_index, const at::Tensor& relative,
    const at::Tensor& relative_information, const at::Tensor& velocity_index, const at::Tensor& velocity_rate,
    const at::Tensor& velocity, const at::Tensor& velocity_information, const at::Tensor& T_imu_base,
    const at::Tensor& prior_states, const at::Tensor& prior_information, const at::Tensor& prior_gradient, double gravity, int64_t kernel, double kernel_width) {
  const Arguments a(states, imu, pose_index, pose, pose_information, relative_index, relative,
                    relative_information, velocity_index, velocity_rate, velocity, velocity_information, T_imu_base,
                    prior_states, prior_information, prior_gradient, gravity, kernel, kernel_width);
  Window window(a.view);
  const int size = window.connected_to_first();
  const int64_t m = kDof * (size - 1);
  at::Tensor information = at::empty({m, m}, a.states.options()), gradient = at::empty({m}, a.states.options());
  TORCH_CHECK(window.marginalize(size, information.mutable_data_ptr<double>(), gradient.mutable_data_ptr<double>()),
              "the first keyframe of the window is not constrained: it cannot be marginalized");
  return {a.states.narrow(0, 1, size - 1).clone(), information, gradient};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("window_solve(Tensor states, Tensor imu, Tensor pose_index, Tensor pose, Tensor pose_information, "
        "Tensor relative_index, Tensor relative, Tensor relative_information, "
        "Tensor velocity_index, Tensor velocity_rate, Tensor velocity, Tensor velocity_information, "
        "Tensor T_imu_base, Tensor prior_states, "
        "Tensor prior_information, Tensor prior_gradient, float gravity, int kernel, float kernel_width, "
        "int max_iterations, float tolerance, float time_budget) -> (Tensor, Tensor, Tensor)");
  m.def("window_marginalize(Tensor states, Tensor imu, Tensor pose_index, Tensor pose, Tensor pose_information, "
        "Tensor relative_index, Tensor relative, Tensor relative_information, "
        "Tensor velocity_index, Tensor velocity_rate, Tensor velocity, Tensor velocity_information, "
        "Tensor T_imu_base, Tensor prior_states, "
        "Tensor prior_information, Tensor prior_gradient, float gravity, int kernel, float kernel_width) "
        "-> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) {
  m.impl("window_solve", window_solve);
  m.impl("window_marginalize", window_marginalize);
}

}  // namespace pypose
