// The interpreter of pypose_core/control/tape.py. Each instruction works on eight stages at once, so that decoding
// it costs little and the arithmetic is vectorized.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "control/simd.h"

namespace pypose {

// Where the inputs of a stage come from: input i of stage k is base[k * stride + i - first].
struct InputSegment {
  const double* base;
  int stride;
  int first;   // number of the segment's first input
};

// A table of pypose_core/control/lookup.py: columns, rows, cells per metre, x and y of the first corner, cosine and sine
// of its turn, one number unused, then the values at the cells' centres, row by row.
struct Table {
  const double* data;

  // Value, derivative by x and derivative by y at a point, bilinear; beyond the outermost centres the border's value.
  void at(double x, double y, double* out) const {
    const double c = data[5], s = data[6], scale = data[2], dx = x - data[3], dy = y - data[4];
    double u = (c * dx + s * dy) * scale - 0.5, v = (c * dy - s * dx) * scale - 0.5;
    const double last_u = data[0] - 1, last_v = data[1] - 1;
    const bool in_u = u >= 0 && u <= last_u, in_v = v >= 0 && v <= last_v;
    u = u > 0 ? std::min(u, last_u) : 0.0;   // a NaN becomes zero too
    v = v > 0 ? std::min(v, last_v) : 0.0;
    const int columns = int(data[0]), i = std::min(int(u), columns - 2), j = std::min(int(v), int(data[1]) - 2);
    const double a = u - i, b = v - j, *z = data + 8 + size_t(j) * columns + i;
    const double low = z[0] + a * (z[1] - z[0]), high = z[columns] + a * (z[columns + 1] - z[columns]);
    const double by_u = in_u ? (z[1] - z[0] + b * (z[columns + 1] - z[columns] - z[1] + z[0])) * scale : 0.0;
    const double by_v = in_v ? (high - low) * scale : 0.0;
    out[0] = low + b * (high - low);
    out[1] = c * by_u - s * by_v;
    out[2] = s * by_u + c * by_v;
  }
};

class Tape {
 public:
  enum Operation : int32_t {
    kAdd, kSub, kMul, kDiv, kNeg, kFma, kFms, kFnma, kSin, kCos, kTan, kSqrt, kExp, kLog, kTanh, kAtan, kAbs,
    kAtan2, kMax, kMin, kGreater, kSelect, kLookup, kLookupX, kLookupY
  };
  struct Instruction {
    int32_t op, target, a, b, c;
  };
  struct Pair {
    int32_t first, second;
  };

  std::vector<Instruction> code;
  std::vector<double> constants;
  std::vector<Pair> inputs;          // (input, register)
  std::vector<Pair> outputs;         // (position in the record, register)
  std::vector<int32_t> fixed_at;     // outputs that are constant
  std::vector<double> fixed;
  int registers = 0;
  std::vector<Table> tables;
  std::shared_ptr<void> owner;       // of the tables' numbers

  size_t workspace() const { return size_t(registers + 1) * kLanes; }

  // Constant outputs of `count` records; needed once.
  void write_fixed(double* record, size_t stride, int count) const {
    for (int k = 0; k < count; ++k)
      for (size_t i = 0; i < fixed.size(); ++i) record[k * stride + fixed_at[i]] = fixed[i];
  }

  // Evaluates stages first..first + count - 1 and writes what is not constant into their records.
  void evaluate(const InputSegment* segments, int n_segments, int first, int count, double* record, size_t stride,
                double* work) const {
    v8d* reg = reinterpret_cast<v8d*>(work);
    for (size_t i = 0; i < constants.size(); ++i) reg[i] = broadcast8(constants[i]);
    for (int begin = 0; begin < count; begin += kLanes) {
      const int lanes = count - begin < kLanes ? count - begin : kLanes;
      int s = 0;
      for (const Pair& in : inputs) {
        while (s + 1 < n_segments && in.first >= segments[s + 1].first) ++s;
        while (in.first < segments[s].first) --s;
        const double* base = segments[s].base + (in.first - segments[s].first);
        for (int lane = 0; lane < kLanes; ++lane) {   // idle lanes repeat the last stage
          const int k = first + begin + (lane < lanes ? lane : lanes - 1);
          reg[in.second][lane] = base[size_t(k) * segments[s].stride];
        }
      }
      run(reg);
      double* out = record + size_t(first + begin) * stride;
      for (const Pair& o : outputs) {
        const v8d value = reg[o.second];
        for (int lane = 0; lane < lanes; ++lane) out[lane * stride + o.first] = value[lane];
      }
    }
  }

 private:
  // One of the three numbers of a table, whose index is a constant.
  v8d look_up(v8d x, v8d y, int table, int which) const {
    double found[3];
    for (int i = 0; i < kLanes; ++i) {
      tables[table].at(x[i], y[i], found);
      x[i] = found[which];
    }
    return x;
  }

  template <class F>
  static v8d each(v8d x, F f) {
    for (int i = 0; i < kLanes; ++i) x[i] = f(x[i]);
    return x;
  }

  void run(v8d* reg) const {
    for (const Instruction& n : code) {
      const v8d a = reg[n.a], b = reg[n.b];
      v8d& target = reg[n.target];
      switch (n.op) {
        case kAdd: target = a + b; break;
        case kSub: target = a - b; break;
        case kMul: target = a * b; break;
        case kDiv: target = a / b; break;
        case kNeg: target = -a; break;
        case kFma: target = a * b + reg[n.c]; break;
        case kFms: target = a * b - reg[n.c]; break;
        case kFnma: target = reg[n.c] - a * b; break;
        case kSin: { v8d s, c; sincos8(a, s, c); target = s; break; }
        case kCos: { v8d s, c; sincos8(a, s, c); target = c; break; }
        case kTan: { v8d s, c; sincos8(a, s, c); target = s / c; break; }
        case kSqrt: target = each(a, [](double x) { return std::sqrt(x); }); break;
        case kExp: target = each(a, [](double x) { return std::exp(x); }); break;
        case kLog: target = each(a, [](double x) { return std::log(x); }); break;
        case kTanh: target = each(a, [](double x) { return std::tanh(x); }); break;
        case kAtan: target = each(a, [](double x) { return std::atan(x); }); break;
        case kAbs: target = each(a, [](double x) { return std::abs(x); }); break;
        case kAtan2: { v8d t; for (int i = 0; i < kLanes; ++i) t[i] = std::atan2(a[i], b[i]); target = t; break; }
        case kMax: target = a > b ? a : b; break;
        case kMin: target = a < b ? a : b; break;
        case kGreater: target = a > b ? broadcast8(1.0) : broadcast8(0.0); break;
        case kSelect: target = a != 0.0 ? b : reg[n.c]; break;
        case kLookup: case kLookupX: case kLookupY:
          target = look_up(a, b, int(reg[n.c][0]), n.op - kLookup);
          break;
      }
    }
  }
};

}  // namespace pypose
