#include "recipes/render.h"

#include <utility>

#include "core/error.h"
#include "policy/chat_template.h"

namespace ponder::recipes {
namespace {

using data::Json;

// For tasks and models without a chat template: the form of the demo's prompts.
constexpr const char* kPlainTemplate = "User: {prompt}\nAssistant:";

std::string replaced(std::string text, const std::string& name, const std::string& value) {
  for (size_t at = text.find(name); at != std::string::npos;
       at = text.find(name, at + value.size()))
    text.replace(at, name.size(), value);
  return text;
}

std::string text_of(const Json& message) {
  const Json& content = message.at("content");
  return content.is_string() ? content.get<std::string>() : content.dump();
}

Json message(const char* role, const std::string& content) {
  Json out = Json::object();
  out["role"] = role;
  out["content"] = content;
  return out;
}

// The last message of that role; "" where there is none.
std::string last_of(const Json& messages, const char* role) {
  std::string text;
  for (const Json& one : messages) {
    if (one.at("role") == role) text = text_of(one);
  }
  return text;
}

}  // namespace

RenderChat chat_template_of(const std::filesystem::path& model_folder) {
  if (!policy::ChatTemplate::exists(model_folder)) return {};
  return [chat = policy::ChatTemplate::load(model_folder)](const Json& messages) {
    policy::ChatOptions options;
    options.add_generation_prompt = true;
    return chat.render(policy::OrderedJson::parse(messages.dump()), options).text;
  };
}

Renderer::Renderer(const DatasetOptions& options, const policy::Tokenizer& tokenizer,
                   RenderChat chat)
    : options_(options), tokenizer_(tokenizer), chat_(std::move(chat)) {
  if (!options.prompt_template.empty() &&
      options.prompt_template.find("{prompt}") == std::string::npos) {
    core::throw_user("dataset.prompt_template: expected {{prompt}} in it, found '{}'",
                     options.prompt_template);
  }
}

std::string Renderer::fill_template(const Json& messages) const {
  const std::string& form =
      options_.prompt_template.empty() ? kPlainTemplate : options_.prompt_template;
  // The prompt last: what stands in it is not replaced.
  return replaced(replaced(form, "{system}", last_of(messages, "system")), "{prompt}",
                  last_of(messages, "user"));
}

data::Prompt Renderer::render(data::Problem problem, bool is_question) const {
  data::Prompt prompt = std::move(problem.prompt);
  Json messages = std::move(problem.messages);
  const bool plain = messages.is_null() && !is_question && options_.system_prompt.empty() &&
                     options_.prompt_template.empty();
  // Plain text gets what the tokenizer puts around a text (a BOS token), as in transformers and
  // TRL; a chat template writes its own.
  if (plain) {
    prompt.token_ids = tokenizer_.encode(prompt.text, true);
    return prompt;
  }
  const bool conversation = !messages.is_null();
  if (messages.is_null()) {
    messages = Json::array();
    messages.push_back(message("user", prompt.text));
  }
  if (!options_.system_prompt.empty() && messages.at(0).at("role") != "system")
    messages.insert(messages.begin(), message("system", options_.system_prompt));
  // Rewards written for TRL take a conversation of the data set as messages, its completions too.
  if (conversation) prompt.columns["prompt"] = messages;
  if (!options_.prompt_template.empty() || (!chat_ && is_question)) {
    prompt.text = fill_template(messages);
    prompt.token_ids = tokenizer_.encode(prompt.text, true);
    return prompt;
  }
  if (!chat_) {
    core::throw_user(
        "prompt '{}' is messages, but the model has no chat template: set dataset.prompt_template "
        "(\"User: {{prompt}}\\nAssistant:\")",
        prompt.id);
  }
  prompt.text = chat_(messages);
  prompt.token_ids = tokenizer_.encode(prompt.text);
  return prompt;
}

}  // namespace ponder::recipes
