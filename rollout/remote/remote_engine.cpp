#include "rollout/remote/remote_engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "core/error.h"
#include "core/random.h"
#include "core/stop.h"
#include "rollout/remote/choice_reader.h"

namespace ponder::rollout::remote {
namespace {

using nlohmann::json;

constexpr float kBiasMax = 100;  // OpenAI's

// What several threads work off: completions by number, and the server's answers.
struct Work {
  std::mutex mutex;
  std::condition_variable news;
  std::deque<std::pair<size_t, std::string>> answers;
  std::exception_ptr failure;
  std::atomic<size_t> next{0};
  size_t num_ended = 0;  // threads
  // When the last answer came: a server that answers may finish the step that a stop interrupts.
  std::atomic<Clock::time_point> last_answer{Clock::now()};
  std::atomic<bool> given_up{false};

  std::atomic<Clock::time_point> stop_seen{Clock::time_point::max()};

  // Whether to wait no longer. From any thread.
  bool over() {
    if (given_up || !core::stop_requested()) return given_up;
    const Clock::time_point now = Clock::now();
    Clock::time_point none = Clock::time_point::max();
    stop_seen.compare_exchange_strong(none, now);
    return now - std::max(stop_seen.load(), last_answer.load()) > RemoteEngine::kStopPatience;
  }
};

// A rule that a server would leave out without a word.
void check_sendable(const SampleOptions& options) {
  const TokenRule& rule = options.rule;
  if (!rule.bad_words.empty())
    core::throw_user("bad_words: a server takes no token sequences: leave them out");
  if (options.include_stop_str_in_output)
    core::throw_user("include_stop_str_in_output: servers cut texts before the stop string");
  if (options.keep_sampling_mask || options.keep_routing)
    core::throw_user("a server does not say how it sampled: no sampling mask and no routing");
  for (const auto& [id, bias] : rule.logit_bias) {
    if (!(std::abs(bias) <= kBiasMax))
      core::throw_user("logit_bias of the token {}: servers take -{} to {}, found {}", id, kBiasMax,
                       kBiasMax, bias);
  }
}

// What is said only where it is asked for, under vLLM's names: some servers refuse keys that they
// do not know.
void add_rarer(const SampleOptions& options, json& body) {
  const TokenRule& rule = options.rule;
  if (rule.repetition_penalty != 1) body["repetition_penalty"] = rule.repetition_penalty;
  if (rule.presence_penalty != 0) body["presence_penalty"] = rule.presence_penalty;
  if (rule.frequency_penalty != 0) body["frequency_penalty"] = rule.frequency_penalty;
  for (const auto& [id, bias] : rule.logit_bias) body["logit_bias"][std::to_string(id)] = bias;
  if (options.min_completion_length > 0) body["min_tokens"] = options.min_completion_length;
  if (!options.stop_token_ids.empty()) body["stop_token_ids"] = options.stop_token_ids;
  if (options.ignore_eos) body["ignore_eos"] = true;
}

}  // namespace

// Which number says "no limit" differs: SGLang refuses 0, llama-cpp-python -1. All take a large
// one.
constexpr int64_t kTopKOfAll = int64_t{1} << 30;

RemoteEngine::RemoteEngine(const policy::Tokenizer& tokenizer, const RemoteOptions& options)
    : tokenizer_(tokenizer), options_(options) {
  std::string& url = options_.client.url;
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("http://") && !url.starts_with("https://"))
    core::throw_user("the server's address: expected http://HOST:PORT/v1, found '{}'", url);
}

std::string RemoteEngine::request_body(const data::Prompt& prompt, const SampleOptions& options,
                                       size_t sample) const {
  check_sendable(options);
  const uint64_t seed =
      core::stable_hash(fmt::format("{}:{}#{}:{}", options.seed, prompt.id, options.round, sample));
  json body = {{"max_tokens", options.max_completion_length},
               {"temperature", options.rule.temperature},
               {"top_p", options.rule.top_p},
               // Said even where they are off: servers' own defaults may cut the distribution
               // (llama-cpp-python: 40 and 0.05).
               {"top_k", options.rule.top_k > 0 ? options.rule.top_k : kTopKOfAll},
               {"min_p", options.rule.min_p},
               {"seed", seed >> 33},  // servers differ in the width they take
               {"logprobs", 1},
               {"skip_special_tokens", options.skip_special_tokens},
               {"return_token_ids", true}};
  if (options_.prompts_as_text) {
    body["prompt"] = prompt.text;
  } else {
    body["prompt"] = prompt.token_ids;
  }
  if (!options_.model.empty()) body["model"] = options_.model;
  if (!options.stop.empty()) body["stop"] = options.stop;
  add_rarer(options, body);
  return body.dump();
}

std::vector<data::Group> RemoteEngine::generate(const std::vector<data::Prompt>& prompts,
                                                const SampleOptions& options,
                                                int64_t policy_version,
                                                const OnCompletion& on_completion) {
  const auto per_prompt = static_cast<size_t>(options.num_generations);
  const size_t total = prompts.size() * per_prompt;
  Work work;
  const auto ask = [&] {
    try {
      core::ClientOptions own = options_.client;
      own.cancelled = [&work] { return work.over(); };
      core::HttpClient client(own);
      for (size_t i = work.next++; i < total; i = work.next++) {
        std::string answer = client.post(
            "/completions", request_body(prompts[i / per_prompt], options, i % per_prompt));
        const std::lock_guard lock(work.mutex);
        work.last_answer = Clock::now();
        work.answers.emplace_back(i, std::move(answer));
        work.news.notify_one();
      }
    } catch (...) {
      const std::lock_guard lock(work.mutex);
      if (!work.failure) work.failure = std::current_exception();
      work.next = total;  // the others end, too
      work.given_up = true;
    }
    const std::lock_guard lock(work.mutex);
    ++work.num_ended;
    work.news.notify_one();
  };
  std::vector<data::Group> groups;
  for (const data::Prompt& prompt : prompts)
    groups.push_back({prompt, std::vector<data::Completion>(per_prompt)});
  const size_t num_threads = std::min(total, static_cast<size_t>(options_.concurrency));
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < num_threads; ++i) threads.emplace_back(ask);
  ChoiceReader reader(tokenizer_, options_.client.url);
  try {
    for (std::unique_lock lock(work.mutex);;) {
      work.news.wait(lock, [&] {
        return work.failure || !work.answers.empty() || work.num_ended == num_threads;
      });
      if (work.failure) std::rethrow_exception(work.failure);
      if (work.answers.empty()) break;
      const auto [index, answer] = std::move(work.answers.front());
      work.answers.pop_front();
      lock.unlock();
      data::Completion completion = reader.read(reader.first_choice(answer), options);
      completion.policy_version = policy_version;
      if (on_completion) on_completion(index / per_prompt, index % per_prompt, completion);
      groups[index / per_prompt].completions[index % per_prompt] = std::move(completion);
      lock.lock();
    }
  } catch (...) {
    work.next = total;
    work.given_up = true;  // or this would wait for what nobody reads
    throw;
  }
  return groups;
}

}  // namespace ponder::rollout::remote
