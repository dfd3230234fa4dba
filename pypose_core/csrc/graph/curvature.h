// Second derivatives of half the cost of one SE(3) factor, E = w e^T Omega e / 2 with e = Log(Z^-1 T) and T = Xi^-1 Xj,
// or T = X. Exact, where the Gauss-Newton matrix leaves out how e bends.
//
// Along a motion (vi, vj) of the poses T moves by d = vj - Ad(T^-1) vi and e by e' = Jr^-1(e) d. The gradient by vj is
// q = Jr^-T(e) y with y = w Omega e, that by vi is -Ad(T^-1)^T q; their derivatives along the motion are
//     q' = (Jr^-1)'^T y + Jr^-T w Omega e'    and    -Ad(T^-1)^T (q' - ad(d)^T q),
// (Jr^-1)' by dual numbers.
#pragma once

#include "graph/se3_factor.h"
#include "lie/dual.h"

namespace pypose {

struct Se3Curvature {
  // What does not depend on the motion.
  double T[7], e[6], y[6], q[6], J[36];

  void prepare(const double* Xi, const double* Xj, const double* Z, const double* information, double weight) {
    if (Xi) Se3::between(Xi, Xj, T);
    else std::copy_n(Xj, 7, T);
    double E[7];
    Se3::between(Z, T, E);
    Se3::log(E, e);
    Se3::right_jacobian(E, e, J);
    for (int i = 0; i < 6; ++i) y[i] = weight * row(information, i, e);
    transposed(J, y, q);
  }

  // d = vj - Ad(T^-1) vi and e'; vi, vj may be null for a pose that does not move.
  void motion(const double* vi, const double* vj, double* d, double* de) const {
    for (int k = 0; k < 6; ++k) d[k] = vj ? vj[k] : 0;
    if (vi) {
      double conj[4], txphi[3], a[3], b[3];
      quat_conj(T + 3, conj);
      cross(T, vi + 3, txphi);
      const double moved[3] = {vi[0] - txphi[0], vi[1] - txphi[1], vi[2] - txphi[2]};
      quat_rotate(conj, moved, a);
      quat_rotate(conj, vi + 3, b);
      for (int k = 0; k < 3; ++k) d[k] -= a[k], d[3 + k] -= b[k];
    }
    for (int i = 0; i < 6; ++i) de[i] = row(J, i, d);
  }

  // The derivative of Jr^-T(sign e) y along e', plus Jr^-T(sign e) w Omega e'.
  void bent(int sign, const double* de, const double* information, double weight, double* out) const {
    using D = Dual<double, 1>;
    D x[6], Jd[36];
    for (int k = 0; k < 6; ++k) {
      x[k] = D(sign * e[k]);
      D::set(x[k], 0, sign * de[k]);
    }
    Se3::right_jacobian<D>(nullptr, x, Jd);
    double dy[6];
    for (int i = 0; i < 6; ++i) dy[i] = weight * row(information, i, de), out[i] = 0;
    for (int i = 0; i < 6; ++i)
      for (int j = 0; j < 6; ++j) out[j] += Jd[6 * i + j].d[0] * y[i] + Jd[6 * i + j].v * dy[i];
  }

  // Adds H (vi, vj) to gi and gj, where these are not null.
  void multiply(const double* vi, const double* vj, const double* information, double weight, double* gi,
                double* gj) const {
    double d[6], de[6], dq[6];
    motion(vi, vj, d, de);
    bent(1, de, information, weight, dq);
    if (gj)
      for (int k = 0; k < 6; ++k) gj[k] += dq[k];
    if (!gi) return;
    // ad(d)^T q = [-phi x q_rho, -rho x q_rho - phi x q_phi]
    double a[3], b[3], c[3], rho[3], phi[3], t[3];
    cross(d + 3, q, a), cross(d, q, b), cross(d + 3, q + 3, c);
    const double u[3] = {dq[0] + a[0], dq[1] + a[1], dq[2] + a[2]};
    const double v[3] = {dq[3] + b[0] + c[0], dq[4] + b[1] + c[1], dq[5] + b[2] + c[2]};
    quat_rotate(T + 3, u, rho), quat_rotate(T + 3, v, phi);
    cross(T, rho, t);
    for (int k = 0; k < 3; ++k) gi[k] -= rho[k], gi[3 + k] -= t[k] + phi[k];
  }

  // The derivative along the motion of the gradients by Z (storage), Omega and w.
  void by_inputs(const double* vi, const double* vj, const double* Z, const double* information, double weight,
                 double* gZ, double* gOmega, double* gweight) const {
    double d[6], de[6], g[6];
    motion(vi, vj, d, de);
    // Z Exp(z) moves e by -Jl^-1(e) z, and Jl(e) = Jr(-e)
    bent(-1, de, information, weight, g);
    for (double& x : g) x = -x;
    quat_rotate(Z + 3, g, gZ);
    const double phi[4] = {2 * g[3], 2 * g[4], 2 * g[5], 0};
    quat_mul(Z + 3, phi, gZ + 3);
    *gweight = 0;
    for (int i = 0; i < 6; ++i) {
      for (int j = 0; j < 6; ++j) gOmega[6 * i + j] = 0.5 * weight * (de[i] * e[j] + e[i] * de[j]);
      *gweight += de[i] * row(information, i, e);
    }
  }

 private:
  static double row(const double* A, int i, const double* x) {
    double sum = 0;
    for (int k = 0; k < 6; ++k) sum += A[6 * i + k] * x[k];
    return sum;
  }
  static void transposed(const double* A, const double* x, double* out) {
    for (int j = 0; j < 6; ++j) out[j] = 0;
    for (int i = 0; i < 6; ++i)
      for (int j = 0; j < 6; ++j) out[j] += A[6 * i + j] * x[i];
  }
};

}  // namespace pypose
