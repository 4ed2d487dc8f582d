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
  int64_t created = 0;                // seconds since 1970, told to clients
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
};

// The bodies of POST /v1/completions and /v1/chat/completions. `seed` where the client gives none.
// Throw ApiError, or UserError of the chat template.
ApiRequest read_completions(const std::string& body, const Served& served, uint64_t seed);
ApiRequest read_chat(const std::string& body, const Served& served, uint64_t seed);

// Turns what the engine says of one request into the answer. Not for several threads at once.
class Answer {
 public:
  Answer(const ApiRequest& request, const Served& served, std::string id);

  // A piece of a stream; empty where there is nothing to say yet.
  std::vector<std::string> begin_events() const;
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
    data::Completion completion;
    std::vector<TopLogprobs> logprobs;
    size_t text_bytes = 0;  // streamed so far
    size_t tokens_sent = 0;
  };
  Json frame(const char* object) const;
  Json choice(size_t index, const Choice& choice) const;
  Json logprobs(const std::vector<TopLogprobs>& tokens, size_t first_offset) const;
  Json usage() const;
  Json delta_event(size_t index, const std::string& text, const std::vector<TopLogprobs>& logprobs,
                   size_t offset, const Json& tokens, const Json& finish_reason) const;

  const ApiRequest request_;
  const Served& served_;
  std::string id_;
  std::vector<Choice> choices_;
  size_t left_;
  bool aborted_ = false;
};

}  // namespace ponder::rollout::serve
