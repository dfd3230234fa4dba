// Factors on navigation states as graphs need them, and the exact second derivatives of half their cost
// E = w r^T Omega r / 2: everything along a motion by dual numbers, through the residual and the Jacobians in closed form.
#pragma once

#include "lie/dual.h"
#include "online/factors.h"

namespace pypose {

// Preintegrated samples between two states. Inputs: the row up to the end of its Jacobian, and gravity.
struct NavInertial {
  static constexpr int kVariables = 2, kInputs = preintegrated::kJacobian + 54 + 3;

  template <typename T>
  static void evaluate(const T (*x)[nav_state::kSize], const T* input, T* r, T (*J)[kDof * kDof]) {
    imu_factor(x[0], x[1], input, input + kInputs - 3, r, J ? J[0] : nullptr, J ? J[1] : nullptr);
  }
};

// A measured state, [Log(Zq^-1 q), v - Zv, p - Zp, b - Zb].
struct NavPrior {
  static constexpr int kVariables = 1, kInputs = nav_state::kSize;

  template <typename T>
  static void evaluate(const T (*x)[nav_state::kSize], const T* input, T* r, T (*J)[kDof * kDof]) {
    T inverse[4], q[4];
    quat_conj(input + nav_state::kRotation, inverse);
    quat_mul(inverse, x[0] + nav_state::kRotation, q);
    so3_log(q, r);
    for (int i = 0; i < 3; ++i) {
      r[3 + i] = x[0][nav_state::kVelocity + i] - input[nav_state::kVelocity + i];
      r[6 + i] = x[0][nav_state::kPosition + i] - input[nav_state::kPosition + i];
    }
    for (int i = 0; i < 6; ++i) r[9 + i] = x[0][nav_state::kBias + i] - input[nav_state::kBias + i];
    if (!J) return;
    std::fill(J[0], J[0] + kDof * kDof, T(0));
    T block[9];
    so3_Jr_inv(r, block);
    put3<kDof>(J[0], 0, 0, block);
    for (int i = 3; i < kDof; ++i) J[0][kDof * i + i] = T(1);
  }
};

// A state that moves by v (15), which may be null: value and derivative by retract at 0.
template <typename T>
inline void moving(const double* x, const double* v, T* out) {
  using D = Dual<double, 1>;
  for (int k = 0; k < nav_state::kSize; ++k) out[k] = T(x[k]);
  if (!v) return;
  const double half[4] = {0.5 * v[0], 0.5 * v[1], 0.5 * v[2], 0};
  double dq[4];
  quat_mul(x + nav_state::kRotation, half, dq);
  const auto set = [&](int k, double by) {
    D one(x[k]);
    D::set(one, 0, by);
    out[k] = T(one);
  };
  for (int k = 0; k < 4; ++k) set(nav_state::kRotation + k, dq[k]);
  for (int k = 0; k < 3; ++k) set(nav_state::kVelocity + k, v[3 + k]), set(nav_state::kPosition + k, v[6 + k]);
  for (int k = 0; k < 6; ++k) set(nav_state::kBias + k, v[9 + k]);
}

// y = weight Omega r
inline void weighted(const double* information, double weight, const double* r, double* y) {
  for (int i = 0; i < kDof; ++i) {
    y[i] = 0;
    for (int k = 0; k < kDof; ++k) y[i] += weight * information[kDof * i + k] * r[k];
  }
}

// One factor, its states and inputs; v[k] and g[k] are null where a variable is held.
template <typename Factor>
struct NavCurvature {
  static constexpr int V = Factor::kVariables, kChunk = 8;
  const double *x[V], *input, *information;
  double weight;

  // Adds H v to g. The gradient is J^T w Omega r; at a minimum of the whole it may be compared along the motion though
  // each point has a tangent space of its own.
  void multiply(const double* const* v, double* const* g) const {
    using D = Dual<double, 1>;
    D at[V][nav_state::kSize], given[Factor::kInputs], r[kDof], J[V][kDof * kDof];
    for (int k = 0; k < V; ++k) moving(x[k], v[k], at[k]);
    for (int k = 0; k < Factor::kInputs; ++k) given[k] = D(input[k]);
    Factor::evaluate(at, given, r, J);
    double value[kDof], change[kDof], y[kDof], dy[kDof];
    for (int i = 0; i < kDof; ++i) value[i] = r[i].v, change[i] = r[i].d[0];
    weighted(information, weight, value, y);
    weighted(information, weight, change, dy);
    for (int k = 0; k < V; ++k) {
      if (!g[k]) continue;
      for (int i = 0; i < kDof; ++i)
        for (int j = 0; j < kDof; ++j) g[k][j] += J[k][kDof * i + j].d[0] * y[i] + J[k][kDof * i + j].v * dy[i];
    }
  }

  // d(v^T gradient) by the inputs, Omega and the weight.
  void by_inputs(const double* const* v, double* g_input, double* g_information, double* g_weight) const {
    using D = Dual<double, 1>;
    using Both = Dual<D, kChunk>;
    double value[kDof], change[kDof], y[kDof], dy[kDof];
    Both at[V][nav_state::kSize], given[Factor::kInputs], r[kDof];
    for (int k = 0; k < V; ++k) moving(x[k], v[k], at[k]);
    for (int k = 0; k < Factor::kInputs; ++k) given[k] = Both(D(input[k]));
    for (int begin = 0; begin < Factor::kInputs; begin += kChunk) {
      const int count = std::min(kChunk, Factor::kInputs - begin);
      for (int k = 0; k < count; ++k) given[begin + k] = Both::variable(D(input[begin + k]), k);
      Factor::template evaluate<Both>(at, given, r, nullptr);
      if (begin == 0) {
        for (int i = 0; i < kDof; ++i) value[i] = r[i].v.v, change[i] = r[i].v.d[0];
        weighted(information, weight, value, y);
        weighted(information, weight, change, dy);
      }
      for (int k = 0; k < count; ++k) {
        double sum = 0;
        for (int i = 0; i < kDof; ++i) sum += r[i].d[k].d[0] * y[i] + r[i].d[k].v * dy[i];
        g_input[begin + k] = sum;
        given[begin + k] = Both(D(input[begin + k]));
      }
    }
    *g_weight = 0;
    for (int i = 0; i < kDof; ++i) {
      for (int j = 0; j < kDof; ++j) {
        g_information[kDof * i + j] = 0.5 * weight * (change[i] * value[j] + value[i] * change[j]);
        *g_weight += change[i] * information[kDof * i + j] * value[j];
      }
    }
  }
};

}  // namespace pypose
