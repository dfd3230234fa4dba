#include "linalg/minimum_degree.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace pypose {
namespace {

// Nodes by degree, as doubly linked lists.
class Buckets {
 public:
  Buckets(int nodes, int degrees) : head_(degrees, -1), next_(nodes, -1), previous_(nodes, -1), at_(nodes, -1) {}

  bool empty() const { return count_ == 0; }

  void insert(int node, int degree) {
    ++count_;
    at_[node] = degree;
    previous_[node] = -1;
    next_[node] = head_[degree];
    if (head_[degree] >= 0) previous_[head_[degree]] = node;
    head_[degree] = node;
    lowest_ = std::min(lowest_, degree);
  }

  void remove(int node) {
    if (at_[node] < 0) return;
    --count_;
    if (previous_[node] >= 0) next_[previous_[node]] = next_[node];
    else head_[at_[node]] = next_[node];
    if (next_[node] >= 0) previous_[next_[node]] = previous_[node];
    at_[node] = -1;
  }

  int pop_lowest() {
    while (head_[lowest_] < 0) ++lowest_;
    const int node = head_[lowest_];
    remove(node);
    return node;
  }

 private:
  std::vector<int> head_, next_, previous_, at_;
  int lowest_ = 0, count_ = 0;
};

// The quotient graph: a variable i is adjacent to the variables A[i] and to all variables of the elements E[i].
// Elements are numbered like the variables whose elimination made them, those given at the start after all variables.
class QuotientGraph {
 public:
  QuotientGraph(const Graph& graph, const std::vector<int>& weight, const std::vector<std::vector<int>>& elements,
                const std::vector<char>& last)
      : n_(graph.size()), all_(n_ + int(elements.size())), total_(std::accumulate(weight.begin(), weight.end(), 0)),
        weight_(weight), A_(n_), E_(n_), L_(all_), degree_(n_), absorbed_(all_), last_member_(n_),
        next_member_(n_, -1), mark_(n_, 0), outside_(all_, -1), waits_(last), buckets_(n_, total_ + 1) {
    for (int i = 0; i < n_; ++i) {
      A_[i].assign(graph.to.begin() + graph.begin[i], graph.to.begin() + graph.begin[i + 1]);
      last_member_[i] = i;
      for (int j : A_[i]) degree_[i] += weight_[j];
    }
    for (int e = n_; e < all_; ++e) {
      L_[e] = elements[e - n_];
      int size = 0;
      for (int i : L_[e]) size += weight_[i];
      for (int i : L_[e]) E_[i].push_back(e), degree_[i] += size - weight_[i];
    }
    for (int i = 0; i < n_; ++i) {
      degree_[i] = std::min(degree_[i], total_ - weight_[i]);
      if (!waits(i)) buckets_.insert(i, degree_[i]);
    }
  }

  // Calls visit(columns, rows) for each front in order.
  template <typename Visit>
  void run(Visit visit) {
    std::vector<int> columns, rows;
    for (int done = 0; done < n_; done += int(columns.size())) {
      if (buckets_.empty()) {
        for (int i = 0; i < n_; ++i)
          if (alive(i) && waits(i)) buckets_.insert(i, degree_[i]);
        waits_.clear();
      }
      const int pivot = buckets_.pop_lowest();
      columns.clear();
      append_members(pivot, columns);
      eliminated_ += weight_[pivot];
      eliminate(pivot, columns);
      visit(columns, [&]() -> const std::vector<int>& {
        rows.clear();
        for (int i : L_[pivot]) append_members(i, rows);
        return rows;
      });
    }
  }

 private:
  bool alive(int variable) const { return weight_[variable] > 0; }
  bool waits(int variable) const { return !waits_.empty() && waits_[variable]; }

  void append_members(int variable, std::vector<int>& to) const {
    for (int member = variable; member >= 0; member = next_member_[member]) to.push_back(member);
  }

  void eliminate(int p, std::vector<int>& columns) {
    // L_p = (A_p and the variables of the elements of p) without p
    const int stamp = ++stamp_;
    mark_[p] = stamp;
    std::vector<int>& Lp = L_[p];
    int size = 0;
    const auto take = [&](int i) {
      if (!alive(i) || mark_[i] == stamp) return;
      mark_[i] = stamp;
      Lp.push_back(i);
      size += weight_[i];
    };
    for (int i : A_[p]) take(i);
    for (int e : E_[p]) {
      for (int i : L_[e]) take(i);
      absorbed_[e] = true;
      std::vector<int>().swap(L_[e]);
    }
    std::vector<int>().swap(A_[p]);
    std::vector<int>().swap(E_[p]);
    weight_[p] = 0;

    // outside_[e] = weight of L_e \ L_p, for every element that touches L_p
    touched_.clear();
    for (int i : Lp)
      for (int e : E_[i]) {
        if (absorbed_[e]) continue;
        if (outside_[e] < 0) {
          outside_[e] = 0;
          for (int j : L_[e]) outside_[e] += weight_[j];
          touched_.push_back(e);
        }
        outside_[e] -= weight_[i];
      }
    for (int e : touched_)
      if (outside_[e] == 0) absorbed_[e] = true, std::vector<int>().swap(L_[e]);   // contained in L_p

    hashes_.clear();
    for (int i : Lp) {
      buckets_.remove(i);
      int degree = 0;
      uint64_t hash = p;
      auto& E = E_[i];
      size_t kept = 0;
      for (int e : E)
        if (!absorbed_[e]) E[kept++] = e, degree += outside_[e], hash += e;
      E.resize(kept);
      E.push_back(p);
      auto& A = A_[i];
      kept = 0;
      for (int j : A)
        if (alive(j) && mark_[j] != stamp) A[kept++] = j, degree += weight_[j], hash += j;
      A.resize(kept);
      degree_[i] = std::min({total_ - eliminated_ - weight_[i], degree_[i] + size - weight_[i],
                             degree + size - weight_[i]});
      hashes_.push_back({hash, i});
    }
    for (int e : touched_) outside_[e] = -1;
    merge_indistinguishable();

    size_t kept = 0;
    for (int i : Lp) {
      if (!alive(i)) continue;
      if (A_[i].empty() && E_[i].size() == 1 && !waits(i)) {   // adjacent to nothing but L_p: eliminated with p
        append_members(i, columns);
        eliminated_ += weight_[i];
        weight_[i] = 0;
        std::vector<int>().swap(E_[i]);
        continue;
      }
      Lp[kept++] = i;
    }
    Lp.resize(kept);
    for (int i : Lp) {
      degree_[i] = std::max(0, std::min(degree_[i], total_ - eliminated_ - weight_[i]));
      if (!waits(i)) buckets_.insert(i, degree_[i]);
    }
  }

  // Variables of L_p with the same neighbours will have them until the end: they become one.
  void merge_indistinguishable() {
    std::sort(hashes_.begin(), hashes_.end());
    for (size_t a = 0; a < hashes_.size(); ++a) {
      const int i = hashes_[a].second;
      if (!alive(i)) continue;
      bool marked = false;
      for (size_t b = a + 1; b < hashes_.size() && hashes_[b].first == hashes_[a].first; ++b) {
        const int j = hashes_[b].second;
        if (!alive(j) || A_[i].size() != A_[j].size() || E_[i].size() != E_[j].size() || waits(i) != waits(j))
          continue;
        if (!marked) {
          ++stamp_;
          for (int k : A_[i]) mark_[k] = stamp_;
          element_mark_.resize(all_, 0);
          for (int e : E_[i]) element_mark_[e] = stamp_;
          marked = true;
        }
        const bool same = std::all_of(A_[j].begin(), A_[j].end(), [&](int k) { return mark_[k] == stamp_; }) &&
                          std::all_of(E_[j].begin(), E_[j].end(), [&](int e) { return element_mark_[e] == stamp_; });
        if (!same) continue;
        degree_[i] -= weight_[j];
        weight_[i] += weight_[j];
        weight_[j] = 0;
        next_member_[last_member_[i]] = j;
        last_member_[i] = last_member_[j];
        std::vector<int>().swap(A_[j]);
        std::vector<int>().swap(E_[j]);
      }
    }
  }

  int n_, all_, total_;
  std::vector<int> weight_;                    // of a variable and those merged into it; 0 once gone
  std::vector<std::vector<int>> A_, E_, L_;
  std::vector<int> degree_;
  std::vector<bool> absorbed_;
  std::vector<int> last_member_, next_member_;
  std::vector<int> mark_, element_mark_, outside_, touched_;
  std::vector<std::pair<uint64_t, int>> hashes_;
  std::vector<char> waits_;                    // until all others are eliminated; empty once they are
  Buckets buckets_;
  int stamp_ = 0, eliminated_ = 0;
};

}  // namespace

std::vector<int> minimum_degree(const Graph& graph, const std::vector<int>& weight) {
  std::vector<int> order;
  order.reserve(graph.size());
  QuotientGraph(graph, weight, {}, {}).run([&](const std::vector<int>& columns, auto&&) {
    order.insert(order.end(), columns.begin(), columns.end());
  });
  return order;
}

std::vector<Eliminated> minimum_degree_fronts(const Graph& graph, const std::vector<int>& weight,
                                              const std::vector<std::vector<int>>& elements,
                                              const std::vector<char>& last) {
  std::vector<Eliminated> fronts;
  QuotientGraph(graph, weight, elements, last).run([&](const std::vector<int>& columns, auto&& rows) {
    fronts.push_back({columns, rows()});
  });
  return fronts;
}

}  // namespace pypose
