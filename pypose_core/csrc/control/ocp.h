// An optimal control problem given by tapes, and its solution by sequential quadratic programming.
//
//     min  sum_k l_k(x_k, u_k, p_k) + l_N(x_N, p_N)
//     s.t. x_0 given,  x_{k+1} = f(x_k, u_k, p_k),  lower_k <= [some of u_k, x_k; d(x_k, u_k, p_k)] <= upper_k
//
// The tapes deliver, per stage, cost, gradient g and Hessian H by w = [u; dx], the defect c = f (-) x_{k+1} and its
// Jacobian M, the rows d and their Jacobian D, all with respect to the tangent dx at x (pypose_core/control/transcribe.py).
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <vector>

#include "control/stage_qp.h"
#include "control/tape.h"

namespace pypose {

// Positions within the record of a stage, in doubles.
struct RecordLayout {
  int cost, g, c, d, H, M, D, stride;
};

// What is the same for every instance of a problem.
struct OcpProgram {
  StageDims dims;
  int nxr = 0;                       // numbers that represent a state
  int np = 0;                        // parameters per stage
  int nb = 0, nd = 0, ld = 0;
  std::vector<int> box;              // column of w per bounded number
  std::vector<int> box_number;       // the same as a number of [u, x]
  std::vector<double> l1, l2;        // per row, see StageProblem
  std::vector<char> elastic;         // rows that must hold, yet whose violation is priced so that each QP is feasible
  std::vector<int> quaternions;      // where in the state a unit quaternion x y z w begins, ascending
  bool exact = false;                // the Hessian depends on the multipliers
  RecordLayout full, value;
  Tape stage, stage_value, terminal, terminal_value, step;
  int rows() const { return nb + nd; }
};

struct OcpOptions {
  int max_iterations = 30;
  double tolerance = 1e-6;       // of the step, at which the iteration ends
  double feasibility = 1e-6;     // of defects and violations
  double qp_tolerance = 1e-8;
  double regularization = 0;
  double time_budget = 0;        // seconds; 0: none
  double start_mu = 1.0;
  bool line_search = true;
};

enum class OcpStatus { kConverged, kIterations, kInfeasible, kLineSearch, kIndefinite, kNumerical, kTime };

struct OcpStats {
  OcpStatus status = OcpStatus::kNumerical;
  int iterations = 0, qp_iterations = 0, worst_stage = -1, worst_row = -1;
  double cost = 0, defect = 0, violation = 0, stationarity = 0, seconds = 0, step = 0;
};

// What the iteration needs next: derivatives at X, U, or values at the trial.
enum class OcpRequest { kDerivatives, kValues, kDone };

class OcpInstance {
 public:
  explicit OcpInstance(const OcpProgram& program);

  // From the present guess; params (N + 1, np), lower and upper (N + 1, rows).
  OcpStats solve(const double* x0, const double* params, const double* lower, const double* upper,
                 const OcpOptions& options);
  // The same with evaluations from outside, of everything or of the dynamics alone: begin(), then each record
  // (N + 1, full.stride) that is evaluated at wanted_X(), wanted_U() goes to advance(), until that returns kDone. Of the
  // dynamics alone a record has c and M, and their part of H where the Hessian is exact; the tapes add the rest. The
  // bounds must outlive the iteration.
  void begin(const double* x0, const double* lower, const double* upper, const OcpOptions& options);
  OcpRequest advance(const double* given, const double* params, bool dynamics_alone);
  const std::vector<double>& wanted_X() const { return request_ == OcpRequest::kValues ? X_trial_ : X; }
  const std::vector<double>& wanted_U() const { return request_ == OcpRequest::kValues ? U_trial_ : U; }
  bool done() const { return request_ == OcpRequest::kDone; }
  void evaluate(const double* params);   // by the tapes, at X, U
  const double* record() const { return record_.get(); }
  // The guess one step later: everything moves forward, the last control is repeated. It leads to the state `last`, or
  // where that is null, to what the tape of the dynamics says.
  void shift(const double* params, const double* last);
  // States by applying the controls of the guess from x0.
  void rollout(const double* x0, const double* params);
  void forget_multipliers() { warm_ = false; }

  std::vector<double> X, U;   // (N + 1, nxr), (N, nu)
  OcpStats stats;
  const StageQp& qp() const { return *qp_; }
  const std::vector<double>& costates() const { return costates_; }
  std::vector<double>& costates() { return costates_; }
  // Multipliers (N + 1, 2, rows), lower then upper.
  void multipliers(double* out) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Merit {
    double cost, defect, penalty, infeasibility, violation;
    int stage, row;
  };
  void segments(const double* X, const double* U, const double* params, InputSegment* s) const;
  void bounds();
  double adjoint(bool of_program);
  void evaluate_values(const double* params);   // by the tapes, at the trial
  void take(const double* given, const double* params, bool dynamics_alone);
  void take_values(const double* given, const double* params, bool dynamics_alone);
  OcpRequest linearized();
  OcpRequest tried();
  OcpRequest direction();
  OcpRequest accept();
  OcpRequest finish(OcpStatus status);
  Merit merit(const double* X, const double* U, const double* record, const RecordLayout& layout) const;
  void move(double alpha, std::vector<double>& X, std::vector<double>& U) const;
  double value(const double* record, const RecordLayout& layout, const double* X, const double* U, int k, int row) const;
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }

  const OcpProgram& p_;
  StageProblem problem_;
  std::unique_ptr<StageQp> qp_;
  AlignedBuffer record_, trial_record_, work_;
  std::vector<double> X_trial_, U_trial_, costates_, net_;
  AlignedBuffer full_gradient_;
  bool warm_ = false;

  // Of the iteration in progress.
  OcpRequest request_ = OcpRequest::kDone;
  Clock::time_point began_;
  OcpOptions options_;
  const double *lower_ = nullptr, *upper_ = nullptr;
  Merit now_{};
  double damping_ = 0, alpha_ = 0, descent_ = 0, largest_ = 0, largest_theta_ = 0;
  bool stepped_ = false;
  std::vector<std::array<double, 2>> filter_;   // (infeasibility, cost)
};

}  // namespace pypose
