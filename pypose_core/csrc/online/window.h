// The fixed-lag window: views of its tensors, its normal equations, and their solution.
// What it computes is defined by the reference in pypose_core/online/window.py.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#include "online/factors.h"

namespace pypose {

struct WindowView {
  int64_t keyframes, poses, relatives, velocities, prior_keyframes;
  const double *states, *imu;
  const int64_t* pose_index;
  const double *pose, *pose_information;
  const int64_t* relative_index;
  const double *relative, *relative_information;
  const int64_t* velocity_index;
  const double *velocity_rate, *velocity, *velocity_information, *T_imu_base;
  const double *prior_states, *prior_information, *prior_gradient;
  double gravity;
  int64_t kernel;   // 0 none, 1 Huber, 2 Cauchy
  double kernel_width;
};

class Window {
 public:
  enum Status { kConverged, kMaxIterations, kTimeBudget, kNoDecrease, kSingular, kNotFinite };

  struct Result {
    Status status;
    int iterations;
    double cost_initial, cost_final;
  };

  explicit Window(const WindowView& view) : view_(view), n_(kDof * int(view.keyframes)) {
    factorize_rows();
    find_envelope();
    H_.resize(size_t(n_) * n_);
    g_.resize(n_);
  }

  // Levenberg-Marquardt from `states` (W x 16), in place; covariance (15 x 15) of the last keyframe.
  Result solve(double* states, double* covariance, int max_iterations, double tolerance, double time_budget);

  // Prior on the first `size` - 1 keyframes that remain after the first one and its factors are gone.
  bool marginalize(int size, double* prior_information, double* prior_gradient);

  // How many keyframes, counted from the first, its factors and the prior touch.
  int connected_to_first() const;

 private:
  void factorize_rows();
  void find_envelope();
  double cost(const double* states) const;
  void linearize(const double* states, bool only_first);
  double robust(double squared, double* weight) const;
  void add_block(int row, int column, int M, const double* A, const double* B, double weight);
  template <int M>
  void add(int i, const double* Ji, int j, const double* Jj, const double* r, double weight);
  void add_prior(const double* states);

  const double* state(const double* states, int64_t k) const { return states + nav_state::kSize * k; }
  const double* imu(int64_t k) const { return view_.imu + preintegrated::kSize * k; }

  WindowView view_;
  int n_;
  bool rows_valid_ = true;
  std::vector<double> imu_factor_;   // Cholesky factors of the rows' covariances, (W - 1) x 15 x 15
  std::vector<int> first_;
  std::vector<double> H_, g_;
  EnvelopeCholesky factor_;
};

}  // namespace pypose
