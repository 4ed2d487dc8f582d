#include "rollout/remote/remote_engine.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "core/error.h"
#include "core/random.h"

namespace ponder::rollout::remote {
namespace {

using nlohmann::json;

constexpr std::string_view kIdPrefix = "token_id:";

data::FinishReason reason_of(const json& choice) {
  const json reason = choice.value("finish_reason", json());
  if (reason == "stop") return data::FinishReason::kStop;
  if (reason == "length") return data::FinishReason::kLength;
  return data::FinishReason::kAborted;
}

std::vector<float> floats(const json& list) {
  std::vector<float> out;
  for (const json& value : list) {
    if (!value.is_number())
      core::throw_run("the server's log-probs: expected numbers, found {}", value.dump());
    out.push_back(value.get<float>());
  }
  return out;
}

json first_choice(const std::string& answer, const std::string& url) {
  const json body = json::parse(answer, nullptr, false);
  if (!body.is_object() || !body.contains("choices") || !body["choices"].is_array() ||
      body["choices"].size() != 1) {
    core::throw_run("{}: expected an object with one choice, found {}", url, answer.substr(0, 200));
  }
  return body["choices"][0];
}

// What several threads work off: completions by number, and the server's answers.
struct Work {
  std::mutex mutex;
  std::condition_variable news;
  std::deque<std::pair<size_t, std::string>> answers;
  std::exception_ptr failure;
  std::atomic<size_t> next{0};
  size_t num_ended = 0;  // threads
};

}  // namespace

int32_t ChoiceReader::id_of(const std::string& text) {
  if (by_text_.empty()) {
    for (int32_t id = 0; id < tokenizer_.vocab_size(); ++id) {
      auto& [known, count] = by_text_[tokenizer_.decode(std::vector<int32_t>{id})];
      known = id;
      ++count;
    }
  }
  const auto place = by_text_.find(text);
  if (place == by_text_.end() || place->second.second != 1) {
    core::throw_run(
        "the server gives tokens as texts alone, and '{}' is the text of {} tokens: use a server "
        "that gives token ids "
        "(vLLM: return_token_ids)",
        text, place == by_text_.end() ? 0 : place->second.second);
  }
  return place->second.first;
}

std::vector<int32_t> ChoiceReader::ids_of(const json& choice) {
  if (choice.contains("token_ids") && choice["token_ids"].is_array()) {
    std::vector<int32_t> ids;
    for (const json& id : choice["token_ids"]) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
          id.get<int64_t>() >= tokenizer_.vocab_size())
        core::throw_run(
            "the server's token id {} is outside the tokenizer's vocabulary of {}: is it the same "
            "model?",
            id.dump(), tokenizer_.vocab_size());
      ids.push_back(id.get<int32_t>());
    }
    return ids;
  }
  const json logprobs = choice.value("logprobs", json());
  if (!logprobs.is_object() || !logprobs.contains("tokens") || !logprobs["tokens"].is_array())
    core::throw_run(
        "the server gives neither token_ids nor logprobs.tokens: it cannot be used for training");
  std::vector<int32_t> ids;
  for (const json& token : logprobs["tokens"]) {
    if (!token.is_string())
      core::throw_run("the server's tokens: expected texts, found {}", token.dump());
    const auto& text = token.get_ref<const std::string&>();
    ids.push_back(text.starts_with(kIdPrefix)
                      ? static_cast<int32_t>(std::atoi(text.c_str() + kIdPrefix.size()))
                      : id_of(text));
  }
  return ids;
}

data::Completion ChoiceReader::read(const json& choice) {
  if (!choice.is_object() || !choice.contains("text") || !choice["text"].is_string())
    core::throw_run("the server's choice has no text: {}", choice.dump().substr(0, 200));
  data::Completion completion;
  completion.text = choice["text"].get<std::string>();
  completion.finish_reason = reason_of(choice);
  completion.token_ids = ids_of(choice);
  const json logprobs = choice.value("logprobs", json());
  if (choice.contains("token_logprobs")) {
    completion.logprobs = floats(choice["token_logprobs"]);
  } else if (logprobs.is_object() && logprobs.contains("token_logprobs")) {
    completion.logprobs = floats(logprobs["token_logprobs"]);
  }
  if (completion.logprobs.size() != completion.token_ids.size()) {
    core::throw_run(
        "the server gives {} tokens and {} log-probs of them: it cannot be used for training",
        completion.token_ids.size(), completion.logprobs.size());
  }
  return completion;
}

// Which number says "no limit" differs: SGLang refuses 0, llama-cpp-python -1. All take a large one.
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
  if (options.rule.repetition_penalty != 1)
    body["repetition_penalty"] = options.rule.repetition_penalty;
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
      core::HttpClient client(options_.client);
      for (size_t i = work.next++; i < total; i = work.next++) {
        std::string answer = client.post(
            "/completions", request_body(prompts[i / per_prompt], options, i % per_prompt));
        const std::lock_guard lock(work.mutex);
        work.answers.emplace_back(i, std::move(answer));
        work.news.notify_one();
      }
    } catch (...) {
      const std::lock_guard lock(work.mutex);
      if (!work.failure) work.failure = std::current_exception();
      work.next = total;  // the others end, too
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
  ChoiceReader reader(tokenizer_);
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
      data::Completion completion = reader.read(first_choice(answer, options_.client.url));
      completion.policy_version = policy_version;
      if (on_completion) on_completion(index / per_prompt, index % per_prompt, completion);
      groups[index / per_prompt].completions[index % per_prompt] = std::move(completion);
      lock.lock();
    }
  } catch (...) {
    work.next = total;
    throw;
  }
  return groups;
}

}  // namespace ponder::rollout::remote
