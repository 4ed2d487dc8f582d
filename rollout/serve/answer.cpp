// The writing half: what the engine says -> JSON.
#include <fmt/format.h>

#include "rollout/serve/openai.h"

namespace ponder::rollout::serve {
namespace {

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A token as text, and its bytes: what vLLM and OpenAI give for a token that is no whole character.
Json token_entry(const policy::Tokenizer& tokenizer, const TokenLogprob& token) {
  const std::string text = tokenizer.decode(std::vector<int32_t>{token.token});
  Json bytes = Json::array();
  for (const unsigned char c : text) bytes.push_back(c);
  return {{"token", text}, {"logprob", token.logprob}, {"bytes", bytes}};
}

}  // namespace

Answer::Answer(const ApiRequest& request, const Served& served, std::string id)
    : request_(request),
      served_(served),
      id_((request.is_chat ? "chatcmpl-" : "cmpl-") + std::move(id)),
      choices_(request.prompts.size() * static_cast<size_t>(request.options.num_generations)),
      left_(choices_.size()) {}

Json Answer::frame(const char* object) const {
  return {{"id", id_}, {"object", object}, {"created", served_.created}, {"model", served_.name}};
}

Json Answer::usage() const {
  size_t prompt = 0, completion = 0;
  for (const data::Prompt& p : request_.prompts) prompt += p.token_ids.size();
  for (const Choice& c : choices_) completion += c.completion.token_ids.size();
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion}};
}

Json Answer::logprobs(const std::vector<TopLogprobs>& tokens, size_t first_offset) const {
  if (request_.is_chat) {
    Json content = Json::array();
    for (const TopLogprobs& token : tokens) {
      Json entry = token_entry(served_.tokenizer, token.chosen);
      entry["top_logprobs"] = Json::array();
      for (const TokenLogprob& other : token.top)
        entry["top_logprobs"].push_back(token_entry(served_.tokenizer, other));
      content.push_back(std::move(entry));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }
  Json texts = Json::array(), values = Json::array(), tops = Json::array(), offsets = Json::array();
  size_t offset = first_offset;
  for (const TopLogprobs& token : tokens) {
    const std::string text = served_.tokenizer.decode(std::vector<int32_t>{token.chosen.token});
    texts.push_back(text);
    values.push_back(token.chosen.logprob);
    Json top = Json::object();
    for (const TokenLogprob& other : token.top)
      top[served_.tokenizer.decode(std::vector<int32_t>{other.token})] = other.logprob;
    tops.push_back(std::move(top));
    offsets.push_back(offset);
    offset += text.size();
  }
  return {{"tokens", texts},
          {"token_logprobs", values},
          {"top_logprobs", tops},
          {"text_offset", offsets}};
}

Json Answer::choice(size_t index, const Choice& choice) const {
  Json out = {{"index", index}};
  if (request_.is_chat) {
    out["message"] = {
        {"role", "assistant"}, {"content", choice.completion.text}, {"refusal", nullptr}};
  } else {
    out["text"] = choice.completion.text;
  }
  out["logprobs"] = request_.num_top_logprobs ? logprobs(choice.logprobs, 0) : Json();
  out["finish_reason"] = data::name_of(choice.completion.finish_reason);
  if (request_.returns_token_ids) {
    out["token_ids"] = choice.completion.token_ids;
    out["prompt_token_ids"] =
        request_.prompts[index / static_cast<size_t>(request_.options.num_generations)].token_ids;
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

Json Answer::delta_event(size_t index, const std::string& text,
                         const std::vector<TopLogprobs>& tokens, size_t offset, const Json& ids,
                         const Json& finish_reason) const {
  Json entry = {{"index", index}};
  if (request_.is_chat) {
    entry["delta"] = text.empty() && !finish_reason.is_null() ? Json::object()
                                                              : Json::object({{"content", text}});
  } else {
    entry["text"] = text;
  }
  entry["logprobs"] =
      request_.num_top_logprobs && !tokens.empty() ? logprobs(tokens, offset) : Json();
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
  if (event.logprobs) choice.logprobs.push_back(*event.logprobs);
  if (!request_.streams) return {};
  const size_t offset = choice.text_bytes;
  choice.text_bytes += event.text.size();
  ++choice.tokens_sent;
  if (event.text.empty() && !request_.num_top_logprobs && !request_.returns_token_ids) return {};
  const auto logprobs = event.logprobs ? std::vector{*event.logprobs} : std::vector<TopLogprobs>{};
  return {
      dump(delta_event(index, event.text, logprobs, offset, Json::array({event.token}), nullptr))};
}

std::vector<std::string> Answer::end_events(size_t prompt, size_t sample,
                                            const data::Completion& completion) {
  const size_t index = prompt * static_cast<size_t>(request_.options.num_generations) + sample;
  choices_[index].completion = completion;
  --left_;
  aborted_ |= completion.finish_reason == data::FinishReason::kAborted;
  if (!request_.streams) return {};
  // Text that the token events have held back, if the end has let it go.
  const size_t sent = std::min(choices_[index].text_bytes, completion.text.size());
  std::vector<std::string> events = {
      dump(delta_event(index, completion.text.substr(sent), {}, sent, Json::array(),
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
