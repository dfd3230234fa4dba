// A tape from the tensors of pypose_core/control/tape.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "control/tape.h"

namespace pypose {

template <class T, class S>
inline std::vector<T> numbers(const at::Tensor& t) {
  const at::Tensor c = t.contiguous();
  const S* data = c.const_data_ptr<S>();
  return std::vector<T>(data, data + c.numel());
}

inline Tape unpack(const std::vector<at::Tensor>& t) {
  TORCH_CHECK(t.size() >= 7, "a tape is seven tensors and its tables");
  Tape tape;
  const auto code = numbers<int32_t, int32_t>(t[0]);
  for (size_t i = 0; i + 5 <= code.size(); i += 5)
    tape.code.push_back({code[i], code[i + 1], code[i + 2], code[i + 3], code[i + 4]});
  tape.constants = numbers<double, double>(t[1]);
  const auto pairs = [](const at::Tensor& x) {
    const auto flat = numbers<int32_t, int32_t>(x);
    std::vector<Tape::Pair> result;
    for (size_t i = 0; i + 2 <= flat.size(); i += 2) result.push_back({flat[i], flat[i + 1]});
    return result;
  };
  tape.inputs = pairs(t[2]);
  tape.outputs = pairs(t[3]);
  tape.fixed_at = numbers<int32_t, int32_t>(t[4]);
  tape.fixed = numbers<double, double>(t[5]);
  tape.registers = numbers<int32_t, int32_t>(t[6])[0];
  const auto tables = std::make_shared<std::vector<at::Tensor>>(t.begin() + 7, t.end());
  for (const at::Tensor& table : *tables) {   // shared with Python, where their numbers are replaced between solves
    TORCH_CHECK(table.is_contiguous() && table.scalar_type() == at::kDouble, "a table is contiguous float64");
    tape.tables.push_back({table.const_data_ptr<double>()});
  }
  tape.owner = tables;
  return tape;
}

}  // namespace pypose
