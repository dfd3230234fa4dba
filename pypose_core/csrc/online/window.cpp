#include "online/window.h"

namespace pypose {

// Least covariance of a row, as in the reference: a single sample gives velocity and position errors
// that are multiples of each other, which has no inverse.
static double covariance_floor(int i) { return i < 3 ? 1e-12 : i < 6 ? 1e-9 : i < 9 ? 1e-8 : 1e-16; }

void Window::factorize_rows() {
  imu_factor_.resize(kDof * kDof * std::max<int64_t>(view_.keyframes - 1, 0));
  for (int64_t k = 0; k + 1 < view_.keyframes; ++k) {
    double* L = imu_factor_.data() + kDof * kDof * k;
    const double* P = imu(k) + preintegrated::kCovariance;
    std::copy(P, P + kDof * kDof, L);
    for (int i = 0; i < kDof; ++i) L[kDof * i + i] += covariance_floor(i);
    rows_valid_ = cholesky<kDof>(L) && rows_valid_;
  }
}

void Window::find_envelope() {
  std::vector<int> block(view_.keyframes);
  for (int k = 0; k < int(view_.keyframes); ++k) block[k] = k < view_.prior_keyframes ? 0 : std::max(k - 1, 0);
  for (int64_t k = 0; k < view_.relatives; ++k) {
    const int earlier = int(view_.relative_index[2 * k]), later = int(view_.relative_index[2 * k + 1]);
    block[later] = std::min(block[later], earlier);
  }
  first_.resize(n_);
  for (int i = 0; i < n_; ++i) first_[i] = kDof * block[i / kDof];
}

double Window::robust(double s, double* weight) const {
  const double c2 = view_.kernel_width * view_.kernel_width;
  if (view_.kernel == 1 && s > c2) {
    const double root = std::sqrt(s);
    *weight = view_.kernel_width / root;
    return 2.0 * view_.kernel_width * root - c2;
  }
  if (view_.kernel == 2) {
    *weight = 1.0 / (1.0 + s / c2);
    return c2 * std::log1p(s / c2);
  }
  *weight = 1.0;
  return s;
}

static double squared_norm(const double* r, int n) {
  double s = 0;
  for (int i = 0; i < n; ++i) s += r[i] * r[i];
  return s;
}

// r <- W r for an N x N square-root information.
template <int N>
static void whiten(const double* W, double* r) {
  double out[N];
  multiply<N, N, 1>(W, r, out);
  std::copy(out, out + N, r);
}

double Window::cost(const double* states) const {
  double total = 0, weight;
  double r[kDof];
  const double gravity[3] = {0, 0, -view_.gravity};
  for (int64_t k = 0; k + 1 < view_.keyframes; ++k) {
    imu_factor<double>(state(states, k), state(states, k + 1), imu(k), gravity, r, nullptr, nullptr);
    forward_substitute<kDof, 1>(imu_factor_.data() + kDof * kDof * k, r);
    total += squared_norm(r, kDof);
  }
  for (int64_t k = 0; k < view_.poses; ++k) {
    pose_factor(state(states, view_.pose_index[k]), view_.pose + 7 * k, r, nullptr);
    whiten<6>(view_.pose_information + 36 * k, r);
    total += robust(squared_norm(r, 6), &weight);
  }
  for (int64_t k = 0; k < view_.relatives; ++k) {
    relative_factor(state(states, view_.relative_index[2 * k]), state(states, view_.relative_index[2 * k + 1]),
                    view_.relative + 7 * k, r, nullptr, nullptr);
    whiten<6>(view_.relative_information + 36 * k, r);
    total += robust(squared_norm(r, 6), &weight);
  }
  for (int64_t k = 0; k < view_.velocities; ++k) {
    velocity_factor(state(states, view_.velocity_index[k]), view_.velocity_rate + 3 * k, view_.velocity + 3 * k,
                    view_.T_imu_base, r, nullptr);
    whiten<3>(view_.velocity_information + 9 * k, r);
    total += squared_norm(r, 3);
  }
  const int m = kDof * int(view_.prior_keyframes);
  std::vector<double> d(m);
  for (int64_t k = 0; k < view_.prior_keyframes; ++k)
    local(state(view_.prior_states, k), state(states, k), d.data() + kDof * k);
  for (int i = 0; i < m; ++i) {
    double Hd = 0;
    for (int j = 0; j < m; ++j) Hd += view_.prior_information[size_t(m) * i + j] * d[j];
    total += d[i] * (Hd + 2.0 * view_.prior_gradient[i]);
  }
  return 0.5 * total;
}

// H(row, column) += weight * A^T B for A, B (M x 15); only blocks on or below the diagonal.
void Window::add_block(int row, int column, int M, const double* A, const double* B, double weight) {
  double* H = H_.data() + size_t(n_) * kDof * row + kDof * column;
  for (int k = 0; k < M; ++k)
    for (int i = 0; i < kDof; ++i) {
      const double a = weight * A[kDof * k + i];
      if (a == 0.0) continue;
      double* h = H + size_t(n_) * i;
      for (int j = 0; j < kDof; ++j) h[j] += a * B[kDof * k + j];
    }
}

template <int M>
void Window::add(int i, const double* Ji, int j, const double* Jj, const double* r, double weight) {
  add_block(i, i, M, Ji, Ji, weight);
  if (Jj) {
    add_block(j, i, M, Jj, Ji, weight);
    add_block(j, j, M, Jj, Jj, weight);
  }
  for (int k = 0; k < M; ++k)
    for (int c = 0; c < kDof; ++c) {
      g_[kDof * i + c] += weight * Ji[kDof * k + c] * r[k];
      if (Jj) g_[kDof * j + c] += weight * Jj[kDof * k + c] * r[k];
    }
}

void Window::add_prior(const double* states) {
  const int m = kDof * int(view_.prior_keyframes);
  std::vector<double> d(m);
  for (int64_t k = 0; k < view_.prior_keyframes; ++k)
    local(state(view_.prior_states, k), state(states, k), d.data() + kDof * k);
  for (int i = 0; i < m; ++i) {
    const double* row = view_.prior_information + size_t(m) * i;
    double Hd = 0;
    for (int j = 0; j < m; ++j) Hd += row[j] * d[j];
    g_[i] += Hd + view_.prior_gradient[i];
    for (int j = 0; j <= i; ++j) H_[size_t(n_) * i + j] += row[j];
  }
}

void Window::linearize(const double* states, bool only_first) {
  std::fill(H_.begin(), H_.end(), 0.0);
  std::fill(g_.begin(), g_.end(), 0.0);
  double r[kDof], Ji[kDof * kDof], Jj[kDof * kDof], Wi[6 * kDof], Wj[6 * kDof], weight;
  const double gravity[3] = {0, 0, -view_.gravity};
  const int64_t links = only_first ? std::min<int64_t>(1, view_.keyframes - 1) : view_.keyframes - 1;
  for (int64_t k = 0; k < links; ++k) {
    imu_factor<double>(state(states, k), state(states, k + 1), imu(k), gravity, r, Ji, Jj);
    const double* L = imu_factor_.data() + kDof * kDof * k;
    forward_substitute<kDof, 1>(L, r);
    forward_substitute<kDof, kDof>(L, Ji);
    forward_substitute<kDof, kDof>(L, Jj);
    add<kDof>(int(k), Ji, int(k + 1), Jj, r, 1.0);
  }
  for (int64_t k = 0; k < view_.poses; ++k) {
    const int i = int(view_.pose_index[k]);
    if (only_first && i != 0) continue;
    pose_factor(state(states, i), view_.pose + 7 * k, r, Ji);
    whiten<6>(view_.pose_information + 36 * k, r);
    multiply<6, 6, kDof>(view_.pose_information + 36 * k, Ji, Wi);
    robust(squared_norm(r, 6), &weight);
    add<6>(i, Wi, i, nullptr, r, weight);
  }
  for (int64_t k = 0; k < view_.relatives; ++k) {
    const int i = int(view_.relative_index[2 * k]), j = int(view_.relative_index[2 * k + 1]);
    if (only_first && i != 0) continue;
    relative_factor(state(states, i), state(states, j), view_.relative + 7 * k, r, Ji, Jj);
    whiten<6>(view_.relative_information + 36 * k, r);
    multiply<6, 6, kDof>(view_.relative_information + 36 * k, Ji, Wi);
    multiply<6, 6, kDof>(view_.relative_information + 36 * k, Jj, Wj);
    robust(squared_norm(r, 6), &weight);
    add<6>(i, Wi, j, Wj, r, weight);
  }
  for (int64_t k = 0; k < view_.velocities; ++k) {
    const int i = int(view_.velocity_index[k]);
    if (only_first && i != 0) continue;
    velocity_factor(state(states, i), view_.velocity_rate + 3 * k, view_.velocity + 3 * k, view_.T_imu_base, r, Ji);
    whiten<3>(view_.velocity_information + 9 * k, r);
    multiply<3, 3, kDof>(view_.velocity_information + 9 * k, Ji, Wi);
    add<3>(i, Wi, i, nullptr, r, 1.0);
  }
  add_prior(states);
}

Window::Result Window::solve(double* states, double* covariance, int max_iterations, double tolerance,
                             double time_budget) {
  const auto start = std::chrono::steady_clock::now();
  const size_t size = size_t(nav_state::kSize) * view_.keyframes;
  std::vector<double> trial(size), step(n_);
  std::fill(covariance, covariance + kDof * kDof, std::numeric_limits<double>::quiet_NaN());
  double value = cost(states), damping = 0;
  Result result{kMaxIterations, 0, value, value};
  if (!rows_valid_ || !std::isfinite(value)) {
    result.status = std::isfinite(value) ? kSingular : kNotFinite;
    return result;
  }
  while (result.iterations < max_iterations) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (time_budget > 0 && elapsed.count() > time_budget) {
      result.status = kTimeBudget;
      break;
    }
    ++result.iterations;
    linearize(states, false);
    bool accepted = false, singular = false, minimal = false;
    double trial_value = value;
    while (!accepted && !minimal && damping <= 1e6) {
      singular = factor_.factorize(H_.data(), n_, first_, damping) >= 0;
      if (!singular) {
        for (int i = 0; i < n_; ++i) step[i] = -g_[i];
        factor_.solve(step.data());
        // A promise below the tolerance is the minimum, whatever rounding says of the trial.
        double promised = 0;
        for (int i = 0; i < n_; ++i) promised -= 0.5 * g_[i] * step[i];
        minimal = promised <= tolerance * std::abs(value) + 1e-12;
        for (int64_t k = 0; k < view_.keyframes; ++k)
          retract(state(states, k), step.data() + kDof * k, trial.data() + nav_state::kSize * k);
        trial_value = cost(trial.data());
        accepted = trial_value <= value;
      }
      damping = accepted ? (damping < 1e-5 ? 0.0 : damping / 10) : std::max(10 * damping, 1e-6);
    }
    if (minimal) result.status = kConverged;
    if (!accepted) {
      if (!minimal) result.status = singular ? kSingular : kNoDecrease;
      break;
    }
    const double decrease = value - trial_value;
    value = trial_value;
    std::copy(trial.begin(), trial.end(), states);
    if (decrease <= tolerance * std::abs(value) + 1e-12) result.status = kConverged;
    if (result.status == kConverged) break;
  }
  result.cost_final = value;
  linearize(states, false);
  if (factor_.factorize(H_.data(), n_, first_, 0.0) >= 0) {
    result.status = kSingular;
    return result;
  }
  // The last keyframe is eliminated last, so its block of the factor holds its marginal: (L L^T)^-1.
  double inverse[kDof * kDof] = {}, L[kDof * kDof];
  for (int i = 0; i < kDof; ++i) {
    inverse[kDof * i + i] = 1.0;
    for (int j = 0; j < kDof; ++j) L[kDof * i + j] = j <= i ? factor_.row(n_ - kDof + i)[n_ - kDof + j] : 0.0;
  }
  forward_substitute<kDof, kDof>(L, inverse);
  for (int i = 0; i < kDof; ++i)
    for (int j = 0; j < kDof; ++j) {
      double s = 0;
      for (int k = 0; k < kDof; ++k) s += inverse[kDof * k + i] * inverse[kDof * k + j];
      covariance[kDof * i + j] = s;
    }
  return result;
}

int Window::connected_to_first() const {
  int64_t size = std::max<int64_t>(std::min<int64_t>(view_.keyframes, 2), view_.prior_keyframes);
  for (int64_t k = 0; k < view_.relatives; ++k)
    if (view_.relative_index[2 * k] == 0) size = std::max(size, view_.relative_index[2 * k + 1] + 1);
  return int(size);
}

bool Window::marginalize(int size, double* prior_information, double* prior_gradient) {
  linearize(view_.states, true);
  const int m = kDof * (size - 1);
  double L[kDof * kDof];
  for (int i = 0; i < kDof; ++i)
    for (int j = 0; j < kDof; ++j) L[kDof * i + j] = H_[size_t(n_) * std::max(i, j) + std::min(i, j)];
  if (!rows_valid_ || !cholesky<kDof>(L)) return false;
  // Columns of X = L^-1 [H_10^T, g_0]: the Schur complement is H_11 - X^T X.
  std::vector<double> X(size_t(m + 1) * kDof);
  for (int c = 0; c <= m; ++c) {
    double* x = X.data() + size_t(kDof) * c;
    for (int i = 0; i < kDof; ++i) x[i] = c < m ? H_[size_t(n_) * (kDof + c) + i] : g_[i];
    forward_substitute<kDof, 1>(L, x);
  }
  auto dot = [&](int a, int b) {
    double s = 0;
    for (int k = 0; k < kDof; ++k) s += X[size_t(kDof) * a + k] * X[size_t(kDof) * b + k];
    return s;
  };
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j <= i; ++j) {
      const double value = H_[size_t(n_) * (kDof + i) + kDof + j] - dot(i, j);
      prior_information[size_t(m) * i + j] = prior_information[size_t(m) * j + i] = value;
    }
    prior_gradient[i] = g_[kDof + i] - dot(i, m);
  }
  return true;
}

}  // namespace pypose
