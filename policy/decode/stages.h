// What the stages of a pass share: the kernels, the rows, and buffers that live from stage to
// stage. A stage is called by every thread of the team at once. Only for the files of this folder.
#pragma once

#include <cstdlib>
#include <memory>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/decode/rows.h"
#include "policy/decode/team.h"
#include "policy/kernels/kernels.h"
#include "policy/layer.h"

namespace ponder::policy::decode {

// Elements of T on a cache line's border, grown as needed and kept.
template <typename T>
class Buffer {
 public:
  T* reserve(int64_t count) {
    if (count > size_) {
      size_ = count + count / 4 + 64;
      data_.reset(static_cast<T*>(std::aligned_alloc(64, (size_ * sizeof(T) + 63) / 64 * 64)));
    }
    return data_.get();
  }
  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

// A matrix of rows in a buffer, with the row pointers that the kernels take.
template <typename T>
struct Rows {
  Buffer<T> buffer;
  std::vector<const T*> pointers;
  int64_t width = 0;

  void resize(int64_t rows, int64_t columns) {
    width = columns;
    T* data = buffer.reserve(rows * columns);
    pointers.resize(rows);
    for (int64_t r = 0; r < rows; ++r) pointers[r] = data + r * columns;
  }
  T* row(int64_t r) const { return buffer.get() + r * width; }
};

// Columns of one product whose float32 results stand in a thread's scratch at once.
constexpr int64_t kPanelColumns = 64;
// Columns are shared between threads in whole blocks of the weights in 8 bits.
constexpr int64_t kColumnGrain = kernels::kInt8Columns;

template <typename T>
const kernels::TypedTable<T>& typed(const kernels::Table& table) {
  if constexpr (sizeof(T) == 2) {
    return table.bf16;
  } else {
    return table.f32;
  }
}

// The data of a weight whose dtype is T's.
template <typename T>
const T* data_of(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

// A weight in 8 bits, as linear_int8 takes it.
struct Int8Weight {
  int64_t depth;                // kernels::int8_depth(in)
  std::vector<uint8_t> values;  // at kernels::int8_place(out, in, depth)
  std::vector<float> scales;    // [out], rounded up to whole blocks
};
using Int8Weights = std::unordered_map<const void*, Int8Weight>;  // by the weight's data

template <typename T>
struct Pass {
  explicit Pass(const kernels::TypedTable<T>& table) : k(table) {}

  const kernels::TypedTable<T>& k;
  CachedRows rows = {};
  int64_t num_rows = 0;
  const float *cos = nullptr, *sin = nullptr;  // [rows, rotary_dim / 2]
  const Int8Weights* int8 = nullptr;           // where products run in 8 bits
  Rows<T> x, normed;                           // [rows, hidden]
  Rows<T> joined;                              // [rows, 2 hidden]: multi-token prediction's input
  std::vector<int64_t> slots;

  // Of each thread: float32 results of one panel, and attention's scores.
  struct Scratch {
    Buffer<float> panel, panel2, scores, heads, row_scales;
    Buffer<int8_t> bytes;
    Buffer<int32_t> sums;
  };
  std::vector<Scratch> scratch;

  // The wanted rows' angles, where the others are left out.
  std::vector<float> wanted_cos, wanted_sin;

  // Attention.
  Rows<T> q, low, attended, latent_q, mean;
  // MLPs.
  Rows<T> activated, shared_activated, expert_out;
  Buffer<float> gate_scores;               // [rows, experts]
  std::vector<int32_t> chosen;             // [rows * k]
  std::vector<float> chosen_weights;       // [rows * k]
  std::vector<int32_t> place;              // [rows * k]: row of the copy in expert order
  std::vector<int64_t> expert_begin;       // [experts + 1]
  std::vector<const T*> expert_inputs;     // [rows * k]
  std::vector<int16_t>* record = nullptr;  // where asked for: [rows, mixtures, k]
  int64_t num_mixtures = 0, mixture = 0;   // in all, and which the stage is at
};

// Rows that a product takes, in 8 bits too where the pass runs so; one thread's, valid until it
// makes the next.
template <typename T>
struct Operand {
  const T* const* rows;
  int64_t count, depth;
  std::vector<kernels::Int8Row> bytes = {};
};

template <typename T>
Operand<T> make_operand(const Team& team, Pass<T>& pass, const T* const* rows, int64_t count,
                        int64_t depth) {
  Operand<T> out{rows, count, depth};
  if (pass.int8 == nullptr) return out;
  auto& scratch = pass.scratch[team.thread];
  const int64_t padded = kernels::int8_depth(depth), groups = padded / kernels::kInt8Group;
  int8_t* bytes = scratch.bytes.reserve(count * padded);
  float* scales = scratch.row_scales.reserve(count * groups);
  int32_t* sums = scratch.sums.reserve(count * groups);
  for (int64_t r = 0; r < count; ++r, bytes += padded, scales += groups, sums += groups) {
    pass.k.quantize(rows[r], depth, bytes, scales, sums);
    out.bytes.push_back({bytes, scales, sums});
  }
  return out;
}

// y[r * y_stride + j] = <row r, weight row begin + j> for 0 <= j < columns. REQUIRES: `begin` is a
// multiple of kColumnGrain.
template <typename T>
void multiply(const Pass<T>& pass, const Operand<T>& x, const T* weight, int64_t begin,
              int64_t columns, float* y, int64_t y_stride = kPanelColumns) {
  if (pass.int8 == nullptr) {
    pass.k.linear(x.rows, x.count, weight + begin * x.depth, x.depth, y, y_stride, 0, columns);
    return;
  }
  const Int8Weight& w = pass.int8->at(weight);
  kernels::best().linear_int8(x.bytes.data(), x.count, w.values.data() + begin * w.depth,
                              w.scales.data() + begin, w.depth, y, y_stride, 0, columns);
}

// Calls out(panel, y, stride, columns) for this thread's share of a linear map's columns: y float32
// [rows, stride], biases added, column j of the map at y[j - panel].
template <typename T, typename Out>
void for_each_panel(const Team& team, Pass<T>& pass, const Linear& linear, const T* const* inputs,
                    int64_t num_inputs, const Out& out) {
  const at::Tensor& weight = linear.matrix();
  const int64_t columns = weight.size(0), depth = weight.size(1);
  const T* w = data_of<T>(weight);
  const T* bias = linear.bias.defined() ? data_of<T>(linear.bias) : nullptr;
  float* y = pass.scratch[team.thread].panel.reserve(num_inputs * kPanelColumns);
  const Operand<T> operand = make_operand(team, pass, inputs, num_inputs, depth);
  const Span share = team.share(columns, kColumnGrain);
  for (int64_t begin = share.begin; begin < share.end; begin += kPanelColumns) {
    const int64_t count = std::min(kPanelColumns, share.end - begin);
    multiply(pass, operand, w, begin, count, y);
    if (bias != nullptr) {
      for (int64_t r = 0; r < num_inputs; ++r) {
        for (int64_t j = 0; j < count; ++j)
          y[r * kPanelColumns + j] += kernels::to_float(bias[begin + j]);
      }
    }
    out(begin, y, count);
  }
}

// out[first + r][offset + j] = T(linear(inputs[r])[j]).
template <typename T>
void project(const Team& team, Pass<T>& pass, const Linear& linear, const T* const* inputs,
             int64_t num_inputs, const Rows<T>& out, int64_t offset, int64_t first = 0) {
  if constexpr (std::is_same_v<T, float>) {
    if (pass.int8 == nullptr && !linear.bias.defined()) {  // nothing to round: no panel between
      const at::Tensor& weight = linear.matrix();
      const Span share = team.share(weight.size(0), 8);
      pass.k.linear(inputs, num_inputs, data_of<T>(weight), weight.size(1), out.row(first) + offset,
                    out.width, share.begin, share.end);
      return;
    }
  }
  for_each_panel(
      team, pass, linear, inputs, num_inputs, [&](int64_t begin, const float* y, int64_t count) {
        for (int64_t r = 0; r < num_inputs; ++r)
          pass.k.round(y + r * kPanelColumns, out.row(first + r) + offset + begin, count);
      });
}

// x[r] += T(linear(inputs[r])).
template <typename T>
void add_projection(const Team& team, Pass<T>& pass, const Linear& linear, const T* const* inputs) {
  for_each_panel(team, pass, linear, inputs, pass.num_rows,
                 [&](int64_t begin, const float* y, int64_t count) {
                   for (int64_t r = 0; r < pass.num_rows; ++r)
                     pass.k.add(pass.x.row(r) + begin, y + r * kPanelColumns, count);
                 });
}

// normed = rms_norm(x), rows divided; the team waits.
template <typename T>
void norm_rows(const Team& team, Pass<T>& pass, const at::Tensor& weight, double eps) {
  const Span share = team.share(pass.num_rows, 1);
  for (int64_t r = share.begin; r < share.end; ++r)
    pass.k.rms_norm(pass.x.row(r), data_of<T>(weight), pass.normed.row(r), pass.x.width,
                    static_cast<float>(eps));
  Team::wait();
}

// Rotates x [dim] in place by row r's angles: pairs are neighbours where `interleave`, else halves.
template <typename T>
void rotate_head(const Pass<T>& pass, int64_t r, T* x, int64_t dim, bool interleave) {
  const int64_t half = dim / 2;
  const float *cos = pass.cos + r * half, *sin = pass.sin + r * half;
  if (!interleave) {
    pass.k.rotate_halves(x, cos, sin, half);
    return;
  }
  for (int64_t i = 0; i < half; ++i) {
    const float a = kernels::to_float(x[2 * i]), b = kernels::to_float(x[2 * i + 1]);
    x[2 * i] = kernels::from_float<T>(a * cos[i] - b * sin[i]);
    x[2 * i + 1] = kernels::from_float<T>(b * cos[i] + a * sin[i]);
  }
}

// What the rows leave in the cache for those behind them, and nothing else; all of pass.normed is
// there when it begins.
template <typename T>
void cache_stage(const Team& team, Pass<T>& pass, const GqaLayer& layer, T* cache);
template <typename T>
void cache_stage(const Team& team, Pass<T>& pass, const MlaLayer& layer, T* cache);

// Each adds its part of a layer to pass.x; all of pass.x is there when it begins, and this thread's
// columns of it when it ends.
template <typename T>
void attention_stage(const Team& team, Pass<T>& pass, const GqaLayer& layer, T* cache);
template <typename T>
void attention_stage(const Team& team, Pass<T>& pass, const MlaLayer& layer, T* cache);
template <typename T>
void mlp_stage(const Team& team, Pass<T>& pass, const Mlp& mlp);
template <typename T>
void mlp_stage(const Team& team, Pass<T>& pass, const MoeLayer& moe);

}  // namespace ponder::policy::decode
