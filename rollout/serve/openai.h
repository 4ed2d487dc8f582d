// The words of OpenAI's API: requests in, answers out, as pure functions of JSON. What vLLM adds to
// it and training needs (token ids in and out, top_k, min_p, ...) has vLLM's names. Knows nothing
// of HTTP.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "policy/chat_template.h"
#include "policy/tokenizer.h"
#include "rollout/engine.h"

namespace ponder::rollout::serve {

using Json = nlohmann::ordered_json;

// What a request is read against.
struct Served {
  std::string name;  // of the model
  const policy::Tokenizer& tokenizer;
  std::optional<policy::ChatTemplate> chat;
  int64_t context = 0;                // tokens
  int64_t sequences_max = 128;        // of one request: prompts times n
  int64_t completion_tokens_max = 0;  // of one completion; 0: the context
  int64_t sequence_tokens_max = 0;  // prompt and completion, by the engine's cache; 0: the context
  int64_t created = 0;              // of the model, seconds since 1970, told to clients
};

// A request that is answered with an error: the status and OpenAI's four fields.
struct ApiError {
  int status;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param = {};  // empty: null
  std::string code = {};   // empty: null
};
std::string error_json(const ApiError& error);

struct ApiRequest {
  bool is_chat = false;
  std::vector<data::Prompt> prompts;  // encoded
  SampleOptions options;
  std::optional<int64_t> num_top_logprobs;
  bool streams = false, includes_usage = false, returns_token_ids = false;
  bool echoes = false;       // the prompt is told again, with its log-probs where asked for
  bool scores_only = false;  // no completion is wanted: what is sampled all the same is dropped
};

// The bodies of POST /v1/completions and /v1/chat/completions. `seed` where the client gives none.
// Throw ApiError, or UserError of the chat template.
ApiRequest read_completions(const std::string& body, const Served& served, uint64_t seed);
ApiRequest read_chat(const std::string& body, const Served& served, uint64_t seed);

// Where each token of a text begins, in characters; one that ends no character begins where the
// character will.
class TextPlaces {
 public:
  TextPlaces(const policy::Tokenizer& tokenizer, bool skip_special_tokens)
      : decoder_(tokenizer, skip_special_tokens) {}
  size_t next(int32_t token);

 private:
  policy::StreamDecoder decoder_;
  size_t characters_ = 0;
};

// Turns what the engine says of one request into the answer. Not for several threads at once.
class Answer {
 public:
  Answer(const ApiRequest& request, const Served& served, std::string id);

  // A piece of a stream; empty where there is nothing to say yet.
  std::vector<std::string> begin_events() const;
  void on_prompt(size_t prompt, const std::vector<TopLogprobs>& scores) {
    prompt_scores_[prompt] = scores;
  }
  std::vector<std::string> token_events(size_t prompt, const TokenEvent& event);
  // A completion has ended. Gives the events that follow from it.
  std::vector<std::string> end_events(size_t prompt, size_t sample,
                                      const data::Completion& completion);
  bool complete() const { return left_ == 0; }
  bool aborted() const { return aborted_; }  // some completion was

  // The whole answer, once complete.
  std::string whole() const;

 private:
  struct Choice {
    data::Completion completion = {};
    std::vector<TopLogprobs> logprobs = {};
    size_t text_bytes = 0;  // streamed so far
    TextPlaces places;      // of the stream's tokens
  };
  TextPlaces places() const;
  Json frame(const char* object) const;
  Json choice(size_t index, const Choice& choice) const;
  Json logprobs(const std::vector<TopLogprobs>& tokens, TextPlaces& places) const;
  Json echoed_logprobs(size_t prompt, const std::vector<TopLogprobs>& tokens) const;
  std::string echoed_text(size_t prompt) const;
  Json usage() const;
  Json delta_event(size_t index, const std::string& text, Json logprobs, const Json& tokens,
                   const Json& finish_reason) const;

  const ApiRequest request_;
  const Served& served_;
  std::string id_;
  int64_t created_;
  std::vector<Choice> choices_;
  std::vector<std::vector<TopLogprobs>> prompt_scores_;
  size_t left_;
  bool aborted_ = false;
};

}  // namespace ponder::rollout::serve
