// A model's chat template: messages -> the text that the model was trained to see, equal to
// transformers' apply_chat_template (5.23, tokenize=False). Encode the text without adding special
// tokens: the template writes them.
#pragma once

#include <ctime>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "policy/jinja/template.h"

namespace ponder::policy {

using OrderedJson = nlohmann::ordered_json;  // templates print objects in their order

struct ChatOptions {
  bool add_generation_prompt = false;  // open the assistant's turn, to be sampled
  std::string continue_final_message;  // the last message's field ("content") that is left open
  OrderedJson tools, documents;        // lists of objects, or null
  OrderedJson variables = OrderedJson::object();  // others that the template knows: enable_thinking
  std::string template_name;       // of several ("tool_use"); empty: as transformers picks it
  std::optional<std::time_t> now;  // for strftime_now; none: the present
};

// A cheap handle to immutable templates; may be used by many threads at once.
class ChatTemplate {
 public:
  // Whether load() would find one.
  static bool exists(const std::filesystem::path& folder);

  // chat_template.jinja and chat_templates/*.jinja, or else `chat_template` of
  // tokenizer_config.json (a text, or a list of named ones); bos_token and the like from
  // tokenizer_config.json and special_tokens_map.json. Throws UserError: no template there, broken
  // JSON, broken syntax (with file and line).
  static ChatTemplate load(const std::filesystem::path& folder);

  // One template in place of the folder's, with the folder's special tokens. `where` stands for it
  // in errors.
  static ChatTemplate from_text(std::string source, std::string where,
                                const std::filesystem::path& folder);

  // `messages`: a list of objects, [{"role", "content", ...}]. Throws UserError: no or odd
  // messages, what the template refuses (with its line).
  jinja::Rendered render(const OrderedJson& messages, const ChatOptions& options) const;

 private:
  struct Named {
    std::string source, where;
    jinja::Template parsed;
  };
  const Named& choose(const ChatOptions& options) const;

  std::map<std::string, Named> templates_;
  OrderedJson special_tokens_ = OrderedJson::object();
};

}  // namespace ponder::policy
