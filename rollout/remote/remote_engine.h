// Completions from any server that speaks OpenAI's completions API: vLLM, SGLang, llama.cpp,
// `ponder serve`. The server's weights are its own: nobody sends it the trainer's, so what it
// samples is off-policy by as much as they differ, which the importance correction of the loss is
// for.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/http_client.h"
#include "policy/tokenizer.h"
#include "rollout/generator.h"

namespace ponder::rollout::remote {

struct RemoteOptions {
  core::ClientOptions client;
  std::string model;             // as the server calls it; empty: not sent
  int64_t concurrency = 32;      // requests under way at once, one a completion
  bool prompts_as_text = false;  // for servers that take no token ids (llama.cpp's)
};

// One choice of an answer as a completion. Token ids are taken from `token_ids` (vLLM and ponder),
// from "token_id:N" texts (vLLM), or else from the tokens' texts where the vocabulary has just one
// token of each; log- probs from `token_logprobs` or logprobs.token_logprobs. Throws RunError,
// naming what is missing.
class ChoiceReader {
 public:
  explicit ChoiceReader(const policy::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  data::Completion read(const nlohmann::json& choice);

 private:
  std::vector<int32_t> ids_of(const nlohmann::json& choice);
  int32_t id_of(const std::string& text);

  const policy::Tokenizer& tokenizer_;
  std::map<std::string, std::pair<int32_t, int>>
      by_text_;  // id, how many have the text; filled at first use
};

class RemoteEngine : public Generator {
 public:
  // REQUIRES: the tokenizer, which is the server's too, outlives it.
  RemoteEngine(const policy::Tokenizer& tokenizer, const RemoteOptions& options);

  // A sample's randomness is the server's: its seed is made of (seed, prompt id, round, sample).
  // Throws UserError where the server refuses a request, RunError where it does not answer or its
  // answer lacks what training needs.
  std::vector<data::Group> generate(const std::vector<data::Prompt>& prompts,
                                    const SampleOptions& options, int64_t policy_version,
                                    const OnCompletion& on_completion) override;

  // The request's body for one completion.
  std::string request_body(const data::Prompt& prompt, const SampleOptions& options,
                           size_t sample) const;

 private:
  const policy::Tokenizer& tokenizer_;
  RemoteOptions options_;
};

}  // namespace ponder::rollout::remote
