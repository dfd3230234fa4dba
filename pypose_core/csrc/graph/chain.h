// Initial guesses: poses composed along a spanning tree, and rotations from relaxed ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <vector>

namespace pypose {

// X_j = X_i Z and X_i = X_j Z^-1 along a tree of the measurements (i, j), from the reached poses outwards.
// Steps between consecutive poses are odometry and are preferred: a tree has as few others as it can.
template <typename Group>
void compose_tree(int64_t poses, int64_t count, const int64_t* index, const double* Z, double* X, bool* reached) {
  constexpr int S = Group::kStorage;
  std::vector<int64_t> begin(poses + 1, 0), edges(2 * count);
  for (int64_t k = 0; k < 2 * count; ++k) ++begin[index[k] + 1];
  for (int64_t i = 0; i < poses; ++i) begin[i + 1] += begin[i];
  std::vector<int64_t> next(begin.begin(), begin.end() - 1);
  for (int64_t k = 0; k < 2 * count; ++k) edges[next[index[k]]++] = k / 2;

  constexpr int64_t kFar = INT64_MAX;
  std::vector<int64_t> jumps(poses, kFar), from(poses, -1);
  std::vector<bool> done(poses, false);
  std::deque<int64_t> queue;
  for (int64_t i = 0; i < poses; ++i)
    if (reached[i]) jumps[i] = 0, queue.push_back(i);
  while (!queue.empty()) {
    const int64_t i = queue.front();
    queue.pop_front();
    if (done[i]) continue;
    done[i] = true;
    if (from[i] >= 0) {
      const int64_t e = from[i], a = index[2 * e], b = index[2 * e + 1];
      if (b == i) {
        Group::compose(X + S * a, Z + S * e, X + S * i);
      } else {
        double back[S];
        Group::inverse(Z + S * e, back);
        Group::compose(X + S * b, back, X + S * i);
      }
      reached[i] = true;
    }
    for (int64_t k = begin[i]; k < begin[i + 1]; ++k) {
      const int64_t e = edges[k], other = index[2 * e] == i ? index[2 * e + 1] : index[2 * e];
      const bool odometry = std::abs(other - i) == 1;
      if (done[other] || jumps[i] + !odometry >= jumps[other]) continue;
      jumps[other] = jumps[i] + !odometry;
      from[other] = e;
      if (odometry) queue.push_front(other);
      else queue.push_back(other);
    }
  }
}

// q of the rotation R that maximizes trace(R^T M): the eigenvector of the largest eigenvalue of Davenport's
// matrix, by Jacobi rotations. Source: Davenport's q-method; Golub and Van Loan, 8.5.
inline void nearest_rotation(const double* M, double* q) {
  double K[4][4] = {
      {M[0] - M[4] - M[8], M[1] + M[3], M[2] + M[6], M[7] - M[5]},
      {M[1] + M[3], M[4] - M[0] - M[8], M[5] + M[7], M[2] - M[6]},
      {M[2] + M[6], M[5] + M[7], M[8] - M[0] - M[4], M[3] - M[1]},
      {M[7] - M[5], M[2] - M[6], M[3] - M[1], M[0] + M[4] + M[8]}};
  double V[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};
  for (int sweep = 0; sweep < 20; ++sweep) {
    double off = 0, size = 0;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) (i == j ? size : off) += K[i][j] * K[i][j];
    if (!(off > 1e-30 * size)) break;
    for (int a = 0; a < 3; ++a)
      for (int b = a + 1; b < 4; ++b) {
        if (K[a][b] == 0) continue;
        const double theta = (K[b][b] - K[a][a]) / (2 * K[a][b]);
        const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < 4; ++k) {
          const double x = K[k][a], y = K[k][b];
          K[k][a] = c * x - s * y, K[k][b] = s * x + c * y;
        }
        for (int k = 0; k < 4; ++k) {
          const double x = K[a][k], y = K[b][k];
          K[a][k] = c * x - s * y, K[b][k] = s * x + c * y;
          const double u = V[k][a], w = V[k][b];
          V[k][a] = c * u - s * w, V[k][b] = s * u + c * w;
        }
      }
  }
  int best = 0;
  for (int k = 1; k < 4; ++k)
    if (K[k][k] > K[best][best]) best = k;
  for (int k = 0; k < 4; ++k) q[k] = V[k][best];
}

}  // namespace pypose
