#include "rollout/engine.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "core/random.h"
#include "rollout/scheduler.h"

namespace ponder::rollout {
namespace {

// Token rows of one forward pass over the cache, collected as plain numbers first.
struct PassRows {
  std::vector<int64_t> tokens, positions, slots;
  std::vector<int32_t> rows, lengths;
  std::vector<const std::vector<int32_t>*> tables;  // one a row
  std::vector<int64_t> wanted;                      // token rows whose logits are needed

  void add(int64_t token, int64_t position, const std::vector<int32_t>& blocks,
           int64_t block_size) {
    tokens.push_back(token);
    positions.push_back(position);
    slots.push_back(blocks[position / block_size] * block_size + position % block_size);
    rows.push_back(static_cast<int32_t>(tables.size()) - 1);
    lengths.push_back(static_cast<int32_t>(position) + 1);
  }
};

policy::CachedInput to_input(const PassRows& pass, int64_t block_size) {
  size_t width = 1;
  for (const auto* table : pass.tables) width = std::max(width, table->size());
  at::Tensor table =
      at::zeros({static_cast<int64_t>(pass.tables.size()), static_cast<int64_t>(width)}, at::kInt);
  int32_t* data = table.data_ptr<int32_t>();
  for (size_t r = 0; r < pass.tables.size(); ++r)
    std::copy(pass.tables[r]->begin(), pass.tables[r]->end(), data + r * width);
  return {.token_ids = at::tensor(pass.tokens),
          .positions = at::tensor(pass.positions),
          .slots = at::tensor(pass.slots),
          .context = {.rows = at::tensor(pass.rows, at::kInt),
                      .lengths = at::tensor(pass.lengths, at::kInt),
                      .block_table = table,
                      .block_size = block_size}};
}

}  // namespace

struct Engine::Impl {
  const policy::Model& model;
  const policy::Tokenizer& tokenizer;
  EngineOptions options;
  int64_t num_blocks;
  policy::KvCache cache;

  Impl(const policy::Model& m, const policy::Tokenizer& t, EngineOptions o)
      : model(m), tokenizer(t), options(o) {
    const int64_t block_bytes = model.cache_bytes_per_token() * options.block_size;
    num_blocks = options.kv_cache_bytes / block_bytes;
    const int64_t context = model.config().max_position_embeddings;
    const int64_t needed = (context + options.block_size - 1) / options.block_size + 1;
    if (num_blocks < needed) {
      core::throw_user(
          "the cache budget of {} bytes holds {} blocks, but one sequence of {} tokens needs {}: "
          "allow at least {} bytes",
          options.kv_cache_bytes, num_blocks, context, needed, needed * block_bytes);
    }
    // No more than all running sequences could fill.
    num_blocks = std::min(num_blocks, options.max_running * needed);
    cache = model.make_cache(num_blocks, options.block_size);
  }
};

namespace {

// One generate() call.
class Generation {
 public:
  Generation(const policy::Model& model, const policy::Tokenizer& tokenizer, policy::KvCache& cache,
             const Scheduler::Limits& limits, const std::vector<data::Prompt>& prompts,
             const SampleOptions& options, int64_t policy_version,
             const OnCompletion& on_completion)
      : model_(model),
        tokenizer_(tokenizer),
        cache_(cache),
        block_size_(limits.block_size),
        prompts_(prompts),
        options_(options),
        on_completion_(on_completion),
        stops_(options.stop_token_ids.begin(), options.stop_token_ids.end()),
        scheduler_(limits, lengths_of(prompts, model), options.num_generations,
                   options.max_completion_length, model.config().max_position_embeddings) {
    for (const int64_t id : model.config().eos_token_ids) stops_.insert(static_cast<int32_t>(id));
    for (const data::Prompt& prompt : prompts) {
      streams_.push_back(core::stable_hash(fmt::format("{}#{}", prompt.id, options.round)));
      groups_.push_back({prompt, std::vector<data::Completion>(options.num_generations)});
      for (data::Completion& completion : groups_.back().completions)
        completion.policy_version = policy_version;
    }
  }

  std::vector<data::Group> run() {
    while (!scheduler_.done()) step();
    return std::move(groups_);
  }

 private:
  static std::vector<int64_t> lengths_of(const std::vector<data::Prompt>& prompts,
                                         const policy::Model& model) {
    std::vector<int64_t> lengths;
    for (const data::Prompt& prompt : prompts) {
      const auto length = static_cast<int64_t>(prompt.token_ids.size());
      if (length == 0)
        core::throw_user("prompt '{}' is empty: it needs at least one token", prompt.id);
      if (length >= model.config().max_position_embeddings) {
        core::throw_user(
            "prompt '{}' has {} tokens, but the model's context is {}: nothing could be sampled",
            prompt.id, length, model.config().max_position_embeddings);
      }
      lengths.push_back(length);
    }
    return lengths;
  }

  // New prompts and every running sequence's last token in one pass; then a token for each running
  // and new sequence.
  void step() {
    const size_t num_decoding = scheduler_.running().size();
    const Scheduler::Admission admission = scheduler_.admit();
    const at::Tensor logits = forward(num_decoding, admission.prefills);
    for (size_t i = 0; i < admission.prefills.size(); ++i) {
      first_logits_[admission.prefills[i].prompt] =
          logits.select(0, static_cast<int64_t>(num_decoding + i)).clone();
    }
    copy_blocks(admission.copies);
    sample(logits, num_decoding);
    std::erase_if(first_logits_,
                  [&](const auto& entry) { return entry.first < scheduler_.next_prompt(); });
    finish_ended();
  }

  at::Tensor forward(size_t num_decoding, const std::vector<Scheduler::Prefill>& prefills) {
    PassRows pass;
    for (size_t i = 0; i < num_decoding; ++i) {
      Sequence& sequence = scheduler_.running()[i];
      pass.tables.push_back(&sequence.blocks);
      pass.add(sequence.last_token, sequence.length, sequence.blocks, block_size_);
      pass.wanted.push_back(static_cast<int64_t>(pass.tokens.size()) - 1);
      ++sequence.length;
    }
    for (const Scheduler::Prefill& prefill : prefills) {
      pass.tables.push_back(&prefill.blocks);
      const std::vector<int32_t>& tokens = prompts_[prefill.prompt].token_ids;
      for (size_t p = 0; p < tokens.size(); ++p)
        pass.add(tokens[p], static_cast<int64_t>(p), prefill.blocks, block_size_);
      pass.wanted.push_back(static_cast<int64_t>(pass.tokens.size()) - 1);
    }
    if (pass.tokens.empty()) return {};
    const at::Tensor hidden = model_.forward_cached(to_input(pass, block_size_), cache_);
    return at::linear(hidden.index_select(0, at::tensor(pass.wanted)), model_.output_weight())
        .to(at::kFloat);
  }

  void copy_blocks(const std::vector<BlockCopy>& copies) {
    if (copies.empty()) return;
    std::vector<int64_t> from, to;
    for (const BlockCopy& copy : copies) {
      from.push_back(copy.from);
      to.push_back(copy.to);
    }
    const at::Tensor source = at::tensor(from), target = at::tensor(to);
    for (at::Tensor& layer : cache_.layers) {
      at::Tensor blocks = layer.view({-1, block_size_, layer.size(1)});
      blocks.index_copy_(0, target, blocks.index_select(0, source));
    }
  }

  void sample(const at::Tensor& logits, size_t num_decoding) {
    std::vector<Sequence>& running = scheduler_.running();
    std::vector<Draw> draws(running.size());
    at::parallel_for(0, static_cast<int64_t>(running.size()), 8, [&](int64_t begin, int64_t end) {
      std::vector<float> scratch;
      for (int64_t i = begin; i < end; ++i) {
        const Sequence& sequence = running[i];
        const bool decoding = static_cast<size_t>(i) < num_decoding;
        const at::Tensor& source = decoding ? logits : first_logits_.at(sequence.prompt);
        const int64_t vocabulary = source.size(-1);
        const float* row = source.const_data_ptr<float>() + (decoding ? i * vocabulary : 0);
        const auto position = static_cast<uint32_t>(
            sequence.length - static_cast<int64_t>(prompts_[sequence.prompt].token_ids.size()));
        const double uniform = core::uniform_at(options_.seed, streams_[sequence.prompt],
                                                static_cast<uint32_t>(sequence.sample), position);
        draws[i] =
            draw_token({row, static_cast<size_t>(vocabulary)}, options_.rule, uniform, scratch);
      }
    });
    for (size_t i = 0; i < running.size(); ++i) {
      data::Completion& completion = completion_of(running[i]);
      completion.token_ids.push_back(draws[i].token);
      completion.logprobs.push_back(draws[i].logprob);
      running[i].last_token = draws[i].token;
    }
  }

  void finish_ended() {
    std::vector<Sequence>& running = scheduler_.running();
    for (size_t i = running.size(); i-- > 0;) {
      const Sequence sequence = running[i];
      const bool stopped = stops_.contains(sequence.last_token);
      if (!stopped && sequence.length + 1 < sequence.length_max) continue;
      data::Completion& completion = completion_of(sequence);
      completion.finish_reason = stopped ? data::FinishReason::kStop : data::FinishReason::kLength;
      const size_t visible = completion.token_ids.size() - (stopped ? 1 : 0);
      completion.text = tokenizer_.decode(std::span(completion.token_ids).first(visible));
      scheduler_.finish(i);
      if (on_completion_) on_completion_(sequence.prompt, sequence.sample, completion);
    }
  }

  data::Completion& completion_of(const Sequence& sequence) {
    return groups_[sequence.prompt].completions[sequence.sample];
  }

  const policy::Model& model_;
  const policy::Tokenizer& tokenizer_;
  policy::KvCache& cache_;
  int64_t block_size_;
  const std::vector<data::Prompt>& prompts_;
  const SampleOptions& options_;
  const OnCompletion& on_completion_;
  std::set<int32_t> stops_;
  Scheduler scheduler_;
  std::vector<uint64_t> streams_;
  std::vector<data::Group> groups_;
  std::unordered_map<size_t, at::Tensor> first_logits_;  // by prompt: logits of its last token
};

}  // namespace

Engine::Engine(const policy::Model& model, const policy::Tokenizer& tokenizer,
               EngineOptions options)
    : impl_(std::make_unique<Impl>(model, tokenizer, options)) {}

Engine::~Engine() = default;

std::vector<data::Group> Engine::generate(const std::vector<data::Prompt>& prompts,
                                          const SampleOptions& options, int64_t policy_version,
                                          const OnCompletion& on_completion) {
  const at::NoGradGuard no_grad;
  const Scheduler::Limits limits{.max_running = impl_->options.max_running,
                                 .num_blocks = impl_->num_blocks,
                                 .block_size = impl_->options.block_size,
                                 .prefill_tokens_max = impl_->options.prefill_tokens_max};
  return Generation(impl_->model, impl_->tokenizer, impl_->cache, limits, prompts, options,
                    policy_version, on_completion)
      .run();
}

}  // namespace ponder::rollout
