#include "policy/mtp_training.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/error.h"
#include "policy/device/ops.h"

namespace ponder::policy {
namespace {

// Rows of one module, sequence by sequence.
struct Rows {
  std::vector<int64_t> before;     // places of the states that the rows go on from
  std::vector<int64_t> places;     // of their positions' tokens in the whole input
  std::vector<int64_t> positions;  // in their sequence
  std::vector<int32_t> borders = {0};
};

// Of a sequence of n tokens the states of depth d - 1 are there for its first n - d - 1 positions
// (all n for the model's own).
Rows rows_of(const std::vector<int32_t>& cu_seqlens, int64_t depth) {
  Rows rows;
  int64_t state_begin = 0;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    const int64_t begin = cu_seqlens[s], length = cu_seqlens[s + 1] - begin;
    const int64_t count = std::max<int64_t>(0, length - depth - 2);
    for (int64_t i = 0; i < count; ++i) {
      rows.before.push_back(state_begin + i);
      rows.places.push_back(begin + i);
      rows.positions.push_back(i);
    }
    state_begin += depth == 0 ? length : std::max<int64_t>(0, length - depth - 1);
    rows.borders.push_back(static_cast<int32_t>(rows.places.size()));
  }
  return rows;
}

}  // namespace

std::vector<MtpStates> mtp_states(const Model& model, const PackedInput& input,
                                  const at::Tensor& hidden, MoeRecord* record) {
  PONDER_CHECK(input.parents.empty(), "[mtp_states] sequences that share a prompt");
  std::vector<MtpStates> out;
  at::Tensor state = hidden;
  for (int64_t depth = 0; depth < model.num_mtp(); ++depth) {
    const Rows rows = rows_of(input.cu_seqlens, depth);
    if (rows.places.empty()) break;
    const at::Tensor places = at::tensor(rows.places, at::kLong);
    const at::Tensor before = device::moved(at::tensor(rows.before, at::kLong), state.device());
    const PackedInput shifted{.token_ids = input.token_ids.index_select(0, places + (depth + 1)),
                              .positions = at::tensor(rows.positions, at::kLong),
                              .cu_seqlens = rows.borders};
    state = model.mtp_forward(depth, shifted, state.index_select(0, before), record);
    out.push_back({.states = state, .targets = places + (depth + 2)});
  }
  return out;
}

}  // namespace ponder::policy
