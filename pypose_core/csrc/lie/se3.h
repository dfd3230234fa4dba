// SO3 and SE3 as groups of row functions.  A group has, for one element X and vectors of its algebra:
//   width, dof, point (dimension of the points it acts on), size (of its matrix), unit (where its unit
//   quaternion or complex number lies, how long it is)
//   exp log inv mul act act_homogeneous adj adjt jlp jinvp matrix left_tangent euler
// Formulas and symbols are those of pypose_core/lie/*.py.
#pragma once

#include "lie/so3.h"
#include "lie/trigonometry.h"

namespace pypose {

template <typename T>
PP_HD void add3(const T* a, const T* b, T* out) {
  for (int i = 0; i < 3; ++i) out[i] = a[i] + b[i];
}

template <typename T>
PP_HD void subtract3(const T* a, const T* b, T* out) {
  for (int i = 0; i < 3; ++i) out[i] = a[i] - b[i];
}

template <typename T>
PP_HD void copy3(const T* a, T* out) {
  for (int i = 0; i < 3; ++i) out[i] = a[i];
}

// out = a v + b phi x v + c phi x (phi x v)
template <typename T>
PP_HD void hat_polynomial_times(const T& a, const T& b, const T& c, const T* phi, const T* v, T* out) {
  T k[3], kk[3];
  cross(phi, v, k);
  cross(phi, k, kk);
  for (int i = 0; i < 3; ++i) out[i] = a * v[i] + b * k[i] + c * kk[i];
}

// V(phi) rho
template <typename T>
PP_HD void v_times(const Stumpff<T>& c, const T* phi, const T* rho, T* out) {
  hat_polynomial_times(T(1), c.c2, c.c3, phi, rho, out);
}

// V(phi)^-1 t
template <typename T>
PP_HD void v_inverse_times(const Stumpff<T>& c, const T* phi, const T* t, T* out) {
  hat_polynomial_times(T(1), T(-0.5), so3_jinv_coefficient(c), phi, t, out);
}

// Directional derivative of (a I + b [phi]x + c [phi]x^2) v along (b, c) -> (db, dc), phi -> beta.
template <typename T>
PP_HD void hat_polynomial_derivative(const T& b, const T& c, const T& db, const T& dc, const T* phi, const T* v,
                                     const T* beta, T* out) {
  T k[3], kk[3], bk[3], x[3], y[3];
  cross(phi, v, k);
  cross(phi, k, kk);
  cross(beta, v, bk);
  cross(beta, k, x);
  cross(phi, bk, y);
  for (int i = 0; i < 3; ++i) out[i] = b * bk[i] + c * (x[i] + y[i]) + db * k[i] + dc * kk[i];
}

// Directional derivative of V(phi) rho along phi -> beta.
template <typename T>
PP_HD void v_derivative(const Stumpff<T>& c, const T* phi, const T* rho, const T* beta, T* out) {
  const T along = dot3(phi, beta);
  hat_polynomial_derivative(c.c2, c.c3, along * (T(2) * c.c4 - c.c3), along * (T(3) * c.c5 - c.c4), phi, rho, beta,
                            out);
}

// out = J(phi) b, of a vector that V turns as it does the translation: dt + t x a_phi, t = V rho.
template <typename T>
PP_HD void vector_jlp(const Stumpff<T>& c, const T* phi, const T* rho, const T* b_rho, const T* b_phi, const T* a_phi,
                      T* out) {
  T t[3], dt[3], turned[3], moved[3];
  v_times(c, phi, rho, t);
  v_times(c, phi, b_rho, moved);
  v_derivative(c, phi, rho, b_phi, dt);
  cross(t, a_phi, turned);
  for (int i = 0; i < 3; ++i) out[i] = moved[i] + dt[i] + turned[i];
}

// The inverse: V^-1 (a_rho - t x a_phi - D(V rho)[b_phi]).
template <typename T>
PP_HD void vector_jl_invp(const Stumpff<T>& c, const T* phi, const T* rho, const T* t, const T* a_rho, const T* a_phi,
                          const T* b_phi, T* out) {
  T dt[3], turned[3], rest[3];
  v_derivative(c, phi, rho, b_phi, dt);
  cross(t, a_phi, turned);
  for (int i = 0; i < 3; ++i) rest[i] = a_rho[i] - turned[i] - dt[i];
  v_inverse_times(c, phi, rest, out);
}

// The rows of a size x size homogeneous matrix with s R and the given columns right of it.
template <typename T>
PP_HD void homogeneous(const T& s, const T* q, const T* const* columns, int n, T* out) {
  T R[9];
  quat_to_matrix(q, R);
  const int size = 3 + n;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) out[i * size + j] = s * R[3 * i + j];
    for (int j = 0; j < n; ++j) out[i * size + 3 + j] = columns[j] ? columns[j][i] : T(0);
  }
  for (int i = 3; i < size; ++i)
    for (int j = 0; j < size; ++j) out[i * size + j] = T(i == j ? 1 : 0);
}

// Half the vector part of g o q*: the gradient to a unit quaternion, seen from a left perturbation.
template <typename T>
PP_HD void quat_left_tangent(const T* q, const T* g, T* out) {
  T conj[4], product[4];
  quat_conj(q, conj);
  quat_mul(g, conj, product);
  for (int i = 0; i < 3; ++i) out[i] = T(0.5) * product[i];
}

// What roll, pitch and yaw are the arc tangents of, times n = |q|^2.
template <typename T>
struct EulerParts {
  T n, across, y[3], x[3];   // across = (n cos(pitch))^2, without cancellation; x[1], its root, is not set

  PP_HD explicit EulerParts(const T* q) {
    const T two = T(2), a = q[3] - q[1], b = q[3] + q[1], c = q[0] + q[2], d = q[0] - q[2];
    const T below = a * a + c * c, above = b * b + d * d;   // n (1 - sin(pitch)), n (1 + sin(pitch))
    n = T(0.5) * (below + above), across = below * above;
    y[0] = two * (q[3] * q[0] + q[1] * q[2]), x[0] = a * b - c * d;
    y[1] = two * (q[3] * q[1] - q[2] * q[0]);
    y[2] = two * (q[3] * q[2] + q[0] * q[1]), x[2] = a * b + c * d;
  }
  // Where |sin(pitch)| >= 1 - 2e-4, and where it is 1.
  PP_HD auto locked() const { return primal(across) <= primal(T(n * n * T(3.9996e-4))); }
  PP_HD auto pole() const { return primal(across) <= primal(T(0)); }
};

// Roll, pitch, yaw; roll is 0 where |sin(pitch)| >= 1 - 2e-4.
template <typename T>
PP_HD void quat_euler(const T* q, T* out) {
  using std::atan2;
  using std::sqrt;
  EulerParts<T> e(q);
  const auto locked = e.locked(), pole = e.pole();
  e.x[1] = sqrt(select(pole, T(1), e.across));
  atan2_each(e.y, e.x, out);
  // A constant at the pole, where it has no derivative.
  const T quarter = T(1.57079632679489661923);
  out[1] = select(pole, select(primal(e.y[1]) < 0, T(-quarter), quarter), out[1]);
  if (!any(locked)) return;
  out[0] = select(locked, T(0), out[0]);
  out[2] = select(locked, T(select(primal(e.y[1]) < 0, T(2), T(-2)) * atan2(q[0], q[3])), out[2]);
}

struct SO3 {
  static constexpr int width = 4, dof = 3, point = 3, size = 3, unit = 0, unit_length = 4;

  template <typename T> static PP_HD void exp(const T* x, T* X) { so3_exp(x, X); }
  template <typename T> static PP_HD void log(const T* X, T* x) { so3_log(X, x); }
  template <typename T> static PP_HD void inv(const T* X, T* Y) { quat_conj(X, Y); }
  template <typename T> static PP_HD void mul(const T* X, const T* Y, T* Z) { quat_mul(X, Y, Z); }
  template <typename T> static PP_HD void act(const T* X, const T* p, T* out) { quat_rotate(X, p, out); }
  template <typename T> static PP_HD void act_homogeneous(const T* X, const T* p, T* out) {
    quat_rotate(X, p, out);
    out[3] = p[3];
  }
  template <typename T> static PP_HD void adj(const T* X, const T* a, T* out) { quat_rotate(X, a, out); }
  template <typename T> static PP_HD void adjt(const T* X, const T* a, T* out) { quat_rotate_inv(X, a, out); }
  template <typename T> static PP_HD void jlp(const T* x, const T* b, T* out) {
    v_times(stumpff(dot3(x, x)), x, b, out);
  }
  template <typename T> static PP_HD void jinvp(const T* X, const T* a, T* out) {
    T phi[3];
    so3_log(X, phi);
    v_inverse_times(stumpff(dot3(phi, phi)), phi, a, out);
  }
  template <typename T> static PP_HD void matrix(const T* X, T* out) { quat_to_matrix(X, out); }
  template <typename T> static PP_HD void left_tangent(const T* X, const T* g, T* out) {
    quat_left_tangent(X, g, out);
  }
  template <typename T> static PP_HD void euler(const T* X, T* out) { quat_euler(X, out); }
};

struct SE3 {
  static constexpr int width = 7, dof = 6, point = 3, size = 4, unit = 3, unit_length = 4;

  template <typename T> static PP_HD void exp(const T* x, T* X) {
    const T* phi = x + 3;
    // From half the angle, whose sine and cosine the quaternion needs, to the whole one:
    // c_2(4y) = c_1(y)^2/2, c_3(4y) = (c_1 c_2 + c_3)(y)/4.
    const Stumpff<T> h = stumpff(dot3(phi, phi) * T(0.25));
    hat_polynomial_times(T(1), h.c1 * h.c1 * T(0.5), (h.c1 * h.c2 + h.c3) * T(0.25), phi, x, X);
    const T half = h.c1 * T(0.5);
    for (int i = 0; i < 3; ++i) X[3 + i] = half * phi[i];
    X[6] = h.c0;
  }
  template <typename T> static PP_HD void log(const T* X, T* x) {
    so3_log(X + 3, x + 3);
    v_inverse_times(stumpff(dot3(x + 3, x + 3)), x + 3, X, x);
  }
  template <typename T> static PP_HD void inv(const T* X, T* Y) {
    T t[3];
    quat_conj(X + 3, Y + 3);
    quat_rotate(Y + 3, X, t);
    for (int i = 0; i < 3; ++i) Y[i] = -t[i];
  }
  template <typename T> static PP_HD void mul(const T* X, const T* Y, T* Z) {
    T t[3];
    quat_rotate(X + 3, Y, t);
    quat_mul(X + 3, Y + 3, Z + 3);
    add3(X, t, Z);
  }
  template <typename T> static PP_HD void act(const T* X, const T* p, T* out) {
    T r[3];
    quat_rotate(X + 3, p, r);
    add3(X, r, out);
  }
  template <typename T> static PP_HD void act_homogeneous(const T* X, const T* p, T* out) {
    T r[3];
    quat_rotate(X + 3, p, r);
    for (int i = 0; i < 3; ++i) out[i] = r[i] + p[3] * X[i];
    out[3] = p[3];
  }
  template <typename T> static PP_HD void adj(const T* X, const T* a, T* out) {
    T rho[3], turned[3];
    quat_rotate(X + 3, a, rho);
    quat_rotate(X + 3, a + 3, out + 3);
    cross(X, out + 3, turned);
    add3(rho, turned, out);
  }
  template <typename T> static PP_HD void adjt(const T* X, const T* a, T* out) {
    T turned[3], rest[3];
    cross(X, a + 3, turned);
    subtract3(a, turned, rest);
    quat_rotate_inv(X + 3, rest, out);
    quat_rotate_inv(X + 3, a + 3, out + 3);
  }
  template <typename T> static PP_HD void jlp(const T* x, const T* b, T* out) {
    const Stumpff<T> c = stumpff(dot3(x + 3, x + 3));
    v_times(c, x + 3, b + 3, out + 3);
    vector_jlp(c, x + 3, x, b, b + 3, out + 3, out);
  }
  template <typename T> static PP_HD void jinvp(const T* X, const T* a, T* out) {
    T phi[3], rho[3];
    so3_log(X + 3, phi);
    const Stumpff<T> c = stumpff(dot3(phi, phi));
    v_inverse_times(c, phi, X, rho);
    v_inverse_times(c, phi, a + 3, out + 3);
    vector_jl_invp(c, phi, rho, X, a, a + 3, out + 3, out);
  }
  template <typename T> static PP_HD void matrix(const T* X, T* out) {
    const T* columns[] = {X};
    homogeneous(T(1), X + 3, columns, 1, out);
  }
  template <typename T> static PP_HD void left_tangent(const T* X, const T* g, T* out) {
    T turned[3];
    copy3(g, out);
    cross(X, g, turned);
    quat_left_tangent(X + 3, g + 3, out + 3);
    add3(turned, out + 3, out + 3);
  }
  template <typename T> static PP_HD void euler(const T* X, T* out) { quat_euler(X + 3, out); }
};

}  // namespace pypose
