// The shortest way over the free cells of a grid, by A*: Hart, Nilsson and Raphael, 1968.

#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <queue>
#include <vector>

namespace pypose {
namespace {

using at::Tensor;

struct Neighbour {
  std::array<int64_t, 3> step;  // along each axis
  int64_t offset;               // in the flat grid
  double length;                // in cells
};

std::vector<Neighbour> neighbours(const std::array<int64_t, 3>& size) {
  std::vector<Neighbour> found;
  for (int64_t k = -1; k <= 1; ++k)
    for (int64_t j = -1; j <= 1; ++j)
      for (int64_t i = -1; i <= 1; ++i) {
        const double square = static_cast<double>(k * k + j * j + i * i);
        if (square > 0 && (size[0] > 1 || k == 0))
          found.push_back({{k, j, i}, (k * size[1] + j) * size[2] + i, std::sqrt(square)});
      }
  return found;
}

// Flat indices of the cells from `start` to `goal`, none where there is no way. A cell is free where its value is above
// `radius`; a step costs its length in cells times 3 - room - room', with the room clamp((value - radius) / scale, 0, 1)
// of both of its cells: one where there is plenty, three where it is narrow.
Tensor grid_search(const Tensor& values_, double radius, double scale, int64_t start, int64_t goal) {
  TORCH_CHECK(values_.scalar_type() == at::kDouble && (values_.dim() == 2 || values_.dim() == 3),
              "grid_search: values must be float64 of two or three axes");
  TORCH_CHECK(start >= 0 && start < values_.numel() && goal >= 0 && goal < values_.numel() && scale > 0,
              "grid_search: start and goal must be cells of the grid, scale positive");
  const Tensor contiguous = values_.contiguous();
  const double* values = contiguous.const_data_ptr<double>();
  const bool space = values_.dim() == 3;
  const std::array<int64_t, 3> size{space ? values_.size(0) : 1, values_.size(-2), values_.size(-1)};
  const auto steps = neighbours(size);
  const auto place = [&](int64_t cell) {
    return std::array<int64_t, 3>{cell / (size[1] * size[2]), cell / size[2] % size[1], cell % size[2]};
  };
  const auto room = [&](int64_t cell) { return std::clamp((values[cell] - radius) / scale, 0.0, 1.0); };
  const auto target = place(goal);
  const auto at_least = [&](const std::array<int64_t, 3>& p) {  // no way is shorter than the straight line
    const double a = static_cast<double>(p[0] - target[0]), b = static_cast<double>(p[1] - target[1]),
                 c = static_cast<double>(p[2] - target[2]);
    return std::sqrt(a * a + b * b + c * c);
  };

  constexpr double infinite = std::numeric_limits<double>::infinity();
  std::vector<double> cost(static_cast<size_t>(values_.numel()), infinite);
  std::vector<int64_t> before(cost.size(), -1);
  std::vector<bool> done(cost.size(), false);
  using Entry = std::pair<double, int64_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
  if (values[start] > radius && values[goal] > radius) {
    cost[start] = 0;
    open.emplace(at_least(place(start)), start);
  }
  while (!open.empty()) {
    const int64_t cell = open.top().second;
    open.pop();
    if (done[cell]) continue;
    done[cell] = true;
    if (cell == goal) break;
    const auto here = place(cell);
    for (const Neighbour& step : steps) {
      std::array<int64_t, 3> there;
      bool inside = true;
      for (int axis = 0; axis < 3; ++axis) {
        there[axis] = here[axis] + step.step[axis];
        inside = inside && there[axis] >= 0 && there[axis] < size[axis];
      }
      const int64_t next = cell + step.offset;
      if (!inside || done[next] || !(values[next] > radius)) continue;
      const double reached = cost[cell] + step.length * (3 - room(cell) - room(next));
      if (reached < cost[next]) {
        cost[next] = reached;
        before[next] = cell;
        open.emplace(reached + at_least(there), next);
      }
    }
  }
  std::vector<int64_t> way;
  if (cost[goal] < infinite)
    for (int64_t cell = goal; cell >= 0; cell = before[cell]) way.push_back(cell);
  std::reverse(way.begin(), way.end());
  return at::tensor(way, at::kLong);
}

}  // namespace
}  // namespace pypose

TORCH_LIBRARY_FRAGMENT(pypose, m) {
  m.def("grid_search(Tensor values, float radius, float scale, int start, int goal) -> Tensor");
}

TORCH_LIBRARY_IMPL(pypose, CPU, m) { m.impl("grid_search", pypose::grid_search); }
