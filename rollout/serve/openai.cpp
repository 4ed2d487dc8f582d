// The reading half: JSON -> ApiRequest.
#include "rollout/serve/openai.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_text.h"
#include "core/spelling.h"

namespace ponder::rollout::serve {
namespace {

constexpr int64_t kTopLogprobsMax = 20;
constexpr size_t kStopsMax = 16;
constexpr double kTemperatureMin = 1e-4;  // logits divided by less leave float32's range

[[noreturn]] void refuse(const std::string& param, const std::string& message) {
  throw ApiError{.status = 400, .message = param + ": " + message, .param = param};
}

bool boolean(const Json& value, const char* name, bool otherwise) {
  if (value.is_null()) return otherwise;
  if (!value.is_boolean())
    refuse(name, fmt::format("expected true or false, found {}", value.dump()));
  return value.get<bool>();
}

// Reads the keys of an object, each with its check, and refuses those that nobody asked for.
class Fields {
 public:
  explicit Fields(const std::string& body) {
    // Before it is parsed: copies and dumps of a value take stack for each level.
    if (core::nests_deeper(body)) {
      throw ApiError{
          .status = 400,
          .message = fmt::format("the body is nested deeper than {} levels", core::kJsonDepthMax)};
    }
    try {
      object_ = Json::parse(body);
    } catch (const Json::exception& error) {
      throw ApiError{.status = 400,
                     .message = fmt::format("the body is not JSON: {}", error.what())};
    }
    if (!object_.is_object())
      throw ApiError{.status = 400, .message = "expected a JSON object as body"};
  }

  // Null where it is missing.
  Json take(const char* name) {
    known_.emplace_back(name);
    const auto place = object_.find(name);
    return place == object_.end() ? Json() : *place;
  }
  double number(const char* name, double otherwise, double low, double high) {
    const Json value = take(name);
    if (value.is_null()) return otherwise;
    if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high))
      refuse(name,
             fmt::format("expected a number from {} to {}, found {}", low, high, value.dump()));
    return value.get<double>();
  }
  std::optional<int64_t> integer(const char* name, int64_t low, int64_t high) {
    const Json value = take(name);
    if (value.is_null()) return std::nullopt;
    const bool fits =
        value.is_number_integer() &&
        !(value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) &&
        value.get<int64_t>() >= low && value.get<int64_t>() <= high;
    if (!fits)
      refuse(name, fmt::format("expected a whole number from {} to {}, found {}", low, high,
                               value.dump()));
    return value.get<int64_t>();
  }
  bool flag(const char* name, bool otherwise = false) {
    return boolean(take(name), name, otherwise);
  }
  // One that we cannot honour: only its neutral values pass.
  void only(const char* name, std::initializer_list<Json> neutral, const char* remedy) {
    const Json value = take(name);
    if (value.is_null() || std::find(neutral.begin(), neutral.end(), value) != neutral.end())
      return;
    refuse(name, fmt::format("{} is not supported{}",
                             value.dump(-1, ' ', false, Json::error_handler_t::replace), remedy));
  }
  void ignore(std::initializer_list<const char*> names) {
    for (const char* name : names) take(name);
  }
  void finish() const {
    for (const auto& [name, unused] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), name) == known_.end())
        throw ApiError{
            .status = 400,
            .message = fmt::format("unknown key '{}'{}", name, core::suggestion(name, known_)),
            .param = name};
    }
  }

 private:
  Json object_;
  std::vector<std::string> known_;
};

std::vector<std::string> texts(const Json& value, const char* name) {
  if (value.is_null()) return {};
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> out;
  for (const Json& item : value.is_array() ? value : Json::array({value})) {
    if (!item.is_string()) refuse(name, "expected a string or a list of strings");
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::vector<int32_t> token_ids(const Json& value, const char* name, const Served& served) {
  std::vector<int32_t> out;
  for (const Json& item : value) {
    const bool fits = item.is_number_integer() && item.get<int64_t>() >= 0 &&
                      item.get<int64_t>() < served.tokenizer.vocab_size();
    if (!fits)
      refuse(name, fmt::format("expected token ids from 0 to {}, found {}",
                               served.tokenizer.vocab_size() - 1, item.dump()));
    out.push_back(static_cast<int32_t>(item.get<int64_t>()));
  }
  return out;
}

void read_stops(Fields& fields, const Served& served, SampleOptions& options) {
  options.stop = texts(fields.take("stop"), "stop");
  if (options.stop.size() > kStopsMax)
    refuse("stop", fmt::format("at most {} stop strings", kStopsMax));
  if (std::any_of(options.stop.begin(), options.stop.end(),
                  [](const std::string& s) { return s.empty(); }))
    refuse("stop", "an empty stop string would stop at once");
  options.include_stop_str_in_output = fields.flag("include_stop_str_in_output");
  const Json ids = fields.take("stop_token_ids");
  if (!ids.is_null() && !ids.is_array()) refuse("stop_token_ids", "expected a list of token ids");
  if (ids.is_array()) options.stop_token_ids = token_ids(ids, "stop_token_ids", served);
}

void read_bias(Fields& fields, const Served& served, TokenRule& rule) {
  const Json bias = fields.take("logit_bias");
  if (bias.is_null()) return;
  if (!bias.is_object()) refuse("logit_bias", "expected an object of token ids and numbers");
  for (const auto& [key, value] : bias.items()) {
    const bool digits =
        !key.empty() && key.size() < 10 &&
        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || std::stol(key) >= served.tokenizer.vocab_size() || !value.is_number() ||
        std::abs(value.get<double>()) > 100)
      refuse("logit_bias",
             fmt::format("expected token ids with numbers from -100 to 100, found \"{}\": {}", key,
                         value.dump()));
    rule.logit_bias[static_cast<int32_t>(std::stol(key))] = value.get<float>();
  }
}

// vLLM's: texts that are never written, at a text's start or behind a space.
void read_bad_words(Fields& fields, const Served& served, TokenRule& rule) {
  for (const std::string& word : texts(fields.take("bad_words"), "bad_words")) {
    if (word.empty()) refuse("bad_words", "an empty word would forbid every token");
    for (const char* before : {"", " "}) {
      const std::vector<int32_t> tokens = served.tokenizer.encode(before + word);
      if (!tokens.empty()) rule.bad_words.push_back(tokens);
    }
  }
}

// What both kinds of request share.
void read_common(Fields& fields, const Served& served, uint64_t seed, ApiRequest& request) {
  const Json model = fields.take("model");
  if (!model.is_null() && model != served.name) {
    throw ApiError{.status = 404,
                   .message = fmt::format("there is no model {}: this server has '{}'",
                                          model.dump(), served.name),
                   .param = "model",
                   .code = "model_not_found"};
  }
  SampleOptions& options = request.options;
  TokenRule& rule = options.rule;
  rule.temperature = fields.number("temperature", 1, 0, 100);
  if (rule.temperature > 0 && rule.temperature < kTemperatureMin)
    refuse("temperature",
           fmt::format("expected 0, which is greedy, or a number of at least {}, found {}",
                       kTemperatureMin, rule.temperature));
  rule.top_p = fields.number("top_p", 1, 0, 1);
  rule.top_k = std::max<int64_t>(fields.integer("top_k", -1, INT32_MAX).value_or(0), 0);
  rule.min_p = fields.number("min_p", 0, 0, 1);
  rule.repetition_penalty = fields.number("repetition_penalty", 1, 0.01, 100);
  rule.presence_penalty = fields.number("presence_penalty", 0, -2, 2);
  rule.frequency_penalty = fields.number("frequency_penalty", 0, -2, 2);
  read_bias(fields, served, rule);
  read_bad_words(fields, served, rule);
  read_stops(fields, served, options);
  options.num_generations = fields.integer("n", 1, served.sequences_max).value_or(1);
  options.min_completion_length = fields.integer("min_tokens", 0, served.context).value_or(0);
  options.ignore_eos = fields.flag("ignore_eos");
  options.skip_special_tokens = fields.flag("skip_special_tokens", true);
  const auto asked = fields.integer("seed", std::numeric_limits<int64_t>::min(),
                                    std::numeric_limits<int64_t>::max());
  options.seed = asked ? static_cast<uint64_t>(*asked) : seed;
  request.streams = fields.flag("stream");
  request.returns_token_ids = fields.flag("return_token_ids");
  const Json stream_options = fields.take("stream_options");
  if (!stream_options.is_null() && !stream_options.is_object())
    refuse("stream_options", "expected an object");
  if (stream_options.is_object()) {
    const auto asks = stream_options.find("include_usage");
    request.includes_usage =
        asks != stream_options.end() && boolean(*asks, "stream_options.include_usage", false);
  }
  fields.ignore(
      {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"});
}

// The tokens that are left for a completion, or an error that says why there are none.
void fit_context(const Served& served, std::optional<int64_t> asked, int64_t otherwise,
                 ApiRequest& request) {
  int64_t longest = 0;
  for (const data::Prompt& prompt : request.prompts) {
    if (prompt.token_ids.empty()) refuse("prompt", "expected at least one token");
    longest = std::max(longest, static_cast<int64_t>(prompt.token_ids.size()));
  }
  const auto sequences =
      static_cast<int64_t>(request.prompts.size()) * request.options.num_generations;
  if (sequences > served.sequences_max)
    refuse("n", fmt::format("{} prompts times n are {} completions, at most {} are allowed",
                            request.prompts.size(), sequences, served.sequences_max));
  const int64_t room = served.context - longest;
  const int64_t limit =
      served.completion_tokens_max > 0 ? std::min(room, served.completion_tokens_max) : room;
  if (room <= 0 || asked.value_or(1) > limit) {
    throw ApiError{.status = 400,
                   .message = fmt::format("the model's context is {} tokens and the prompt has {}: "
                                          "{} are left, {} were asked for",
                                          served.context, longest, std::max<int64_t>(limit, 0),
                                          asked.value_or(1)),
                   .param = request.is_chat ? "messages" : "prompt",
                   .code = "context_length_exceeded"};
  }
  // A default that the cache cannot hold would refuse every request that names no length.
  const int64_t cached =
      served.sequence_tokens_max > 0 ? served.sequence_tokens_max - longest : limit;
  request.options.max_completion_length =
      asked.value_or(std::max<int64_t>(1, std::min({otherwise, limit, cached})));
}

std::vector<data::Prompt> read_prompts(const Json& given, const Served& served) {
  std::vector<data::Prompt> prompts;
  const auto add = [&](const Json& item) {
    data::Prompt prompt;
    prompt.id = "request";  // the seed alone decides what is sampled
    if (item.is_string()) {
      prompt.text = item.get<std::string>();
      prompt.token_ids = served.tokenizer.encode(prompt.text, true);
    } else if (item.is_array()) {
      prompt.token_ids = token_ids(item, "prompt", served);
    } else {
      refuse("prompt",
             "expected a string, a list of strings, a list of token ids, or a list of such lists");
    }
    prompts.push_back(std::move(prompt));
  };
  const bool is_list = given.is_array() && !given.empty() && !given[0].is_number();
  if (static_cast<int64_t>(is_list ? given.size() : 1) > served.sequences_max)
    refuse("prompt", fmt::format("at most {} prompts", served.sequences_max));
  if (is_list) {
    for (const Json& item : given) add(item);
  } else {
    add(given);
  }
  return prompts;
}

}  // namespace

std::string error_json(const ApiError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  const Json body = {{"error",
                      {{"message", error.message},
                       {"type", error.type},
                       {"param", or_null(error.param)},
                       {"code", or_null(error.code)}}}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

ApiRequest read_completions(const std::string& body, const Served& served, uint64_t seed) {
  Fields fields(body);
  ApiRequest request;
  read_common(fields, served, seed, request);
  request.num_top_logprobs = fields.integer("logprobs", 0, kTopLogprobsMax);
  auto max_tokens = fields.integer("max_tokens", 0, INT32_MAX);
  const Json prompt = fields.take("prompt");
  request.echoes = fields.flag("echo");
  if (request.echoes && request.streams) refuse("echo", "is not supported with stream");
  request.scores_only = max_tokens == 0;
  if (request.scores_only && !request.echoes)
    refuse("max_tokens", "expected at least 1 (0 goes with echo: true)");
  if (request.scores_only) max_tokens = 1;  // drawn from the logits that the prompt leaves
  fields.only("suffix", {""}, "");
  fields.only("best_of", {1, request.options.num_generations}, ": use n");
  fields.finish();
  request.prompts = read_prompts(prompt, served);
  fit_context(served, max_tokens, 16, request);  // 16 is OpenAI's default
  return request;
}

namespace {

// OpenAI's lists of parts become the text that chat templates expect, as vLLM joins them.
void join_parts(Json& messages) {
  if (!messages.is_array()) return;
  for (Json& message : messages) {
    if (!message.is_object() || !message.contains("content") || !message["content"].is_array())
      continue;
    std::string text;
    for (const Json& part : message["content"]) {
      const bool is_text = part.is_object() && part.value("type", Json()) == "text" &&
                           part.value("text", Json()).is_string();
      if (!is_text) refuse("messages", "a part of a message that is no text is not supported");
      text += (text.empty() ? "" : "\n") + part["text"].get<std::string>();
    }
    message["content"] = text;
  }
}

}  // namespace

ApiRequest read_chat(const std::string& body, const Served& served, uint64_t seed) {
  if (!served.chat) {
    throw ApiError{.status = 400,
                   .message =
                       "the model has no chat template: use /v1/completions, or give the folder a "
                       "chat_template.jinja"};
  }
  Fields fields(body);
  ApiRequest request;
  request.is_chat = true;
  read_common(fields, served, seed, request);
  const bool logprobs = fields.flag("logprobs");
  const auto top = fields.integer("top_logprobs", 0, kTopLogprobsMax);
  if (top && !logprobs) refuse("top_logprobs", "needs logprobs: true");
  if (logprobs) request.num_top_logprobs = top.value_or(0);
  const auto max_tokens = fields.integer("max_tokens", 1, INT32_MAX),
             max_completion = fields.integer("max_completion_tokens", 1, INT32_MAX);
  policy::ChatOptions options;
  Json messages = fields.take("messages");
  join_parts(messages);
  options.tools = fields.take("tools");
  options.documents = fields.take("documents");
  const Json variables = fields.take("chat_template_kwargs");
  if (!variables.is_null() && !variables.is_object())
    refuse("chat_template_kwargs", "expected an object");
  if (variables.is_object()) options.variables = variables;
  if (fields.flag("continue_final_message")) options.continue_final_message = "content";
  options.add_generation_prompt =
      fields.flag("add_generation_prompt", options.continue_final_message.empty());
  fields.only("tool_choice", {"auto", "none"}, "");
  fields.only("response_format", {Json::object({{"type", "text"}})}, ": only text");
  fields.only("modalities", {Json::array({"text"})}, ": only text");
  fields.ignore({"parallel_tool_calls", "reasoning_effort", "verbosity"});
  fields.finish();
  data::Prompt prompt;
  prompt.id = "request";
  prompt.text = served.chat->render(messages, options).text;
  prompt.token_ids = served.tokenizer.encode(prompt.text);
  request.prompts.push_back(std::move(prompt));
  fit_context(served, max_completion ? max_completion : max_tokens, served.context, request);
  return request;
}

}  // namespace ponder::rollout::serve
