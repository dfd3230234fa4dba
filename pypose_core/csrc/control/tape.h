// The interpreter of pypose_core/control/tape.py. Each instruction works on eight stages at once, so that decoding
// it costs little and the arithmetic is vectorized.
#pragma once

#include <vector>

#include "control/simd.h"

namespace pypose {

// Where the inputs of a stage come from: input i of stage k is base[k * stride + i - first].
struct InputSegment {
  const double* base;
  int stride;
  int first;   // number of the segment's first input
};

class Tape {
 public:
  enum Operation : int32_t {
    kAdd, kSub, kMul, kDiv, kNeg, kFma, kFms, kFnma, kSin, kCos, kTan, kSqrt, kExp, kLog, kTanh, kAtan, kAbs,
    kAtan2, kMax, kMin, kGreater, kSelect
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
      }
    }
  }
};

}  // namespace pypose
