#include "policy/device/decoder.h"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include <ATen/ATen.h>

#include "core/error.h"
#include "policy/device/kernels.h"
#include "policy/device/ops.h"

namespace ponder::policy::device {
namespace {

// Steps of more rows are not captured: they keep a GPU busy without it.
constexpr int64_t kGraphRowsMax = 512;

int64_t power_of_two_from(int64_t size) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(1, size))));
}

// The numbers of one pass as they travel: int32 [4 rows + rows x blocks], tokens, positions, slots,
// lengths, then a block table with a row a row.
struct Numbers {
  int64_t rows, blocks;
  at::Tensor values;

  Numbers(int64_t num_rows, int64_t num_blocks, at::Device device)
      : rows(num_rows),
        blocks(num_blocks),
        values(
            at::zeros({num_rows * (4 + num_blocks)}, at::TensorOptions(at::kInt).device(device))) {}
  at::Tensor column(int64_t index) const { return values.narrow(0, index * rows, rows); }
  at::Tensor table() const {
    return values.narrow(0, 4 * rows, rows * blocks).view({rows, blocks});
  }
};

int64_t blocks_needed(const CachedRows& rows) {
  int64_t most = 1;
  for (int64_t r = 0; r < rows.size(); ++r)
    most = std::max<int64_t>(most, rows.positions[r] / rows.block_size + 1);
  return most;
}

// Rows behind the pass's own stand in the cache's last block, which nobody else has: a token at
// position 0 each.
Numbers lay_out(const CachedRows& rows, int64_t num_rows, int64_t num_blocks, int64_t spare_block) {
  Numbers out(num_rows, num_blocks, at::kCPU);
  int32_t* data = out.values.data_ptr<int32_t>();
  int32_t *tokens = data, *positions = data + num_rows, *slots = data + 2 * num_rows,
          *lengths = data + 3 * num_rows, *table = data + 4 * num_rows;
  const int64_t size = rows.block_size;
  for (int64_t r = 0; r < num_rows; ++r) {
    int32_t* own = table + r * num_blocks;
    if (r >= rows.size()) {
      own[0] = static_cast<int32_t>(spare_block);
      slots[r] = static_cast<int32_t>(spare_block * size);
      lengths[r] = 1;
      continue;
    }
    const std::vector<int32_t>& blocks = *rows.block_tables[rows.sequence[r]];
    const int64_t position = rows.positions[r], used = position / size + 1;
    std::copy_n(blocks.begin(), used, own);
    tokens[r] = rows.tokens[r];
    positions[r] = rows.positions[r];
    slots[r] = static_cast<int32_t>(blocks.at(position / size) * size + position % size);
    lengths[r] = static_cast<int32_t>(position + 1);
  }
  return out;
}

// A step whose buffers stay.
struct Step {
  const Model& model;
  KvCache& cache;
  Numbers numbers;
  at::Tensor rows;  // int32 [rows]: 0, 1, ...: each row has its own in the block table
  at::Tensor out;   // [rows, hidden]
  const CudaPlugin* kernels = nullptr;
  void* graph = nullptr;

  Step(const Model& its_model, KvCache& its_cache, int64_t num_rows, int64_t num_blocks)
      : model(its_model),
        cache(its_cache),
        numbers(num_rows, num_blocks, its_model.device()),
        rows(at::arange(num_rows, numbers.values.options())),
        out(at::zeros({num_rows, its_model.config().hidden_size},
                      at::TensorOptions(its_model.dtype()).device(its_model.device()))) {}
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  ~Step() {
    if (graph != nullptr) kernels->drop_graph(graph);
  }

  // The work itself: from `numbers` to `out`, with nothing of the host's in between.
  void run(Shapes shapes) {
    const CachedInput input{.token_ids = numbers.column(0).to(at::kLong),
                            .positions = numbers.column(1).to(at::kLong),
                            .slots = numbers.column(2).to(at::kLong),
                            .context = {.rows = rows,
                                        .lengths = numbers.column(3),
                                        .block_table = numbers.table(),
                                        .block_size = cache.block_size}};
    out.copy_(model.forward_cached(input, cache, shapes));
  }
};

}  // namespace

struct Decoder::Impl {
  const Model& model;
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Step>> steps;  // by rows and blocks

  int64_t spare_block(const KvCache& cache) const {
    return cache.layers.front().size(0) / cache.block_size - 1;
  }

  void send(const Numbers& numbers, Step& step) const {
    const bool pinned = model.device().is_cuda();
    step.numbers.values.copy_(pinned ? numbers.values.pin_memory() : numbers.values,
                              /*non_blocking=*/pinned);
  }

  at::Tensor run_once(const CachedRows& rows, KvCache& cache) const {
    Step step(model, cache, rows.size(), blocks_needed(rows));
    send(lay_out(rows, rows.size(), step.numbers.blocks, spare_block(cache)), step);
    step.run(Shapes::kFree);
    return step.out;
  }

  // Sizes go up to powers of two, so that few graphs serve all steps.
  at::Tensor replay(const CachedRows& rows, KvCache& cache, const CudaPlugin& kernels) {
    const int64_t num_rows = power_of_two_from(rows.size()),
                  num_blocks = power_of_two_from(blocks_needed(rows));
    std::unique_ptr<Step>& step = steps[{num_rows, num_blocks}];
    if (step == nullptr) step = std::make_unique<Step>(model, cache, num_rows, num_blocks);
    PONDER_CHECK(&step->cache == &cache, "[Decoder] another cache than that of the pass before");
    send(lay_out(rows, num_rows, num_blocks, spare_block(cache)), *step);
    if (step->graph == nullptr) {
      step->kernels = &kernels;
      step->graph = kernels.capture(
          [](void* captured) { static_cast<Step*>(captured)->run(Shapes::kFixed); }, step.get());
    }
    kernels.replay(step->graph);
    return step->out;
  }
};

Decoder::Decoder(const Model& model) : impl_(std::make_unique<Impl>(Impl{model, {}})) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

at::Tensor Decoder::forward(const CachedRows& rows, KvCache& cache) {
  const at::NoGradGuard no_grad;
  const bool single = rows.size() == std::ssize(rows.block_tables);
  const CudaPlugin* kernels = kernels_for(impl_->model.embedding());
  const at::Tensor all = kernels != nullptr && single && rows.size() <= kGraphRowsMax
                             ? impl_->replay(rows, cache, *kernels)
                             : impl_->run_once(rows, cache);
  return all.index_select(0, moved(at::tensor(rows.wanted, at::kInt).to(at::kLong), all.device()));
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  const at::NoGradGuard no_grad;
  const at::Tensor far = at::linear(hidden, impl_->model.lm_head().matrix()).to(at::kFloat);
  if (!far.is_cuda()) return far.to(at::kCPU);
  // Through pinned memory; the copy is waited for, since the host draws from it next.
  const at::Tensor near = at::empty(far.sizes(), at::TensorOptions(at::kFloat).pinned_memory(true));
  return near.copy_(far);
}

int64_t Decoder::num_graphs() const {
  return static_cast<int64_t>(impl_->steps.size());
}

}  // namespace ponder::policy::device
