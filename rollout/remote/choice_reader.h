// A server's answer as a completion. Servers tell the tokens in different ways; whatever they tell
// is checked, since a run would train on it.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/types.h"
#include "policy/tokenizer.h"
#include "rollout/engine.h"

namespace ponder::rollout::remote {

class ChoiceReader {
 public:
  // `url` names the server in errors. REQUIRES: the tokenizer, which is the server's too, outlives
  // it.
  ChoiceReader(const policy::Tokenizer& tokenizer, std::string url)
      : tokenizer_(tokenizer), url_(std::move(url)) {}

  // The one choice of an answer's body.
  nlohmann::json first_choice(const std::string& body) const;

  // Token ids from `token_ids` (vLLM, ponder), `id` in logprobs.content (llama.cpp's llama-server),
  // "token_id:N" texts (vLLM), or the tokens' bytes or texts, where no other token of the
  // vocabulary has the same; log-probs from `token_logprobs`, logprobs.token_logprobs or
  // logprobs.content. Throws RunError that says what is missing or cannot be: ids outside the
  // vocabulary, log-probs above 0 or below -1e4, more tokens than were asked for, fewer than the
  // minimum, a stop token that did not stop.
  data::Completion read(const nlohmann::json& choice, const SampleOptions& options);

 private:
  struct Meaning {
    int32_t id;
    int64_t count;  // of tokens with these bytes or this text
  };
  using Index = std::map<std::string, Meaning>;

  std::vector<int32_t> ids_of(const nlohmann::json& choice);
  int32_t checked_id(const nlohmann::json& id) const;
  int32_t id_in_text(const std::string& text) const;
  int32_t id_of_entry(const nlohmann::json& entry);
  int32_t id_of_text(const std::string& text);
  std::vector<float> logprobs_of(const nlohmann::json& choice) const;
  void check_kept(const data::Completion& completion, const SampleOptions& options) const;
  void index();

  const policy::Tokenizer& tokenizer_;
  std::string url_;
  Index by_bytes_, by_text_;   // filled at first use
  int64_t num_ambiguous_ = 0;  // tokens whose text is another's too
};

}  // namespace ponder::rollout::remote
