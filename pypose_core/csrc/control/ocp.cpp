#include "control/ocp.h"

#include <algorithm>

namespace pypose {

OcpInstance::OcpInstance(const OcpProgram& program) : p_(program) {
  const size_t N = p_.dims.N, stages = N + 1;
  X.assign(stages * p_.nxr, 0.0);
  U.assign(N * p_.dims.nu, 0.0);
  X_trial_ = X;
  U_trial_ = U;
  costates_.assign(stages * p_.dims.nx, 0.0);
  net_.assign(stages * std::max(p_.nd, 1), 0.0);
  record_ = aligned_buffer(stages * p_.full.stride);
  trial_record_ = aligned_buffer(stages * p_.value.stride);
  full_gradient_ = aligned_buffer(stages * p_.ld);
  size_t work = 0;
  for (const Tape* t : {&p_.stage, &p_.stage_value, &p_.terminal, &p_.terminal_value, &p_.step})
    work = std::max(work, t->workspace());
  work_ = aligned_buffer(work);
  p_.stage.write_fixed(record_.get(), p_.full.stride, int(N));
  p_.stage_value.write_fixed(trial_record_.get(), p_.value.stride, int(N));
  p_.terminal.write_fixed(record_.get() + N * p_.full.stride, p_.full.stride, 1);
  p_.terminal_value.write_fixed(trial_record_.get() + N * p_.value.stride, p_.value.stride, 1);

  problem_.dims = p_.dims;
  problem_.nb = p_.nb;
  problem_.nd = p_.nd;
  problem_.box = p_.box;
  problem_.l1 = p_.l1;
  problem_.l2 = p_.l2;
  problem_.stride = p_.full.stride;
  problem_.H = record_.get() + p_.full.H;
  problem_.g = record_.get() + p_.full.g;
  problem_.M = record_.get() + p_.full.M;
  problem_.c = record_.get() + p_.full.c;
  problem_.D = record_.get() + p_.full.D;
  qp_ = make_stage_qp(problem_, p_.ld);
}

void OcpInstance::segments(const double* X, const double* U, const double* params, InputSegment* s) const {
  const int nu = p_.dims.nu, nx = p_.dims.nx, nxr = p_.nxr, np = p_.np;
  int first = 0;
  s[0] = {U, nu, first};
  s[1] = {X, nxr, first += nu};
  s[2] = {X + nxr, nxr, first += nxr};
  s[3] = {params, np, first += nxr};
  s[4] = {costates_.data() + nx, nx, first += np};
  s[5] = {net_.data(), p_.nd, first += nx};
}

void OcpInstance::evaluate(const double* params) {
  InputSegment s[6];
  segments(X.data(), U.data(), params, s);
  const int N = p_.dims.N;
  p_.stage.evaluate(s, 6, 0, N, record_.get(), p_.full.stride, work_.get());
  p_.terminal.evaluate(s, 6, N, 1, record_.get(), p_.full.stride, work_.get());
}

void OcpInstance::evaluate_values(const double* params) {
  InputSegment s[6];
  segments(X_trial_.data(), U_trial_.data(), params, s);
  const int N = p_.dims.N;
  p_.stage_value.evaluate(s, 6, 0, N, trial_record_.get(), p_.value.stride, work_.get());
  p_.terminal_value.evaluate(s, 6, N, 1, trial_record_.get(), p_.value.stride, work_.get());
}

void OcpInstance::take(const double* given, const double* params, bool dynamics_alone) {
  const int N = p_.dims.N, nx = p_.dims.nx, nw = p_.dims.nw(), ld = p_.ld;
  const RecordLayout& f = p_.full;
  if (!dynamics_alone) {
    std::copy(given, given + size_t(N + 1) * f.stride, record_.get());
    return;
  }
  if (p_.exact) {   // what is constant in H is written once, and was added to
    for (int k = 0; k < N; ++k)
      std::fill_n(record_.get() + size_t(k) * f.stride + f.H, nw * ld, 0.0);
    p_.stage.write_fixed(record_.get(), f.stride, N);
  }
  evaluate(params);
  for (int k = 0; k < N; ++k) {
    double* mine = record_.get() + size_t(k) * f.stride;
    const double* theirs = given + size_t(k) * f.stride;
    std::copy_n(theirs + f.c, nx, mine + f.c);
    std::copy_n(theirs + f.M, nx * ld, mine + f.M);
    if (p_.exact)
      for (int i = 0; i < nw * ld; ++i) mine[f.H + i] += theirs[f.H + i];
  }
}

void OcpInstance::take_values(const double* given, const double* params, bool dynamics_alone) {
  const int N = p_.dims.N;
  const RecordLayout &f = p_.full, &v = p_.value;
  if (dynamics_alone) evaluate_values(params);
  for (int k = 0; k <= N; ++k) {
    double* mine = trial_record_.get() + size_t(k) * v.stride;
    const double* theirs = given + size_t(k) * f.stride;
    if (k < N) std::copy_n(theirs + f.c, p_.dims.nx, mine + v.c);
    if (dynamics_alone) continue;
    mine[v.cost] = theirs[f.cost];
    std::copy_n(theirs + f.d, p_.nd, mine + v.d);
  }
}

OcpRequest OcpInstance::advance(const double* given, const double* params, bool dynamics_alone) {
  if (request_ == OcpRequest::kValues) {
    take_values(given, params, dynamics_alone);
    request_ = tried();
    if (request_ != OcpRequest::kDerivatives) return request_;
  }   // an accepted trial's derivatives are in the same record
  take(given, params, dynamics_alone);
  return request_ = linearized();
}

double OcpInstance::value(const double* record, const RecordLayout& layout, const double* X, const double* U, int k,
                          int row) const {
  if (row >= p_.nb) return record[size_t(k) * layout.stride + layout.d + row - p_.nb];
  const int number = p_.box_number[row];
  return number < p_.dims.nu ? U[size_t(k) * p_.dims.nu + number] : X[size_t(k) * p_.nxr + number - p_.dims.nu];
}

void OcpInstance::bounds() {
  const int m = p_.rows();
  for (int k = 0; k <= p_.dims.N; ++k)
    for (int r = 0; r < m; ++r) {
      const double lo = lower_[k * m + r], hi = upper_[k * m + r];
      const bool any = std::isfinite(lo) || std::isfinite(hi);
      const double v = any ? value(record_.get(), p_.full, X.data(), U.data(), k, r) : 0.0;
      qp_->bound[qp_->at(k, 0, r)] = v - lo;
      qp_->bound[qp_->at(k, 1, r)] = hi - v;
    }
}

// The costates by the adjoint recursion at the present multipliers, or those of the quadratic program's solution;
// returns the largest gradient by a control.
double OcpInstance::adjoint(bool of_program) {
  const int N = p_.dims.N, nx = p_.dims.nx, nu = p_.dims.nu, nw = p_.dims.nw(), ld = p_.ld;
  double* y = full_gradient_.get();
  for (int k = 0; k <= N; ++k) {
    double* yk = y + size_t(k) * ld;
    std::copy(problem_.g + k * problem_.stride, problem_.g + k * problem_.stride + ld, yk);
    if (!of_program) continue;
    const double *w = qp_->w.get() + size_t(k) * ld, *H = problem_.H + k * problem_.stride;
    for (int i = 0; i < nw; ++i)
      for (int j = 0; j < ld; ++j) yk[j] += w[i] * H[i * ld + j];
  }
  if (warm_) {
    for (size_t i = 0; i < qp_->size; ++i) qp_->W[i] = qp_->mask[i] * qp_->lam[i];
    qp_->add_transposed(qp_->W.get(), y);
    for (int k = 0; k <= N; ++k)
      for (int i = 0; i < p_.nd; ++i)
        net_[k * p_.nd + i] = qp_->W[qp_->at(k, 1, p_.nb + i)] - qp_->W[qp_->at(k, 0, p_.nb + i)];
  }
  double worst = 0;
  for (int k = N; k >= 0; --k) {
    double* yk = y + size_t(k) * ld;
    if (k < N) {
      const double* M = problem_.M + k * problem_.stride;
      const double* next = costates_.data() + size_t(k + 1) * nx;
      for (int i = 0; i < nx; ++i)
        for (int j = 0; j < nu + nx; ++j) yk[j] += next[i] * M[i * ld + j];
      for (int j = 0; j < nu; ++j) worst = std::max(worst, std::abs(yk[j]));
    }
    std::copy(yk + nu, yk + nu + nx, costates_.data() + size_t(k) * nx);
  }
  return worst;
}

OcpInstance::Merit OcpInstance::merit(const double* X, const double* U, const double* record,
                                      const RecordLayout& layout) const {
  Merit r{0, 0, 0, 0, 0, -1, -1};
  const int N = p_.dims.N, m = p_.rows();
  for (int k = 0; k <= N; ++k) {
    const double* rec = record + size_t(k) * layout.stride;
    r.cost += rec[layout.cost];
    if (k < N)
      for (int i = 0; i < p_.dims.nx; ++i) r.defect += std::abs(rec[layout.c + i]);
    for (int i = 0; i < m; ++i) {
      const double lo = lower_[k * m + i], hi = upper_[k * m + i];
      if (!std::isfinite(lo) && !std::isfinite(hi)) continue;
      const double v = value(record, layout, X, U, k, i);
      const double over = std::max(std::max(v - hi, lo - v), 0.0);
      if (over <= 0) continue;
      if (!p_.elastic[i] && problem_.l1[i] >= 0) {
        r.penalty += problem_.l1[i] * over + 0.5 * problem_.l2[i] * over * over;
      }
      if (problem_.l1[i] < 0 || p_.elastic[i]) r.infeasibility += over;
      if ((problem_.l1[i] < 0 || p_.elastic[i]) && over > r.violation) {
        r.violation = over;
        r.stage = k;
        r.row = i;
      }
    }
  }
  return r;
}

void OcpInstance::move(double alpha, std::vector<double>& Xn, std::vector<double>& Un) const {
  const int N = p_.dims.N, nu = p_.dims.nu, nxr = p_.nxr;
  for (int k = 0; k <= N; ++k) {
    const double* w = qp_->w.get() + size_t(k) * p_.ld;
    if (k < N)
      for (int i = 0; i < nu; ++i) Un[k * nu + i] = U[k * nu + i] + alpha * w[i];
    const double *x = X.data() + size_t(k) * nxr, *d = w + nu;
    double* xn = Xn.data() + size_t(k) * nxr;
    size_t next = 0;
    for (int i = 0; i < nxr;) {
      if (next < p_.quaternions.size() && p_.quaternions[next] == i) {
        // q Exp(alpha d)
        const double v[3] = {alpha * d[0], alpha * d[1], alpha * d[2]};
        const double angle = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        const double s = angle > 1e-8 ? std::sin(0.5 * angle) / angle : 0.5, c = std::cos(0.5 * angle);
        const double b[3] = {s * v[0], s * v[1], s * v[2]};
        const double* a = x + i;
        double q[4] = {a[3] * b[0] + c * a[0] + a[1] * b[2] - a[2] * b[1],
                       a[3] * b[1] + c * a[1] + a[2] * b[0] - a[0] * b[2],
                       a[3] * b[2] + c * a[2] + a[0] * b[1] - a[1] * b[0],
                       a[3] * c - a[0] * b[0] - a[1] * b[1] - a[2] * b[2]};
        const double norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
        for (int j = 0; j < 4; ++j) xn[i + j] = q[j] / norm;
        i += 4;
        d += 3;
        ++next;
      } else {
        xn[i] = x[i] + alpha * *d++;
        ++i;
      }
    }
  }
}

void OcpInstance::begin(const double* x0, const double* lower, const double* upper, const OcpOptions& options) {
  began_ = Clock::now();
  options_ = options;
  lower_ = lower;
  upper_ = upper;
  stats = OcpStats();
  problem_.l1 = p_.l1;
  damping_ = options.regularization;
  stepped_ = false;
  filter_.clear();
  request_ = OcpRequest::kDerivatives;
  std::copy(x0, x0 + p_.nxr, X.begin());
  const int N = p_.dims.N, nu = p_.dims.nu, m = p_.rows();
  const auto finite = [](double v) { return std::isfinite(v); };
  if (!std::all_of(X.begin() + p_.nxr, X.end(), finite) || !std::all_of(U.begin(), U.end(), finite)) {
    // What a solve that broke down has left is no guess: begin at rest where the system is.
    for (int k = 1; k <= N; ++k) std::copy(x0, x0 + p_.nxr, X.begin() + size_t(k) * p_.nxr);
    std::fill(U.begin(), U.end(), 0.0);
    std::fill(costates_.begin(), costates_.end(), 0.0);
    std::fill(net_.begin(), net_.end(), 0.0);
    warm_ = false;
  }
  for (int i = 0; i < p_.nb; ++i)   // controls begin within their bounds, which are never priced
    if (p_.box_number[i] < nu)
      for (int k = 0; k < N; ++k) {
        double& u = U[k * nu + p_.box_number[i]];
        u = std::min(std::max(u, lower[k * m + i]), upper[k * m + i]);
      }
}

OcpRequest OcpInstance::finish(OcpStatus status) {
  stats.status = status;
  stats.seconds = elapsed();
  return OcpRequest::kDone;
}

// After evaluate(): decides whether the iteration ends, and otherwise finds the next direction.
OcpRequest OcpInstance::linearized() {
  now_ = merit(X.data(), U.data(), record_.get(), p_.full);
  stats.cost = now_.cost + now_.penalty;
  stats.defect = now_.defect;
  stats.violation = now_.violation;
  stats.worst_stage = now_.stage;
  stats.worst_row = now_.row;
  if (!std::isfinite(now_.cost + now_.defect + now_.penalty)) return finish(OcpStatus::kNumerical);
  bounds();
  if (warm_) stats.stationarity = adjoint(false);
  const bool small = stepped_ && stats.step <= options_.tolerance;
  if (small && now_.defect <= options_.feasibility) {
    if (now_.violation <= options_.feasibility) return finish(OcpStatus::kConverged);
    // A row that must hold is violated at a stationary point: its price was too low, or nothing meets it.
    if (!p_.elastic[now_.row] || problem_.l1[now_.row] >= 1e3 * p_.l1[now_.row]) return finish(OcpStatus::kInfeasible);
    for (size_t i = 0; i < problem_.l1.size(); ++i)
      if (p_.elastic[i]) problem_.l1[i] *= 10;
    filter_.clear();
  }
  if (stats.iterations >= options_.max_iterations)
    return finish(small && now_.violation > 100 * options_.feasibility ? OcpStatus::kInfeasible
                                                                       : OcpStatus::kIterations);
  if (options_.time_budget > 0 && elapsed() > options_.time_budget) return finish(OcpStatus::kTime);
  return direction();
}

OcpRequest OcpInstance::direction() {
  ++stats.iterations;
  QpOptions o;
  o.tolerance = options_.qp_tolerance;
  for (;;) {
    o.warm = warm_;
    const double near = stepped_ ? stats.step * stats.step : 1e-2;
    o.mu = warm_ ? options_.start_mu * std::min(1.0, std::max(1e-4, near)) : options_.start_mu;
    o.regularization = damping_;
    bounds();
    QpStatus status = qp_->solve(o);
    stats.qp_iterations += qp_->iterations;
    if (status == QpStatus::kNumerical || status == QpStatus::kIterations) {   // once more without memory
      o.warm = false;
      o.mu = 10 * options_.start_mu;
      bounds();
      status = qp_->solve(o);
      stats.qp_iterations += qp_->iterations;
    }
    if (status == QpStatus::kSolved || status == QpStatus::kIterations) break;
    damping_ = std::max(10 * damping_, 1e-4);
    warm_ = false;
    if (damping_ > 1e8)
      return finish(status == QpStatus::kIndefinite ? OcpStatus::kIndefinite : OcpStatus::kNumerical);
  }
  warm_ = true;
  descent_ = largest_ = 0;
  for (int k = 0; k <= p_.dims.N; ++k) {
    const double *w = qp_->w.get() + size_t(k) * p_.ld, *g = problem_.g + k * problem_.stride;
    for (int i = 0; i < p_.dims.nw(); ++i) {
      descent_ += g[i] * w[i];
      largest_ = std::max(largest_, std::abs(w[i]));
    }
  }
  if (p_.exact) adjoint(true);   // the next Hessian is taken at the new multipliers
  alpha_ = 1.0;
  move(alpha_, X_trial_, U_trial_);
  if (!options_.line_search) return accept();
  if (filter_.empty()) largest_theta_ = 1e4 * std::max(1.0, now_.defect + now_.infeasibility);
  return OcpRequest::kValues;
}

OcpRequest OcpInstance::accept() {
  X.swap(X_trial_);
  U.swap(U_trial_);
  stepped_ = true;
  stats.step = alpha_ * largest_;
  if (alpha_ == 1.0) damping_ *= 0.2;
  if (damping_ < std::max(1e-8, options_.regularization)) damping_ = options_.regularization;
  return OcpRequest::kDerivatives;
}

// Filter line search (Waechter and Biegler, "On the implementation of an interior-point filter line-search algorithm
// for large-scale nonlinear programming", 2006): a trial must improve on infeasibility or cost, against every point
// that the filter remembers; where the cost is what should fall, it must do so by Armijo's rule.
OcpRequest OcpInstance::tried() {
  const Merit trial = merit(X_trial_.data(), U_trial_.data(), trial_record_.get(), p_.value);
  const double theta = now_.defect + now_.infeasibility, phi = now_.cost + now_.penalty;
  const double theta_t = trial.defect + trial.infeasibility, phi_t = trial.cost + trial.penalty;
  bool blocked = !std::isfinite(theta_t + phi_t) || theta_t > largest_theta_;
  for (const auto& f : filter_) blocked = blocked || (theta_t > 0.99999 * f[0] && phi_t > f[1] - 1e-5 * f[0]);
  if (!blocked) {
    const bool falling = descent_ < 0 && theta < 1e-4 * std::max(1.0, 1e-4 * largest_theta_) &&
                         alpha_ * std::pow(-descent_, 2.3) > std::pow(theta, 1.1);
    if (falling && phi_t <= phi + 1e-4 * alpha_ * descent_ + 1e-10 * (1 + std::abs(phi))) return accept();
    if (!falling && (theta_t <= 0.99999 * theta || phi_t <= phi - 1e-5 * theta)) {
      filter_.push_back({0.99999 * theta, phi - 1e-5 * theta});
      return accept();
    }
  }
  alpha_ *= 0.5;
  if (alpha_ > 1e-4) {
    move(alpha_, X_trial_, U_trial_);
    return OcpRequest::kValues;
  }
  if (largest_ <= 10 * options_.tolerance) {   // so small a step is not resolved by cost and infeasibility
    stats.step = 0;
    stepped_ = true;
    return linearized();
  }
  damping_ = std::max(10 * damping_, 1e-3);
  if (damping_ > 1e6)   // no way is left to violate less
    return finish(now_.violation > 100 * options_.feasibility ? OcpStatus::kInfeasible : OcpStatus::kLineSearch);
  if (stats.iterations >= options_.max_iterations) return finish(OcpStatus::kIterations);
  return direction();
}

OcpStats OcpInstance::solve(const double* x0, const double* params, const double* lower, const double* upper,
                            const OcpOptions& options) {
  begin(x0, lower, upper, options);
  while (request_ != OcpRequest::kDone) {
    if (request_ == OcpRequest::kDerivatives) {
      evaluate(params);
      request_ = linearized();
    } else {
      evaluate_values(params);
      request_ = tried();
    }
  }
  return stats;
}

void OcpInstance::rollout(const double* x0, const double* params) {
  std::copy(x0, x0 + p_.nxr, X.begin());
  InputSegment s[6];
  segments(X.data(), U.data(), params, s);
  // The step's record is the next state itself.
  for (int k = 0; k < p_.dims.N; ++k) {
    std::fill(X.begin() + size_t(k + 1) * p_.nxr, X.begin() + size_t(k + 2) * p_.nxr, 0.0);
    p_.step.write_fixed(X.data() + size_t(k + 1) * p_.nxr, p_.nxr, 1);
    p_.step.evaluate(s, 6, k, 1, X.data() + p_.nxr, p_.nxr, work_.get());
  }
}

void OcpInstance::shift(const double* params, const double* last) {
  const int N = p_.dims.N, nu = p_.dims.nu, nxr = p_.nxr, mp = qp_->mp;
  std::copy(X.begin() + nxr, X.end(), X.begin());
  std::copy(U.begin() + nu, U.end(), U.begin());
  if (last) {
    std::copy(last, last + nxr, X.end() - nxr);
  } else {
    std::vector<double> before(X.end() - 2 * nxr, X.end() - nxr);
    InputSegment s[6];
    segments(before.data(), U.data() + (N - 1) * nu, params + size_t(N - 1) * p_.np, s);
    std::fill(X.end() - nxr, X.end(), 0.0);
    p_.step.write_fixed(X.data() + size_t(N) * nxr, nxr, 1);
    p_.step.evaluate(s, 6, 0, 1, X.data() + size_t(N) * nxr, nxr, work_.get());
  }
  if (!warm_) return;
  // Multipliers of the first and last stages belong to other rows than those between: they are kept.
  for (int k = 0; k + 2 <= N - 1; ++k)
    std::copy(qp_->lam.get() + size_t(k + 1) * 2 * mp, qp_->lam.get() + size_t(k + 2) * 2 * mp,
              qp_->lam.get() + size_t(k) * 2 * mp);
}

void OcpInstance::multipliers(double* out) const {
  const int m = p_.rows();
  for (int k = 0; k <= p_.dims.N; ++k)
    for (int side = 0; side < 2; ++side)
      for (int r = 0; r < m; ++r) {
        const size_t at = qp_->at(k, side, r);
        *out++ = qp_->mask[at] * qp_->lam[at];
      }
}

}  // namespace pypose
