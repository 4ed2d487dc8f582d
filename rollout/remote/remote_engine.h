// Completions from any server that speaks OpenAI's completions API: vLLM, SGLang, llama.cpp,
// `ponder serve`. The server's weights are its own: nobody sends it the trainer's, so what it
// samples is off-policy by as much as they differ, which the importance correction of the loss is
// for.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/http_client.h"
#include "policy/tokenizer.h"
#include "rollout/generator.h"

namespace ponder::rollout::remote {

struct RemoteOptions {
  core::ClientOptions client;
  std::string model = {};        // as the server calls it; empty: not sent
  int64_t concurrency = 32;      // requests under way at once, one a completion
  bool prompts_as_text = false;  // for servers that take no token ids (llama.cpp's)
};

class RemoteEngine : public Generator {
 public:
  // REQUIRES: the tokenizer, which is the server's too, outlives it.
  RemoteEngine(const policy::Tokenizer& tokenizer, const RemoteOptions& options);

  // A sample's randomness is the server's: its seed is made of (seed, prompt id, round, sample).
  // Throws UserError for options that no server could be told and where the server refuses a
  // request; RunError where it does not answer, where its answer lacks what training needs
  // (choice_reader.h), and where core::stop_requested() while it has not answered for
  // kStopPatience.
  std::vector<data::Group> generate(const std::vector<data::Prompt>& prompts,
                                    const SampleOptions& options, int64_t policy_version,
                                    const OnCompletion& on_completion) override;

  static constexpr std::chrono::seconds kStopPatience{2};

  // The request's body for one completion. Throws UserError as generate() does.
  std::string request_body(const data::Prompt& prompt, const SampleOptions& options,
                           size_t sample) const;

 private:
  const policy::Tokenizer& tokenizer_;
  RemoteOptions options_;
};

}  // namespace ponder::rollout::remote
