#include "graph/small_graphs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "graph/lane_kernels.h"
#include "graph/linearize.h"
#include "linalg/minimum_degree.h"

namespace pypose {
namespace {

constexpr int W = Lanes::kCount;
using Flags = std::array<bool, W>;

template <typename Group>
class Lockstep {
  static constexpr int D = Group::kDof, N = Group::kStorage, B = D * D;

 public:
  Lockstep(const SmallStructure& structure, const SmallOptions& options)
      : structure_(structure), options_(options), poses_(int(structure.held.size())) {
    analyse();
    const size_t M = structure.factors.size();
    X_.resize(poses_ * N), trial_.resize(poses_ * N);
    Z_.resize(M * N), information_.resize(M * B), weight_.resize(M);
    H_.resize(blocks_ * B), trial_H_.resize(blocks_ * B), L_.resize(blocks_ * B);
    g_.resize(free_ * D), trial_g_.resize(free_ * D), step_.resize(free_ * D);
  }

  // Up to W graphs.
  void solve(SmallGraph* const* graphs, int count) {
    pack(graphs, count);
    minimize(graphs, count);
    for (int p = 0; p < poses_; ++p)
      for (int l = 0; l < count; ++l)
        for (int k = 0; k < N; ++k) graphs[l]->pose[p][k] = X_[p * N + k][l];
  }

 private:
  // Of a column of L: which columns its blocks below the diagonal belong to, and where they are.
  struct Below {
    int row, block;
  };
  // block[target] -= block[a] block[b]^T
  struct Product {
    int a, b, target;
  };

  void analyse() {
    std::vector<int> number(poses_, -1);
    for (int p = 0; p < poses_; ++p)
      if (!structure_.held[p]) number[p] = free_++;
    std::vector<std::vector<char>> coupled(free_, std::vector<char>(free_, 0));
    for (const SmallFactor& f : structure_.factors) {
      if (f.j < 0 || number[f.i] < 0 || number[f.j] < 0) continue;
      coupled[number[f.i]][number[f.j]] = coupled[number[f.j]][number[f.i]] = 1;
    }
    Graph graph;
    graph.begin.push_back(0);
    for (const auto& row : coupled) {
      for (int j = 0; j < free_; ++j)
        if (row[j]) graph.to.push_back(j);
      graph.begin.push_back(int64_t(graph.to.size()));
    }
    const std::vector<int> order = minimum_degree(graph, std::vector<int>(free_, D));
    std::vector<int> position(free_);
    for (int k = 0; k < free_; ++k) position[order[k]] = k;
    std::vector<std::vector<int>> block(free_, std::vector<int>(free_, -1));
    below_.resize(free_), products_.resize(free_);
    for (int k = 0; k < free_; ++k) block[k][k] = blocks_++;
    const auto filled = [&](int i, int j) {
      if (block[i][j] < 0) block[i][j] = blocks_++;
      return block[i][j];
    };
    for (int i = 0; i < free_; ++i)
      for (int j = 0; j < i; ++j)
        if (coupled[order[i]][order[j]]) filled(i, j);
    for (int k = 0; k < free_; ++k) {
      for (int i = k + 1; i < free_; ++i)
        if (block[i][k] >= 0) below_[k].push_back({i, block[i][k]});
      for (const Below& i : below_[k])
        for (const Below& j : below_[k])
          if (j.row <= i.row) products_[k].push_back({i.block, j.block, filled(i.row, j.row)});
    }
    variable_.resize(free_);
    for (int p = 0; p < poses_; ++p) {
      const int at = number[p] < 0 ? -1 : position[number[p]];
      column_.push_back(at < 0 ? -1 : at * D);
      if (at >= 0) variable_[at] = p;
    }
    for (const SmallFactor& f : structure_.factors) {
      const int a = column_[f.i] / D, b = f.j < 0 ? 0 : column_[f.j] / D;
      const bool first = column_[f.i] >= 0, second = f.j >= 0 && column_[f.j] >= 0;
      const auto slot = [&](int i, int j) {
        return int64_t(2) * B * block[std::max(i, j)][std::min(i, j)] + (i < j);
      };
      slots_.push_back(first ? slot(a, a) : -1);
      slots_.push_back(first && second ? slot(b, a) : -1);
      slots_.push_back(second ? slot(b, b) : -1);
    }
  }

  void pack(SmallGraph* const* graphs, int count) {
    for (int l = 0; l < W; ++l) {
      const SmallGraph& graph = *graphs[std::min(l, count - 1)];
      for (int p = 0; p < poses_; ++p)
        for (int k = 0; k < N; ++k) X_[p * N + k].set(l, graph.pose[p][k]);
      for (size_t f = 0; f < structure_.factors.size(); ++f) {
        for (int k = 0; k < N; ++k) Z_[f * N + k].set(l, graph.measured[f][k]);
        for (int k = 0; k < B; ++k) information_[f * B + k].set(l, graph.information[f][k]);
        weight_[f].set(l, graph.weight[f]);
      }
    }
  }

  Cost<Lanes> linearize(const std::vector<Lanes>& X, std::vector<Lanes>* H, std::vector<Lanes>* g) const {
    if (H) std::fill(H->begin(), H->end(), Lanes(0)), std::fill(g->begin(), g->end(), Lanes(0));
    Cost<Lanes> sum;
    for (size_t f = 0; f < structure_.factors.size(); ++f) {
      const SmallFactor& factor = structure_.factors[f];
      const Weighting<Lanes> weighting = {&information_[f * B], &weight_[f], factor.kernel, factor.width};
      const Target<Lanes> target = {column_.data(), &slots_[3 * f], H ? H->data() : nullptr, H ? g->data() : nullptr};
      const int64_t index[2] = {factor.i, factor.j};
      Lanes* const none = nullptr;
      const Cost<Lanes> one =
          factor.j < 0 ? pypose::linearize<Group, 1>(1, X.data(), index, &Z_[f * N], weighting, target, none)
                       : pypose::linearize<Group, 2>(1, X.data(), index, &Z_[f * N], weighting, target, none);
      sum.robust += one.robust, sum.chi2 += one.chi2;
    }
    return sum;
  }

  // L of H + damping diag(H); in failed, of each lane, the column without a positive pivot, or -1.
  void factorize(const Lanes& damping, std::array<int, W>& failed) {
    failed.fill(-1);
    L_ = H_;
    for (int k = 0; k < free_; ++k)
      for (int i = 0; i < D; ++i) L_[k * B + i * (D + 1)] *= Lanes(1) + damping;
    for (int k = 0; k < free_; ++k) {
      Lanes inverse[D];
      const Lanes::Mask good = lanes::factorize<D>(&L_[k * B], &H_[k * B], inverse);
      for (int l = 0; l < W; ++l)
        if (!good[l] && failed[l] < 0) failed[l] = k;
      for (const Below& i : below_[k]) lanes::solve_right<D>(&L_[k * B], inverse, &L_[i.block * B]);
      for (const Product& p : products_[k]) lanes::subtract_product<D>(&L_[p.a * B], &L_[p.b * B], &L_[p.target * B]);
    }
  }

  // step = -H^-1 g
  void back_substitute() {
    for (int k = 0; k < free_ * D; ++k) step_[k] = -g_[k];
    for (int k = 0; k < free_; ++k) {
      Lanes* x = &step_[k * D];
      for (int i = 0; i < D; ++i) {
        for (int j = 0; j < i; ++j) x[i] -= L_[k * B + i * D + j] * x[j];
        x[i] /= L_[k * B + i * (D + 1)];
      }
      for (const Below& b : below_[k])
        for (int i = 0; i < D; ++i)
          for (int j = 0; j < D; ++j) step_[b.row * D + i] -= L_[b.block * B + i * D + j] * x[j];
    }
    for (int k = free_ - 1; k >= 0; --k) {
      Lanes* x = &step_[k * D];
      for (const Below& b : below_[k])
        for (int i = 0; i < D; ++i)
          for (int j = 0; j < D; ++j) x[j] -= L_[b.block * B + i * D + j] * step_[b.row * D + i];
      for (int i = D - 1; i >= 0; --i) {
        for (int j = i + 1; j < D; ++j) x[i] -= L_[k * B + j * D + i] * x[j];
        x[i] /= L_[k * B + i * (D + 1)];
      }
    }
  }

  // As LevenbergMarquardt of the Python side, each lane for itself.
  void minimize(SmallGraph* const* graphs, int count) {
    Cost<Lanes> cost = linearize(X_, &H_, &g_);
    Flags active;
    Lanes damping(options_.initial_damping), growth(2);
    for (int l = 0; l < W; ++l) {
      active[l] = l < count && std::isfinite(cost.robust[l]) && free_ > 0;
      if (l >= count) continue;
      graphs[l]->first_cost = cost.robust[l];
      graphs[l]->status = !std::isfinite(cost.robust[l]) ? 4 : free_ ? 1 : 0;
    }
    const auto finish = [&](int l, int status) {
      active[l] = false;
      graphs[l]->status = status;
    };
    const auto any = [](const Flags& flags) { return std::any_of(flags.begin(), flags.end(), std::identity()); };
    std::array<int, W> failed;
    for (int iteration = 0; iteration < options_.max_iterations && any(active); ++iteration) {
      factorize(damping, failed);
      back_substitute();
      Lanes predicted(0);
      for (int k = 0; k < free_; ++k)
        for (int i = 0; i < D; ++i) {
          const Lanes& d = step_[k * D + i];
          predicted += d * (damping * H_[k * B + i * (D + 1)] * d - g_[k * D + i]);
        }
      Flags stepped{}, small{};
      bool end = true;      // no lane will need another linearization
      for (int l = 0; l < W; ++l) {
        if (!active[l]) continue;
        ++graphs[l]->iterations;
        if (failed[l] >= 0) {
          graphs[l]->failed = variable_[failed[l]];
          if (damping[l] >= options_.max_damping) finish(l, 3);
          else damping.set(l, damping[l] * growth[l]), growth.set(l, growth[l] * 2);
          end = false;
          continue;
        }
        stepped[l] = true;
        small[l] = predicted[l] <= std::max(options_.tolerance * cost.robust[l], options_.absolute_tolerance);
        end = end && small[l];
      }
      if (!any(stepped)) continue;
      trial_ = X_;
      for (int p = 0; p < poses_; ++p)
        if (column_[p] >= 0) Group::retract(&X_[p * N], &step_[column_[p]], &trial_[p * N]);
      const Cost<Lanes> next = linearize(trial_, end ? nullptr : &trial_H_, end ? nullptr : &trial_g_);
      Lanes::Mask taken{};
      for (int l = 0; l < W; ++l) {
        if (!stepped[l]) continue;
        const double decrease = cost.robust[l] - next.robust[l];
        if (decrease > 0) {
          taken[l] = -1;
          cost.robust.set(l, next.robust[l]), cost.chi2.set(l, next.chi2[l]);
          const double ratio = decrease / predicted[l];
          damping.set(l, damping[l] * std::max(1.0 / 3, 1 - std::pow(2 * ratio - 1, 3))), growth.set(l, 2);
        } else if (damping[l] >= options_.max_damping && !small[l]) {
          finish(l, 2);
        } else {
          damping.set(l, damping[l] * growth[l]), growth.set(l, growth[l] * 2);
        }
        if (small[l]) finish(l, 0);
      }
      lanes::take(taken, trial_, X_);
      if (!end) lanes::take(taken, trial_H_, H_), lanes::take(taken, trial_g_, g_);
    }
    for (int l = 0; l < count; ++l) graphs[l]->cost = cost.robust[l], graphs[l]->chi2 = cost.chi2[l];
  }

  const SmallStructure& structure_;
  const SmallOptions options_;
  const int poses_;
  int free_ = 0, blocks_ = 0;
  std::vector<int64_t> column_, slots_;          // of poses; of factors, three each
  std::vector<int> variable_;                    // of columns, the pose
  std::vector<std::vector<Below>> below_;
  std::vector<std::vector<Product>> products_;
  std::vector<Lanes> X_, trial_, Z_, information_, weight_, H_, trial_H_, L_, g_, trial_g_, step_;
};

template <typename Group>
void solve_all(const SmallStructure& structure, std::vector<SmallGraph*>& graphs, const SmallOptions& options) {
  Lockstep<Group> lockstep(structure, options);
  for (size_t k = 0; k < graphs.size(); k += W)
    lockstep.solve(graphs.data() + k, int(std::min<size_t>(W, graphs.size() - k)));
}

}  // namespace

void solve_small_graphs(bool spatial, const SmallStructure& structure, std::vector<SmallGraph*>& graphs,
                        const SmallOptions& options) {
  (spatial ? solve_all<Se3> : solve_all<Se2>)(structure, graphs, options);
}

}  // namespace pypose
