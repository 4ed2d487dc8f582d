#include "rollout/remote/choice_reader.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_text.h"
#include "policy/utf8.h"
#include "rollout/token_bytes.h"

namespace ponder::rollout::remote {
namespace {

using nlohmann::json;

constexpr std::string_view kIdPrefix = "token_id:";
// vLLM says -9999 for minus infinity; rounding may lift a certain token's a little above 0.
constexpr double kLogprobMin = -1e4, kLogprobMax = 1e-3;

// The beginning of what the server said, for an error.
std::string shown(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 200);
}

const json& at(const json& object, const char* name) {
  static const json null;
  if (!object.is_object()) return null;
  const auto place = object.find(name);
  return place == object.end() ? null : *place;
}

// logprobs.content of llama.cpp's llama-server, whose answers to completions are those to chats.
const json& content_of(const json& choice) {
  return at(at(choice, "logprobs"), "content");
}

data::FinishReason reason_of(const json& choice) {
  const json& reason = at(choice, "finish_reason");
  if (reason == "stop") return data::FinishReason::kStop;
  if (reason == "length") return data::FinishReason::kLength;
  return data::FinishReason::kAborted;
}

std::optional<std::string> bytes_of(const json& entry) {
  const json& bytes = at(entry, "bytes");
  if (!bytes.is_array() || bytes.empty()) return std::nullopt;
  std::string out;
  for (const json& byte : bytes) {
    const int64_t value = byte.is_number_integer() ? byte.get<int64_t>() : -1;
    if (value < 0 || value > 255) return std::nullopt;
    out += static_cast<char>(value);
  }
  return out;
}

}  // namespace

json ChoiceReader::first_choice(const std::string& answer) const {
  // Before it is parsed: copies and dumps of a value take stack for each level.
  if (core::nests_deeper(answer)) {
    core::throw_run("{}: the answer is nested deeper than {} levels: is this a completions server?",
                    url_, core::kJsonDepthMax);
  }
  const json body = json::parse(answer, nullptr, false);
  const json& choices = at(body, "choices");
  if (!choices.is_array() || choices.size() != 1 || !choices[0].is_object()) {
    core::throw_run("{}: expected an object with one choice, found {}", url_,
                    answer.substr(0, 200));
  }
  return choices[0];
}

void ChoiceReader::index() {
  if (!by_bytes_.empty()) return;
  const auto add = [](Index& index, const std::string& key, int32_t id) {
    const auto [place, is_new] = index.try_emplace(key, Meaning{id, 0});
    ++place->second.count;
  };
  for (int32_t id = 0; id < tokenizer_.vocab_size(); ++id) {
    const std::string bytes = token_bytes(tokenizer_, id);
    if (bytes.empty()) continue;
    add(by_bytes_, bytes, id);
    add(by_text_, policy::replace_ill_formed(bytes), id);
  }
  for (const auto& [text, meaning] : by_text_)
    num_ambiguous_ += meaning.count > 1 ? meaning.count : 0;
}

int32_t ChoiceReader::checked_id(const json& id) const {
  const bool fits = id.is_number_integer() &&
                    !(id.is_number_unsigned() && id.get<uint64_t>() > INT32_MAX) &&
                    id.get<int64_t>() >= 0 && id.get<int64_t>() < tokenizer_.vocab_size();
  if (!fits) {
    core::throw_run(
        "{}: the server's token id {} is outside the tokenizer's vocabulary of {}: is it the same "
        "model?",
        url_, shown(id), tokenizer_.vocab_size());
  }
  return id.get<int32_t>();
}

int32_t ChoiceReader::id_in_text(const std::string& text) const {
  int64_t id = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + kIdPrefix.size(), end, id);
  if (error != std::errc() || stop != end)
    core::throw_run("{}: the server's token '{}': expected token_id: and a number", url_,
                    text.substr(0, 200));
  return checked_id(id);
}

// Refused at the first answer, whichever tokens it has: a run would end at the first unclear one.
int32_t ChoiceReader::id_of_text(const std::string& text) {
  if (text.starts_with(kIdPrefix)) return id_in_text(text);
  index();
  if (num_ambiguous_ > 0) {
    core::throw_run(
        "{}: the server gives tokens as texts alone, and {} of the vocabulary's tokens share their "
        "text with another (parts of characters, which all read as U+FFFD, say): use a server that "
        "gives token ids (vLLM, SGLang, ponder serve, llama.cpp's llama-server) or bytes",
        url_, num_ambiguous_);
  }
  const auto place = by_text_.find(text);
  if (place == by_text_.end()) {
    core::throw_run(
        "{}: the server's token '{}' is not in the tokenizer's vocabulary: is it the "
        "same model?",
        url_, text.substr(0, 200));
  }
  return place->second.id;
}

int32_t ChoiceReader::id_of_entry(const json& entry) {
  if (!at(entry, "id").is_null()) return checked_id(entry["id"]);
  const json& text = at(entry, "token");
  if (!text.is_string())
    core::throw_run("{}: the server's tokens: expected an object with id or token, found {}", url_,
                    shown(entry));
  const auto bytes = bytes_of(entry);
  if (!bytes || text.get_ref<const std::string&>().starts_with(kIdPrefix))
    return id_of_text(text.get<std::string>());
  index();
  const auto place = by_bytes_.find(*bytes);
  if (place == by_bytes_.end() || place->second.count != 1) {
    core::throw_run(
        "{}: the server's token {} has the bytes of {} tokens of the vocabulary: use a "
        "server that gives token ids",
        url_, shown(entry), place == by_bytes_.end() ? 0 : place->second.count);
  }
  return place->second.id;
}

std::vector<int32_t> ChoiceReader::ids_of(const json& choice) {
  std::vector<int32_t> ids;
  if (const json& given = at(choice, "token_ids"); given.is_array()) {
    for (const json& id : given) ids.push_back(checked_id(id));
  } else if (const json& content = content_of(choice); content.is_array()) {
    for (const json& entry : content) ids.push_back(id_of_entry(entry));
  } else if (const json& tokens = at(at(choice, "logprobs"), "tokens"); tokens.is_array()) {
    for (const json& token : tokens) {
      if (!token.is_string())
        core::throw_run("{}: the server's tokens: expected texts, found {}", url_, shown(token));
      ids.push_back(id_of_text(token.get<std::string>()));
    }
  } else {
    core::throw_run(
        "{}: the server gives neither token_ids nor logprobs.tokens nor logprobs.content: it "
        "cannot be used for training",
        url_);
  }
  return ids;
}

std::vector<float> ChoiceReader::logprobs_of(const json& choice) const {
  const json& content = content_of(choice);
  const json& own = at(choice, "token_logprobs");
  const json& list = !own.is_null()       ? own
                     : content.is_array() ? content
                                          : at(at(choice, "logprobs"), "token_logprobs");
  if (!list.is_array())
    core::throw_run("{}: the server's log-probs: expected a list of numbers, found {}", url_,
                    shown(list));
  std::vector<float> out;
  for (const json& item : list) {
    const json& value = item.is_object() ? at(item, "logprob") : item;
    const bool fits = value.is_number() && value.get<double>() >= kLogprobMin &&
                      value.get<double>() <= kLogprobMax;
    if (!fits)
      core::throw_run("{}: the server's log-probs: expected numbers from {} to 0, found {}", url_,
                      kLogprobMin, shown(value));
    out.push_back(std::min(value.get<float>(), 0.0f));
  }
  return out;
}

// What servers that do not know an option leave out of it without a word.
void ChoiceReader::check_kept(const data::Completion& completion,
                              const SampleOptions& options) const {
  const auto size = static_cast<int64_t>(completion.token_ids.size());
  if (size > options.max_completion_length)
    core::throw_run("{}: the server gives {} tokens, {} were asked for", url_, size,
                    options.max_completion_length);
  const bool stopped = completion.finish_reason == data::FinishReason::kStop;
  if (stopped && options.stop.empty() && size < options.min_completion_length)
    core::throw_run(
        "{}: the server stops after {} tokens, at least {} were asked for: does it know "
        "min_tokens?",
        url_, size, options.min_completion_length);
  if (stopped && options.stop.empty() && options.stop_token_ids.empty() && options.ignore_eos)
    core::throw_run("{}: the server stops, where nothing should stop it: does it know ignore_eos?",
                    url_);
  for (int64_t i = options.min_completion_length; i + 1 < size; ++i) {
    const auto& ids = options.stop_token_ids;
    if (std::find(ids.begin(), ids.end(), completion.token_ids[i]) != ids.end())
      core::throw_run("{}: the server goes on behind the token {}: does it know stop_token_ids?",
                      url_, completion.token_ids[i]);
  }
}

data::Completion ChoiceReader::read(const json& choice, const SampleOptions& options) {
  if (!at(choice, "text").is_string())
    core::throw_run("{}: the server's choice has no text: {}", url_, shown(choice));
  data::Completion completion;
  completion.text = choice["text"].get<std::string>();
  completion.finish_reason = reason_of(choice);
  completion.token_ids = ids_of(choice);
  completion.logprobs = logprobs_of(choice);
  if (completion.logprobs.size() != completion.token_ids.size()) {
    core::throw_run(
        "{}: the server gives {} tokens and {} log-probs of them: it cannot be used for training",
        url_, completion.token_ids.size(), completion.logprobs.size());
  }
  check_kept(completion, options);
  return completion;
}

}  // namespace ponder::rollout::remote
