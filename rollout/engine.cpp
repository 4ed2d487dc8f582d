#include "rollout/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/memory.h"
#include "policy/decode/decoder.h"
#include "rollout/job.h"
#include "rollout/mtp_drafter.h"
#include "rollout/news.h"
#include "rollout/not_finite.h"
#include "rollout/prompt_scores.h"
#include "rollout/scheduler.h"

namespace ponder::rollout {
namespace {

// Rows of logits that stand in memory at once, [rows, vocabulary] float32.
constexpr int64_t kLogitRows = 64;

}  // namespace

struct Engine::Impl {
  const policy::Model& model;
  const policy::Tokenizer& tokenizer;
  EngineOptions options;
  policy::Decoder decoder;
  policy::KvCache cache;
  Scheduler scheduler;
  std::map<RequestId, std::shared_ptr<Job>> jobs;
  std::optional<MtpDrafter> drafter;
  bool drafting = false;  // the drafter follows the next pass
  Guesses guesses;        // of the next pass
  PromptScores prompt_scores;
  News news;
  RequestId next_id = 1;
  EngineStats stats;

  Impl(const policy::Model& m, const policy::Tokenizer& t, EngineOptions o)
      : model(m),
        tokenizer(t),
        options(o),
        decoder(m, o.int8),
        cache(m.make_cache(blocks(m, o), o.block_size, o.speculation == Speculation::kMtp)),
        scheduler({o.max_running, blocks(m, o), o.block_size, o.prefill_tokens_max}) {
    if (o.speculation != Speculation::kMtp) return;
    if (m.num_mtp() == 0) {
      core::throw_user(
          "speculation by multi-token prediction: the model has no module for it; use prompt "
          "lookup, or none");
    }
    drafter.emplace(m, decoder, cache);
  }

  // Bytes that the cache takes for one token.
  static int64_t token_bytes(const policy::Model& model, const EngineOptions& options) {
    return model.cache_bytes_per_token(options.speculation == Speculation::kMtp);
  }

  // No more than all running sequences could fill.
  static int64_t blocks(const policy::Model& model, const EngineOptions& options) {
    const int64_t block_bytes = token_bytes(model, options) * options.block_size;
    const int64_t afforded = options.kv_cache_bytes / block_bytes;
    if (afforded < 2) {
      core::throw_user(
          "the cache budget of {} bytes holds {} blocks of {} bytes: allow at least {}",
          options.kv_cache_bytes, afforded, block_bytes, 2 * block_bytes);
    }
    const int64_t context = model.config().max_position_embeddings;
    const int64_t most = (context + options.block_size - 1) / options.block_size + 1;
    return std::min(afforded, options.max_running * most);
  }

  void check(const Job& job) const {
    const std::string& id = job.request().prompt.id;
    const auto length = static_cast<int64_t>(job.prompt().size());
    const int64_t context = model.config().max_position_embeddings;
    if (length == 0) core::throw_user("prompt '{}' is empty: it needs at least one token", id);
    if (length >= context) {
      core::throw_user(
          "prompt '{}' has {} tokens, but the model's context is {}: nothing could be sampled", id,
          length, context);
    }
    for (const int32_t token : job.prompt()) {
      if (token < 0 || token >= model.config().vocab_size) {
        core::throw_user("prompt '{}' holds the token {}, but the model's vocabulary ends at {}",
                         id, token, model.config().vocab_size - 1);
      }
    }
    const int64_t needed = scheduler.blocks_for_alone(job.length_max());
    if (needed > blocks(model, options)) {
      core::throw_user(
          "prompt '{}': {} tokens with its completion need {} bytes of cache, but the budget is "
          "{}: "
          "allow more, or fewer new tokens",
          id, job.length_max(), needed * options.block_size * token_bytes(model, options),
          options.kv_cache_bytes);
    }
  }

  RequestId submit(Request request) {
    auto job = std::make_shared<Job>(std::move(request), tokenizer, model);
    check(*job);
    const RequestId id = next_id++;
    const auto prompt = static_cast<int64_t>(job->prompt().size());
    std::vector<int64_t> tokens;
    for (const size_t sample : job->open_samples()) {
      tokens.push_back(prompt + static_cast<int64_t>(job->completion(sample).token_ids.size()));
    }
    for (int64_t sample = 0; sample < job->request().options.num_generations; ++sample) {
      if (job->ended(sample)) news.ended(job, static_cast<size_t>(sample));
    }
    if (job->request().num_prompt_logprobs && !job->next_to_score()) news.prompt_scored(job);
    if (tokens.empty()) return id;
    scheduler.add(id, prompt, std::move(tokens));
    jobs[id] = std::move(job);
    return id;
  }

  bool step() {
    expire();
    if (!scheduler.idle()) {
      guess();
      const Scheduler::Pass pass = scheduler.next_pass();
      const at::Tensor hidden = forward(pass);
      for (const std::shared_ptr<Job>& job : prompt_scores.book(decoder, hidden)) {
        if (job->failure().empty()) news.prompt_scored(job);
      }
      sample(pass, scheduler.complete(pass), hidden);
      drop_failed();
    }
    news.deliver();
    return !jobs.empty() || !news.empty();
  }

  // Ends what is past its time.
  void expire() {
    std::optional<Clock::time_point> now;
    std::vector<std::pair<RequestId, data::FinishReason>> over;
    for (const auto& [id, job] : jobs) {
      const Request& request = job->request();
      if (!request.deadline && !request.pause_at) continue;
      if (!now) now = Clock::now();
      if (request.deadline && *now >= *request.deadline) {
        over.emplace_back(id, data::FinishReason::kAborted);
      } else if (request.pause_at && *now >= *request.pause_at) {
        over.emplace_back(id, data::FinishReason::kPaused);
      }
    }
    for (const auto& [id, reason] : over) end_request(id, reason);
  }

  bool end_request(RequestId id, data::FinishReason reason) {
    const auto found = jobs.find(id);
    if (found == jobs.end()) return false;
    const std::shared_ptr<Job> job = found->second;
    forget(id);
    for (const size_t sample : job->open_samples()) {
      if (job->ended(sample)) continue;
      job->end(sample, reason);
      news.ended(job, sample);
    }
    return true;
  }

  // Requests whose logits were not finite: the books of all others are right when this throws.
  void drop_failed() {
    std::vector<std::pair<RequestId, std::shared_ptr<Job>>> failed;
    for (const auto& entry : jobs) {
      if (!entry.second->failure().empty()) failed.push_back(entry);
    }
    std::shared_ptr<Job> unheard;
    for (const auto& [id, job] : failed) {
      forget(id);
      news.failed(job);
      if (!job->request().on_failed && !unheard) unheard = job;
    }
    if (unheard) throw NotFiniteLogits(unheard->failure());
  }

  // Asks for room behind the sequences in which tokens are to be guessed, or looks these up.
  void guess() {
    guesses.clear();
    const bool few = scheduler.num_running() <= options.guess_running_max;
    drafting = drafter && few;
    if (drafter && !few) drafter->clear();
    if (options.speculation == Speculation::kNone || !few) return;
    for (Sequence* sequence : scheduler.decoding()) {
      const Job& job = *jobs.at(sequence->request);
      if (job.request().options.keep_routing) continue;
      const size_t sample = job.open_samples()[sequence->sample];
      const int64_t count = job.useful_guesses(sample, options.guess_tokens);
      if (drafter) {
        sequence->num_guessed = drafter->can_draft(*sequence) ? count : 0;
        continue;
      }
      std::vector<int32_t> tokens = job.look_up(sample, count);
      sequence->num_guessed = static_cast<int64_t>(tokens.size());
      if (!tokens.empty()) guesses[sequence] = std::move(tokens);
    }
  }

  // Hidden states of each chunk's last known token and of the guesses behind it, and then of
  // prompt_scores, [wanted, hidden].
  at::Tensor forward(const Scheduler::Pass& pass) {
    copy_blocks(pass.copies);
    prompt_scores = {};
    if (drafting) drafter->draft(pass, jobs, guesses);
    policy::CachedRows rows;
    rows.block_size = options.block_size;
    std::vector<int64_t> wanted, scored;
    for (const Scheduler::Chunk& chunk : pass.chunks) {
      const std::shared_ptr<Job>& its_job = jobs.at(chunk.sequence->request);
      const Job& job = *its_job;
      const size_t sample = job.open_samples()[chunk.sequence->sample];
      rows.add_sequence(chunk.sequence->blocks);
      const int64_t known = chunk.begin + chunk.count - chunk.guessed;
      const std::vector<int64_t> its_rows = prompt_scores.rows_of(chunk, its_job, rows.size());
      scored.insert(scored.end(), its_rows.begin(), its_rows.end());
      for (int64_t p = chunk.begin; p < known; ++p) rows.add(job.token_at(sample, p), p);
      for (int64_t g = 0; g < chunk.guessed; ++g)
        rows.add(guesses.at(chunk.sequence)[g], known + g);
      for (int64_t g = 0; g <= chunk.guessed; ++g)
        wanted.push_back(rows.size() - 1 - chunk.guessed + g);
      stats.guessed_tokens += chunk.guessed;
      if (chunk.guessed == 0) guesses.erase(chunk.sequence);  // there was no room for them
    }
    wanted.insert(wanted.end(), scored.begin(), scored.end());
    ++stats.passes;
    stats.computed_tokens += rows.size();
    if (drafting) {
      rows.wanted.resize(rows.size());
      std::iota(rows.wanted.begin(), rows.wanted.end(), 0);
    } else {
      rows.wanted.assign(wanted.begin(), wanted.end());
    }
    std::vector<int16_t> experts;
    const at::Tensor states = decoder.forward(rows, cache, keeps_routing() ? &experts : nullptr);
    if (!experts.empty()) note_experts(pass, experts);
    if (!drafting) return states;
    drafter->observe(pass, jobs, states);
    return states.index_select(0, at::tensor(wanted).to(states.device()));
  }

  bool keeps_routing() const {
    return std::any_of(jobs.begin(), jobs.end(),
                       [](const auto& job) { return job.second->request().options.keep_routing; });
  }

  void note_experts(const Scheduler::Pass& pass, const std::vector<int16_t>& experts) {
    const auto width = static_cast<size_t>(model.routing_width());
    size_t row = 0;
    for (const Scheduler::Chunk& chunk : pass.chunks) {
      Job& job = *jobs.at(chunk.sequence->request);
      const size_t sample = job.open_samples()[chunk.sequence->sample];
      for (int64_t p = chunk.begin; p < chunk.begin + chunk.count; ++p, ++row) {
        job.note_experts(sample, p, std::span(experts).subspan(row * width, width));
      }
    }
  }

  void copy_blocks(const std::vector<BlockCopy>& copies) {
    if (copies.empty()) return;
    for (at::Tensor& layer : cache.layers) {
      if (!layer.is_cpu()) {
        const int64_t size = options.block_size;
        for (const BlockCopy& copy : copies)
          layer.narrow(0, copy.to * size, size).copy_(layer.narrow(0, copy.from * size, size));
        continue;
      }
      const int64_t bytes = options.block_size * layer.size(1) * layer.element_size();
      auto* data = static_cast<char*>(layer.data_ptr());
      for (const BlockCopy& copy : copies)
        std::memcpy(data + copy.to * bytes, data + copy.from * bytes, bytes);
    }
  }

  // Nothing runs: the cache's memory is the trainer's until the next pass.
  void rest() {
    if (!scheduler.idle() || !cache.layers.front().is_cpu()) return;
    for (at::Tensor& layer : cache.layers)
      core::drop_pages(layer.data_ptr(), static_cast<int64_t>(layer.nbytes()));
  }

  // What is drawn for one sequence in a pass: a token, and as many more as the guesses were right.
  struct Drawn {
    std::vector<Draw> draws;
    std::vector<std::optional<TopLogprobs>> tops;
  };

  void sample(const Scheduler::Pass& pass, const std::vector<Scheduler::Ready>& ready,
              const at::Tensor& hidden) {
    std::vector<int64_t> first_row;  // of each chunk in `hidden`
    int64_t rows = 0;
    for (const Scheduler::Chunk& chunk : pass.chunks) {
      first_row.push_back(rows);
      rows += 1 + chunk.guessed;
    }
    std::vector<Drawn> drawn(ready.size());
    for (size_t begin = 0; begin < ready.size();) {
      // As many as share kLogitRows rows; those of one chunk stand side by side.
      std::vector<int64_t> wanted, offsets;
      size_t end = begin;
      for (; end < ready.size(); ++end) {
        const size_t chunk = ready[end].chunk;
        const int64_t count = 1 + pass.chunks[chunk].guessed;
        const bool same = end > begin && ready[end - 1].chunk == chunk;
        const auto have = static_cast<int64_t>(wanted.size());
        if (!same && have > 0 && have + count > kLogitRows) break;
        offsets.push_back(same ? offsets.back() : have);
        for (int64_t r = 0; r < count && !same; ++r) wanted.push_back(first_row[chunk] + r);
      }
      const at::Tensor logits =
          decoder.logits(hidden.index_select(0, at::tensor(wanted).to(hidden.device())));
      at::parallel_for(static_cast<int64_t>(begin), static_cast<int64_t>(end), 1,
                       [&](int64_t first, int64_t last) {
                         DrawScratch scratch;
                         for (int64_t i = first; i < last; ++i)
                           drawn[i] = draw(*ready[i].sequence, logits, offsets[i - begin], scratch);
                       });
      begin = end;
    }
    for (size_t i = 0; i < ready.size(); ++i) take(*ready[i].sequence, drawn[i]);
  }

  // Draws from row `row` of the logits; then, while the token is the one that was guessed, from the
  // row behind it: the same draws as without guesses, for each is a function of its logits.
  Drawn draw(const Sequence& sequence, const at::Tensor& logits, int64_t row,
             DrawScratch& scratch) const {
    const Job& job = *jobs.at(sequence.request);
    const size_t sample = job.open_samples()[sequence.sample];
    const auto found = guesses.find(&sequence);
    const std::span<const int32_t> guessed =
        found == guesses.end() ? std::span<const int32_t>() : found->second;
    const int64_t vocabulary = logits.size(1);
    Drawn out;
    for (size_t g = 0;; ++g) {
      const std::span<const float> values(
          logits.const_data_ptr<float>() + (row + static_cast<int64_t>(g)) * vocabulary,
          vocabulary);
      out.draws.push_back(job.draw(sample, guessed.first(g), values, scratch));
      const int32_t token = out.draws.back().token;
      out.tops.emplace_back();
      if (job.request().num_top_logprobs && !std::isnan(out.draws.back().logprob))
        out.tops.back() = top_logprobs(values, token, *job.request().num_top_logprobs);
      if (g == guessed.size() || guessed[g] != token) return out;
    }
  }

  // Books drawn tokens. Nothing is called back yet: whatever a callback does, the books are right.
  void take(Sequence& sequence, Drawn& drawn) {
    const RequestId id = sequence.request;
    const std::shared_ptr<Job> job = jobs.at(id);
    const size_t sample = job->open_samples()[sequence.sample];
    std::optional<data::FinishReason> reason;
    for (size_t i = 0; i < drawn.draws.size() && !reason && job->failure().empty(); ++i) {
      if (std::isnan(drawn.draws[i].logprob)) return job->fail_sample(sample);
      reason = job->take(sample, drawn.draws[i]);
      ++stats.sampled_tokens;
      if (i > 0) ++stats.right_guesses;
      if (reason) {
        job->end(sample, *reason);
        scheduler.finish(&sequence);
      } else {
        Scheduler::append(sequence);
        if (i + 1 < drawn.draws.size()) Scheduler::guessed_right(sequence);
      }
      if (!job->request().on_token) continue;
      news.token(job, {.sample = sample,
                       .token = drawn.draws[i].token,
                       .text = job->take_new_text(sample),
                       .logprobs = std::move(drawn.tops[i])});
    }
    if (reason) news.ended(job, sample);
    if (job->all_ended()) forget(id);
  }

  // Forgets a request without a word to anybody.
  void forget(RequestId id) {
    scheduler.remove(id);
    jobs.erase(id);
    if (drafter) drafter->forget(id);
  }
};

Engine::Engine(const policy::Model& model, const policy::Tokenizer& tokenizer,
               EngineOptions options)
    : impl_(std::make_unique<Impl>(model, tokenizer, options)) {}

Engine::~Engine() = default;

RequestId Engine::submit(Request request) {
  return impl_->submit(std::move(request));
}

bool Engine::step() {
  const c10::InferenceMode no_graph;
  return impl_->step();
}

bool Engine::cancel(RequestId id) {
  const bool found = impl_->end_request(id, data::FinishReason::kAborted);
  impl_->news.deliver();
  return found;
}

int64_t Engine::sequence_tokens_max() const {
  const int64_t cached =
      (Impl::blocks(impl_->model, impl_->options) - 1) * impl_->options.block_size;
  return std::min<int64_t>(cached, impl_->model.config().max_position_embeddings);
}

bool Engine::busy() const {
  return !impl_->jobs.empty() || !impl_->news.empty();
}

EngineStats Engine::stats() const {
  EngineStats stats = impl_->stats;
  stats.preemptions = impl_->scheduler.num_preemptions();
  stats.running = impl_->scheduler.num_running();
  stats.waiting = impl_->scheduler.num_waiting();
  return stats;
}

std::vector<data::Group> Engine::generate(std::vector<Request> requests,
                                          const OnCompletion& on_completion) {
  std::vector<data::Group> groups;
  size_t open = 0;
  for (const Request& request : requests) {
    groups.push_back(
        {request.prompt, std::vector<data::Completion>(request.options.num_generations)});
    open += request.options.num_generations;
  }
  std::vector<RequestId> ids;
  try {
    for (size_t i = 0; i < requests.size(); ++i) {
      const OnCompletion own = std::move(requests[i].on_completion);
      requests[i].on_completion = [&, i, own](size_t, size_t sample,
                                              const data::Completion& completion) {
        groups[i].completions[sample] = completion;
        --open;
        if (own) own(0, sample, completion);
        if (on_completion) on_completion(i, sample, completion);
      };
      requests[i].on_failed = {};
      ids.push_back(submit(std::move(requests[i])));
    }
    while (open > 0) step();
    impl_->rest();
  } catch (...) {
    for (const RequestId id : ids) impl_->forget(id);
    impl_->news.clear();
    throw;
  }
  return groups;
}

std::vector<data::Group> Engine::generate(const std::vector<data::Prompt>& prompts,
                                          const SampleOptions& options, int64_t policy_version,
                                          const OnCompletion& on_completion) {
  std::vector<Request> requests;
  for (const data::Prompt& prompt : prompts)
    requests.push_back({.prompt = prompt, .options = options, .policy_version = policy_version});
  return generate(std::move(requests), on_completion);
}

int64_t Engine::cache_bytes_per_token() const {
  return Impl::token_bytes(impl_->model, impl_->options);
}

int64_t Engine::plain_attention_bytes_per_token() const {
  const policy::ModelConfig& c = impl_->model.config();
  const int64_t head = c.attention == policy::AttentionKind::kMla
                           ? c.mla.qk_head_dim() + c.mla.v_head_dim
                           : 2 * c.gqa.head_dim;
  return c.num_hidden_layers * c.num_attention_heads * head *
         static_cast<int64_t>(at::elementSize(impl_->model.dtype()));
}

}  // namespace ponder::rollout
