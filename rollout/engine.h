// Turns prompts into completions: continuous batching over a paged cache. A prompt is run once for
// its whole group; a slot is refilled the moment its completion ends; where memory is short a
// sequence steps back and is computed again later, with the same tokens. Reads the trainer's own
// weights: no copy, no sync. Knows tokens and the tokenizer; knows no rewards and no HTTP.
//
//   Engine engine(model, tokenizer, {});
//   const RequestId id = engine.submit({.prompt = prompt, .options = options, .on_token = print});
//   while (engine.step()) {}                       // or engine.cancel(id) between steps
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/types.h"
#include "policy/model.h"
#include "policy/tokenizer.h"
#include "rollout/sampler.h"

namespace ponder::rollout {

using Clock = std::chrono::steady_clock;

// Where guesses at tokens to come are taken from; they are checked in the same pass, so that the
// completions are the same bits.
enum class Speculation {
  kNone,
  kPromptLookup,  // what followed when the sequence's last tokens stood in it before
  kMtp,           // drawn from the model's modules for multi-token prediction (DeepSeek-V3, §2.2)
};

struct EngineOptions {
  int64_t max_running = 256;           // sequences decoded at once
  int64_t kv_cache_bytes = 256 << 20;  // memory of the paged cache
  int64_t block_size = 16;             // tokens
  int64_t prefill_tokens_max = 512;    // prompt tokens in one pass, beside one of each sequence
  // While no more than guess_running_max sequences run, at most guess_tokens are guessed ahead in
  // each. Where there are fewer modules for multi-token prediction, the last is chained.
  Speculation speculation = Speculation::kNone;
  int64_t guess_tokens = 3;
  int64_t guess_running_max = 4;
  // Products in 8 bits, from a copy of the weights made with the engine: for a policy that does not
  // change while the engine lives (evaluation, serving). Log-probs are then those of that model.
  bool int8 = false;
};

struct SampleOptions {
  TokenRule rule = {};
  int64_t num_generations = 1;          // completions of each prompt
  int64_t max_completion_length = 512;  // tokens
  int64_t min_completion_length = 0;    // no stop token before so many tokens
  uint64_t seed = 1;
  uint64_t round = 0;  // told apart: the same prompt sampled again later in a run
  std::vector<int32_t> stop_token_ids = {};  // beside the model's own end-of-sequence ids
  bool ignore_eos = false;                   // the model's own do not stop (benchmarks)
  std::vector<std::string> stop = {};  // texts that end a completion, wherever token borders lie;
                                       // the completion's text ends before it, as OpenAI cuts it;
                                       // its tokens are all kept
  bool include_stop_str_in_output = false;  // the text ends behind it (vLLM's name)
  bool skip_special_tokens = false;         // in the text
  bool keep_sampling_mask = false;          // record Completion::kept_ids and kept_counts
  bool keep_routing = false;                // record Completion::experts; nothing is guessed ahead
};

// One token that has just been sampled.
struct TokenEvent {
  size_t sample = 0;  // index within the group
  int32_t token = 0;
  std::string text;  // what the completion's text has grown by: whole characters, held back while
                     // they may be the beginning of a stop string; put end to end: the completion's
                     // text, once it has ended by a token
  std::optional<TopLogprobs> logprobs;  // where the request asks for them
};
using OnToken = std::function<void(const TokenEvent&)>;

// The prompt's tokens but the first, as the model expects them.
using OnPrompt = std::function<void(const std::vector<TopLogprobs>&)>;

// Called as each completion ends, in that order, from the thread that called step(), cancel() or
// generate(): (prompt's index, sample's index, the completion). The prompt's index is 0 but in
// generate().
using OnCompletion = std::function<void(size_t, size_t, const data::Completion&)>;

// One prompt to be continued num_generations times.
struct Request {
  data::Prompt prompt;  // its id and token_ids are used
  SampleOptions options = {};
  int64_t policy_version = 0;  // written into the tokens sampled now
  // Paused (or aborted) completions of an earlier call to go on with, one a sample; empty, or
  // without tokens: from the start. Their tokens stay, their cache is made anew under the present
  // weights.
  std::vector<data::Completion> begun = {};
  // Where the samples' limits differ: tokens of each, instead of max_completion_length.
  std::vector<int64_t> lengths_max = {};
  // New tokens of each sample in this request; at the limit it ends as kPaused. 0: no limit.
  int64_t pause_after = 0;
  std::optional<Clock::time_point> pause_at = {};   // unfinished samples end then as kPaused
  std::optional<Clock::time_point> deadline = {};   // unfinished samples end then as kAborted
  std::optional<int64_t> num_top_logprobs = {};     // none: TokenEvent::logprobs stays empty
  std::optional<int64_t> num_prompt_logprobs = {};  // none: on_prompt is not called
  OnPrompt on_prompt = {};                          // once, before the first token
  OnToken on_token = {};
  OnCompletion on_completion = {};
  // Once, with the reason, in place of all that was still to come, where the model's logits are not
  // finite: the other requests go on. None: step() throws it as RunError.
  std::function<void(const std::string&)> on_failed = {};
};
using RequestId = int64_t;

// What the engine has done since it was made.
struct EngineStats {
  int64_t passes = 0;
  int64_t sampled_tokens = 0;
  int64_t computed_tokens = 0;  // rows of all passes, prompts and repeats included
  int64_t preemptions = 0;
  int64_t guessed_tokens = 0;  // computed ahead
  int64_t right_guesses = 0;   // and of use
  int64_t running = 0;         // sequences now
  int64_t waiting = 0;         // sequences that have not started, or stepped back
};

// Not for several threads at once. Callbacks may call cancel() and submit(), not step().
class Engine {
 public:
  // REQUIRES: model and tokenizer outlive the engine; the weights change only while no request is
  // under way. Throws UserError where the cache's budget holds not a single block, and for kMtp
  // with a model that has no module for it.
  Engine(const policy::Model& model, const policy::Tokenizer& tokenizer, EngineOptions options);
  ~Engine();

  // Queues a request, first come, first served. A sample's random numbers are a pure function of
  // (seed, prompt id, round, sample index, position). Throws UserError: an empty prompt, an id
  // outside the vocabulary, no room for a token within the model's context, or a sequence longer
  // than the whole cache.
  RequestId submit(Request request);
  // One forward pass over what runs and what can start, and a token for each sequence that is up to
  // date. Returns whether any request is unfinished. An exception of a callback passes through. A
  // request for which the model's logits are not finite is forgotten, and RunError thrown where it
  // has no on_failed. Both leave the engine usable.
  bool step();
  // Its unfinished samples end as kAborted, on_completion is called for each. False where no such
  // request is under way.
  bool cancel(RequestId id);
  // Whether any request is unfinished.
  bool busy() const;
  EngineStats stats() const;

  // All of the requests to their ends: one group each, in their order. Where nothing else runs the
  // cache's memory is given back until the next pass. Logits that are not finite throw RunError,
  // with or without on_failed.
  std::vector<data::Group> generate(std::vector<Request> requests,
                                    const OnCompletion& on_completion = {});
  // The same for one set of options.
  std::vector<data::Group> generate(const std::vector<data::Prompt>& prompts,
                                    const SampleOptions& options, int64_t policy_version = 0,
                                    const OnCompletion& on_completion = {});

  // Tokens of the longest sequence, prompt included, that the context and the whole cache hold.
  int64_t sequence_tokens_max() const;
  // Bytes that the cache takes for one token, all layers (with kMtp its modules' too); and what
  // plain multi-head attention with the same heads would take.
  int64_t cache_bytes_per_token() const;
  int64_t plain_attention_bytes_per_token() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::rollout
