// The native sources that need no torch, under address and undefined-behaviour sanitizers: damaged pose-graph files
// through the reader, random block systems through ordering, factorization, Schur complement and inverse.
// Built and run by test_native_sanitized.py; the result is 0 where nothing was found.

#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "graph/g2o.h"
#include "linalg/block_matrix.h"
#include "linalg/cholesky.h"
#include "linalg/minimum_degree.h"
#include "linalg/schur.h"

using namespace pypose;

static std::mt19937_64 chance(0);

static int below(int n) { return int(chance() % uint64_t(n)); }

static const char* kFiles[2] = {
    "VERTEX_SE2 0 0 0 0\nVERTEX_SE2 1 1 0 0.1\nVERTEX_XY 9 2 2\nEDGE_SE2 0 1 1 0 0.1 100 0 0 100 0 400\n"
    "EDGE_SE2_XY 0 9 2 2 10 0 10\nVERTEX_SE3:QUAT 5 0 0 0 0 0 0 1\nVERTEX_SE3:QUAT 6 1 0 0 0 0 0 1\nFIX 5\n"
    "PARAMS_SE3OFFSET 3 0 0 0 0 0 0 1\nVERTEX_TRACKXYZ 7 1 2 3\nEDGE_SE3_TRACKXYZ 5 7 3 1 2 3 1 0 0 1 0 1\n"
    "EDGE_SE3:QUAT 5 6 1 0 0 0 0 0 1 9 0 0 0 0 0 9 0 0 0 0 9 0 0 0 4 0 0 4 0 4\n",
    "VERTEX2 0 0 0 0\nVERTEX2 1 1 0 0.1\nEDGE2 0 1 1 0 0.1 100 0 100 400 0 0\nVERTEX3 5 0 0 0 0 0 0\n"
    "VERTEX3 6 1 0 0 0 0 0\nEDGE3 5 6 1 0 0 0 0 0 9 0 0 0 0 0 9 0 0 0 0 9 0 0 0 4 0 0 4 0 4\n"};
static const char* kWords[] = {"nan", "-inf", "1e999", "-1", "99999999999999999999", "2147483648", "1e-320", "FIX", "#",
                               "+", "0x10", "9223372036854775807", "-9223372036854775808", "EDGE_SE3:QUAT", "\r", ""};

static void read_damaged_files(int rounds) {
  int refused = 0;
  for (int k = 0; k < rounds; ++k) {
    std::string text = kFiles[k % 2];
    for (int change = 1 + below(3); change > 0 && !text.empty(); --change) {
      const size_t at = size_t(below(int(text.size())));
      if (below(4) == 0) {
        text.resize(at);
      } else if (below(2)) {
        text[at] = char(below(256));
      } else {
        const size_t begin = text.find_last_of(" \n", at) + 1, end = text.find_first_of(" \n", at);
        text.replace(begin, (end == std::string::npos ? text.size() : end) - begin, kWords[below(16)]);
      }
    }
    // An own block of exactly this size: a byte beyond it is found.
    const std::vector<char> exact(text.begin(), text.end());
    refused += parse_g2o({exact.data(), exact.size()}, k % 4 < 2 ? Dialect::kG2o : Dialect::kToro).bad_line != 0;
  }
  std::printf("%d of %d damaged files refused\n", refused, rounds);
}

static double error(const BlockPattern& pattern, const std::vector<double>& values, const std::vector<double>& x,
                    const std::vector<double>& b) {
  std::vector<double> Ax(b.size());
  multiply(pattern, values.data(), x.data(), Ax.data());
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i) worst = std::max(worst, std::abs(Ax[i] - b[i]));
  return worst;
}

static bool solve_random_systems(int rounds) {
  std::uniform_real_distribution<double> uniform(-1, 1);
  for (int round = 0; round < rounds; ++round) {
    const int n = 1 + below(60), landmarks = below(2) ? below(40) : 0;
    std::vector<int> size;
    for (int i = 0; i < n + landmarks; ++i) size.push_back(i < n ? 1 + below(7) : 3);
    std::vector<std::pair<int, int>> couplings;
    for (int k = below(4 * n + 1); k > 0; --k) couplings.emplace_back(below(n), below(n));
    for (int i = n; i < n + landmarks; ++i)
      for (int k = 1 + below(4); k > 0; --k) couplings.emplace_back(i, below(n));
    const auto pattern = std::make_shared<const BlockPattern>(BlockPattern::from_couplings(size, couplings));
    std::vector<double> values(size_t(pattern->values()));
    for (double& v : values) v = uniform(chance);
    for (int j = 0; j < pattern->blocks(); ++j) {     // symmetric diagonal blocks that dominate
      const int s = size[size_t(j)];
      double* block = values.data() + pattern->value_begin[size_t(pattern->column_begin[size_t(j)])];
      for (int a = 0; a < s; ++a)
        for (int c = 0; c <= a; ++c) block[a * s + c] = block[c * s + a] = a == c ? 1e4 : block[a * s + c];
    }
    std::vector<double> b(size_t(pattern->dimension()));
    for (double& v : b) v = uniform(chance);
    Cholesky cholesky(std::make_shared<const Symbolic>(*pattern, minimum_degree(pattern->graph(), pattern->size)));
    std::vector<double> x = b, inverse(values.size());
    if (cholesky.factorize(values.data()) != -1) return false;
    cholesky.solve(x.data(), 1, pattern->dimension());
    cholesky.selected_inverse(inverse.data());
    if (!(error(*pattern, values, x, b) < 1e-9)) return false;
    if (landmarks) {
      std::vector<bool> eliminated(size.size(), false);
      for (int i = n; i < n + landmarks; ++i) eliminated[size_t(i)] = true;
      Schur schur(pattern, eliminated);
      x = b;
      if (schur.factorize(values.data(), 0, 0) != -1) return false;
      schur.solve(x.data(), 1, pattern->dimension());
      if (!(error(*pattern, values, x, b) < 1e-9)) return false;
    }
    std::vector<double> z(b.size());
    conjugate_gradients(*pattern, values.data(), b.data(), z.data(), 1e-10, 200);
    values[0] = -1e4;                                 // not positive definite: said, not crashed
    if (cholesky.factorize(values.data()) == -1) return false;
  }
  std::printf("%d systems solved\n", rounds);
  return true;
}

int main() {
  read_damaged_files(200000);
  return solve_random_systems(300) ? 0 : 1;
}
