// Chordal initialization of poses: rotations as the nearest to a linear least-squares solution, then positions.
//
//   min sum w |R_j - R_i R_ij|^2 over matrices, projected onto rotations;   then   min sum w |t_j - t_i - R_i t_ij|^2
//
// Source: Carlone, Tron, Daniilidis, Dellaert, "Initialization techniques for 3D SLAM: a survey on rotation
// estimation and its use in pose graph optimization", ICRA 2015.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "graph/chain.h"
#include "graph/se2_factor.h"
#include "graph/se3_factor.h"

namespace pypose {

// min sum w |x_j + A x_i + b|^2 over the x (d x c, row-major) of the nodes that are free; A (d x d) orthogonal.
// The d x d normal equations are the same for all c columns. One elimination order serves all calls.
class Relaxation {
 public:
  // free[i] numbers the free nodes, -1: held
  Relaxation(std::vector<int> free, int64_t count, const int64_t* index);

  // A (count, d, d), b (count, d, c), w (count); x (nodes, d, c) holds the values of the held nodes and takes those
  // of the others. False where a node is not determined.
  bool solve(int d, int c, const std::vector<double>& A, const std::vector<double>& b, const std::vector<double>& w,
             double* x);

 private:
  std::vector<int> free_;
  int64_t count_;
  const int64_t* index_;
  int unknowns_ = 0;
  std::vector<int> order_;
};

// d x d rotation matrices and storage of a group's poses.
struct Rotation3 {
  using Group = Se3;
  static constexpr int d = 3;
  static void to_matrix(const double* X, double* R) { quat_to_matrix(X + 3, R); }
  static void nearest(const double* M, double* X) { nearest_rotation(M, X + 3); }
};

struct Rotation2 {
  using Group = Se2;
  static constexpr int d = 2;
  static void to_matrix(const double* X, double* R) { R[0] = R[3] = X[2], R[1] = -X[3], R[2] = X[3]; }
  // The rotation nearest to [[a, b], [c, e]] turns by atan2(c - b, a + e).
  static void nearest(const double* M, double* X) {
    const double c = M[0] + M[3], s = M[2] - M[1], norm = std::hypot(c, s);
    X[2] = norm > 0 ? c / norm : 1, X[3] = norm > 0 ? s / norm : 0;
  }
};

// Sets the poses X that are free; information (count, dof, dof). False where a pose is not determined.
template <typename Rotation>
bool chordal(int64_t poses, std::vector<int> free, int64_t count, const int64_t* index, const double* Z,
             const double* information, double* X) {
  constexpr int d = Rotation::d, S = Rotation::Group::kStorage, D = Rotation::Group::kDof;
  // Mean precision of a block of the diagonal, as the weight; never quite zero, so that no pose comes loose.
  const auto weights = [&](int begin, int end) {
    std::vector<double> w(count);
    for (int64_t f = 0; f < count; ++f) {
      double sum = 0;
      for (int k = begin; k < end; ++k) sum += information[f * D * D + k * D + k];
      w[f] = std::max(sum / (end - begin), 1e-12);
    }
    return w;
  };
  Relaxation relaxation(free, count, index);
  // Transposed, R_j^T - R_ij^T R_i^T: the columns of R^T are independent right sides.
  std::vector<double> A(count * d * d), b(count * d * d, 0.0), x(poses * d * d);
  double R[d * d];
  for (int64_t f = 0; f < count; ++f) {
    Rotation::to_matrix(Z + S * f, R);
    for (int i = 0; i < d; ++i)
      for (int j = 0; j < d; ++j) A[f * d * d + i * d + j] = -R[j * d + i];
  }
  for (int64_t k = 0; k < poses; ++k) {
    Rotation::to_matrix(X + S * k, R);
    for (int i = 0; i < d; ++i)
      for (int j = 0; j < d; ++j) x[k * d * d + i * d + j] = R[j * d + i];
  }
  if (!relaxation.solve(d, d, A, b, weights(d, D), x.data())) return false;
  for (int64_t k = 0; k < poses; ++k) {
    if (free[k] < 0) continue;
    for (int i = 0; i < d; ++i)
      for (int j = 0; j < d; ++j) R[i * d + j] = x[k * d * d + j * d + i];
    Rotation::nearest(R, X + S * k);
  }

  A.assign(count, -1.0);
  b.resize(count * d);
  for (int64_t f = 0; f < count; ++f) {
    Rotation::to_matrix(X + S * index[2 * f], R);
    for (int i = 0; i < d; ++i) {
      b[f * d + i] = 0;
      for (int j = 0; j < d; ++j) b[f * d + i] -= R[i * d + j] * Z[S * f + j];
    }
  }
  x.resize(poses * d);
  for (int64_t k = 0; k < poses; ++k)
    for (int i = 0; i < d; ++i) x[k * d + i] = X[S * k + i];
  if (!relaxation.solve(1, d, A, b, weights(0, d), x.data())) return false;
  for (int64_t k = 0; k < poses; ++k)
    for (int i = 0; i < d; ++i) X[S * k + i] = x[k * d + i];
  return true;
}

}  // namespace pypose
