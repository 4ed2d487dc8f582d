// The writing half: what the engine says -> JSON.
#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "policy/utf8.h"
#include "rollout/serve/openai.h"
#include "rollout/token_bytes.h"

namespace ponder::rollout::serve {
namespace {

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A token as text, and its own bytes, which several tokens' characters are put together from.
Json token_entry(const policy::Tokenizer& tokenizer, const TokenLogprob& token) {
  const std::string own = token_bytes(tokenizer, token.token);
  Json bytes = Json::array();
  for (const unsigned char c : own) bytes.push_back(c);
  return {{"token", policy::replace_ill_formed(own)}, {"logprob", token.logprob}, {"bytes", bytes}};
}

Json chat_logprobs(const policy::Tokenizer& tokenizer, const std::vector<TopLogprobs>& tokens) {
  Json content = Json::array();
  for (const TopLogprobs& token : tokens) {
    Json entry = token_entry(tokenizer, token.chosen);
    entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& other : token.top)
      entry["top_logprobs"].push_back(token_entry(tokenizer, other));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

size_t num_characters(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

// The likeliest tokens and the chosen one by name. Where two have one name the likelier keeps it.
Json named_tops(const policy::Tokenizer& tokenizer, const TopLogprobs& token) {
  Json out = Json::object();
  const auto add = [&](const TokenLogprob& one) {
    const std::string name = token_name(tokenizer, one.token);
    if (!out.contains(name)) out[name] = one.logprob;
  };
  for (const TokenLogprob& one : token.top) add(one);
  add(token.chosen);
  return out;
}

// The lists of /v1/completions.
class Lists {
 public:
  Lists(const policy::Tokenizer& tokenizer, TextPlaces& places)
      : tokenizer_(tokenizer), places_(places) {}
  void add(int32_t token, Json logprob, Json tops) {
    texts_.push_back(token_name(tokenizer_, token));
    values_.push_back(std::move(logprob));
    tops_.push_back(std::move(tops));
    offsets_.push_back(places_.next(token));
  }
  void add(const TopLogprobs& token) {
    add(token.chosen.token, token.chosen.logprob, named_tops(tokenizer_, token));
  }
  Json json() && {
    return {{"tokens", std::move(texts_)},
            {"token_logprobs", std::move(values_)},
            {"top_logprobs", std::move(tops_)},
            {"text_offset", std::move(offsets_)}};
  }

 private:
  const policy::Tokenizer& tokenizer_;
  TextPlaces& places_;
  Json texts_ = Json::array(), values_ = Json::array(), tops_ = Json::array(),
       offsets_ = Json::array();
};

}  // namespace

size_t TextPlaces::next(int32_t token) {
  const size_t place = characters_;
  characters_ += num_characters(decoder_.push(token));
  return place;
}

Answer::Answer(const ApiRequest& request, const Served& served, std::string id)
    : request_(request),
      served_(served),
      id_((request.is_chat ? "chatcmpl-" : "cmpl-") + std::move(id)),
      created_(std::time(nullptr)),
      prompt_scores_(request.prompts.size()),
      left_(request.prompts.size() * static_cast<size_t>(request.options.num_generations)) {
  for (size_t i = 0; i < left_; ++i) choices_.push_back({.places = places()});
}

TextPlaces Answer::places() const {
  return TextPlaces(served_.tokenizer, request_.options.skip_special_tokens);
}

Json Answer::frame(const char* object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", served_.name}};
}

Json Answer::usage() const {
  size_t prompt = 0, completion = 0;
  for (const data::Prompt& p : request_.prompts) prompt += p.token_ids.size();
  for (const Choice& c : choices_) completion += c.completion.token_ids.size();
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion}};
}

Json Answer::logprobs(const std::vector<TopLogprobs>& tokens, TextPlaces& places) const {
  if (request_.is_chat) return chat_logprobs(served_.tokenizer, tokens);
  Lists lists(served_.tokenizer, places);
  for (const TopLogprobs& token : tokens) lists.add(token);
  return std::move(lists).json();
}

// The prompt's tokens, of which the first has no log-prob, and then the completion's.
Json Answer::echoed_logprobs(size_t prompt, const std::vector<TopLogprobs>& tokens) const {
  TextPlaces all = places();
  Lists lists(served_.tokenizer, all);
  lists.add(request_.prompts[prompt].token_ids.front(), nullptr, nullptr);
  for (const TopLogprobs& token : prompt_scores_[prompt]) lists.add(token);
  for (const TopLogprobs& token : tokens) lists.add(token);
  return std::move(lists).json();
}

std::string Answer::echoed_text(size_t prompt) const {
  const data::Prompt& echoed = request_.prompts[prompt];
  if (!echoed.text.empty()) return echoed.text;
  return served_.tokenizer.decode(echoed.token_ids, request_.options.skip_special_tokens);
}

Json Answer::choice(size_t index, const Choice& choice) const {
  Json out = {{"index", index}};
  const size_t prompt = index / static_cast<size_t>(request_.options.num_generations);
  if (request_.is_chat) {
    out["message"] = {
        {"role", "assistant"}, {"content", choice.completion.text}, {"refusal", nullptr}};
  } else {
    out["text"] = (request_.echoes ? echoed_text(prompt) : "") + choice.completion.text;
  }
  if (!request_.num_top_logprobs) {
    out["logprobs"] = nullptr;
  } else if (request_.echoes) {
    out["logprobs"] = echoed_logprobs(prompt, choice.logprobs);
  } else {
    TextPlaces all = places();
    out["logprobs"] = logprobs(choice.logprobs, all);
  }
  out["finish_reason"] = data::name_of(choice.completion.finish_reason);
  if (request_.returns_token_ids) {
    out["token_ids"] = choice.completion.token_ids;
    out["prompt_token_ids"] = request_.prompts[prompt].token_ids;
    out["token_logprobs"] = choice.completion.logprobs;
  }
  return out;
}

std::string Answer::whole() const {
  Json out = frame(request_.is_chat ? "chat.completion" : "text_completion");
  out["choices"] = Json::array();
  for (size_t i = 0; i < choices_.size(); ++i) out["choices"].push_back(choice(i, choices_[i]));
  out["usage"] = usage();
  return dump(out);
}

Json Answer::delta_event(size_t index, const std::string& text, Json logprobs, const Json& ids,
                         const Json& finish_reason) const {
  Json entry = {{"index", index}};
  if (request_.is_chat) {
    entry["delta"] = text.empty() && !finish_reason.is_null() ? Json::object()
                                                              : Json::object({{"content", text}});
  } else {
    entry["text"] = text;
  }
  entry["logprobs"] = std::move(logprobs);
  entry["finish_reason"] = finish_reason;
  if (request_.returns_token_ids) entry["token_ids"] = ids;
  Json out = frame(request_.is_chat ? "chat.completion.chunk" : "text_completion");
  out["choices"] = Json::array({std::move(entry)});
  return out;
}

std::vector<std::string> Answer::begin_events() const {
  std::vector<std::string> events;
  if (!request_.is_chat) return events;
  for (size_t i = 0; i < choices_.size(); ++i) {
    Json out = frame("chat.completion.chunk");
    out["choices"] = Json::array({{{"index", i},
                                   {"delta", {{"role", "assistant"}, {"content", ""}}},
                                   {"logprobs", nullptr},
                                   {"finish_reason", nullptr}}});
    events.push_back(dump(out));
  }
  return events;
}

std::vector<std::string> Answer::token_events(size_t prompt, const TokenEvent& event) {
  const size_t index =
      prompt * static_cast<size_t>(request_.options.num_generations) + event.sample;
  Choice& choice = choices_[index];
  if (!request_.streams) {
    if (event.logprobs && !request_.scores_only) choice.logprobs.push_back(*event.logprobs);
    return {};
  }
  choice.text_bytes += event.text.size();
  if (event.text.empty() && !request_.num_top_logprobs && !request_.returns_token_ids) return {};
  Json told = event.logprobs ? logprobs({*event.logprobs}, choice.places) : Json();
  return {
      dump(delta_event(index, event.text, std::move(told), Json::array({event.token}), nullptr))};
}

std::vector<std::string> Answer::end_events(size_t prompt, size_t sample,
                                            const data::Completion& completion) {
  const size_t index = prompt * static_cast<size_t>(request_.options.num_generations) + sample;
  choices_[index].completion = completion;
  if (request_.scores_only) {
    choices_[index].completion.text.clear();
    choices_[index].completion.token_ids.clear();
    choices_[index].completion.logprobs.clear();
  }
  --left_;
  aborted_ |= completion.finish_reason == data::FinishReason::kAborted;
  if (!request_.streams) return {};
  // Text that the token events have held back, if the end has let it go.
  const size_t sent = std::min(choices_[index].text_bytes, completion.text.size());
  std::vector<std::string> events = {
      dump(delta_event(index, completion.text.substr(sent), nullptr, Json::array(),
                       data::name_of(completion.finish_reason)))};
  if (complete()) {
    if (request_.includes_usage) {
      Json out = frame(request_.is_chat ? "chat.completion.chunk" : "text_completion");
      out["choices"] = Json::array();
      out["usage"] = usage();
      events.push_back(dump(out));
    }
    events.emplace_back("[DONE]");
  }
  return events;
}

}  // namespace ponder::rollout::serve
