#include "policy/chat_template.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "policy/jinja/characters.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefault = "default";
constexpr const char* kTag = "CONTINUE_FINAL_MESSAGE_TAG ";  // transformers' own
// Names that a message's reasoning goes by; templates read the first.
constexpr const char* kReasoningFields[] = {"reasoning_content", "thinking", "reasoning"};

OrderedJson read_json(const fs::path& path) {
  if (!fs::exists(path)) return OrderedJson::object();
  auto json =
      core::parse_json<OrderedJson>(core::read_file(path, "tokenizer's file"), path.string());
  if (!json.is_object()) core::throw_user("{}: expected a JSON object", path.string());
  return json;
}

// The text of "<s>" or {"content": "<s>"}; null for what is no token.
OrderedJson token_text(const OrderedJson& token) {
  if (token.is_string()) return token;
  if (token.is_object() && token.contains("content") && token["content"].is_string())
    return token["content"];
  return nullptr;
}

void add_tokens(const OrderedJson& source, bool any_name, OrderedJson& into) {
  for (const auto& [name, token] : source.items()) {
    const OrderedJson text = token_text(token);
    if (!text.is_null() && (any_name || name.ends_with("_token"))) into[name] = text;
  }
}

OrderedJson special_tokens_of(const fs::path& folder) {
  OrderedJson tokens = OrderedJson::object();
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const OrderedJson json = read_json(folder / file);
    add_tokens(json, false, tokens);
    if (json.contains("extra_special_tokens") && json["extra_special_tokens"].is_object())
      add_tokens(json["extra_special_tokens"], true, tokens);
  }
  return tokens;
}

struct Source {
  std::string name, text, where;
};

std::vector<Source> sources_in_config(const fs::path& folder) {
  const fs::path path = folder / "tokenizer_config.json";
  const OrderedJson config = read_json(path);
  if (!config.contains("chat_template") || config["chat_template"].is_null()) return {};
  const OrderedJson& given = config["chat_template"];
  const std::string where = path.string() + ": chat_template";
  if (given.is_string()) return {{kDefault, given.get<std::string>(), where}};
  std::vector<Source> sources;
  for (const OrderedJson& entry : given.is_array() ? given : OrderedJson::array()) {
    const bool is_named = entry.is_object() && entry.contains("name") &&
                          entry["name"].is_string() && entry.contains("template") &&
                          entry["template"].is_string();
    if (!is_named)
      core::throw_user("{}: expected objects with name and template, found {}", where,
                       entry.dump());
    const auto name = entry["name"].get<std::string>();
    sources.push_back({name, entry["template"].get<std::string>(), where + " '" + name + "'"});
  }
  if (sources.empty()) core::throw_user("{}: expected a text or a list of named templates", where);
  return sources;
}

std::vector<Source> sources_in_files(const fs::path& folder) {
  std::vector<Source> sources;
  const auto add = [&](const std::string& name, const fs::path& path) {
    sources.push_back({name, core::read_file(path, "chat template"), path.string()});
  };
  if (fs::exists(folder / "chat_template.jinja")) add(kDefault, folder / "chat_template.jinja");
  const fs::path more = folder / "chat_templates";
  if (!fs::is_directory(more)) return sources;
  for (const auto& entry : fs::directory_iterator(more)) {
    if (entry.path().extension() == ".jinja") add(entry.path().stem().string(), entry.path());
  }
  return sources;
}

std::vector<Source> sources_of(const fs::path& folder) {
  std::vector<Source> sources = sources_in_files(folder);
  return sources.empty() ? sources_in_config(folder) : sources;
}

// As transformers gives messages to a template: nulls dropped, reasoning under its usual names.
OrderedJson normalized(const OrderedJson& messages) {
  if (!messages.is_array() || messages.empty())
    core::throw_user("a chat needs a list of at least one message, found {}",
                     messages.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
  OrderedJson out = OrderedJson::array();
  for (const OrderedJson& message : messages) {
    if (!message.is_object())
      core::throw_user("message {} of the chat: expected an object with role and content, found {}",
                       out.size() + 1, message.type_name());
    OrderedJson kept = OrderedJson::object(), reasoning;
    for (const char* field : kReasoningFields) {
      if (reasoning.is_null() && message.contains(field)) reasoning = message[field];
    }
    if (!reasoning.is_null()) kept["thinking"] = reasoning;
    for (const auto& [key, value] : message.items()) {
      if (!value.is_null()) kept[key] = value;
    }
    if (!reasoning.is_null()) kept["reasoning_content"] = reasoning;
    out.push_back(std::move(kept));
  }
  return out;
}

// Marks the end of the last message's `field`, and gives the text that is to be continued.
std::string mark_end(OrderedJson& messages, const std::string& field, const std::string& source) {
  OrderedJson& last = messages.back();
  if (!last.contains(field))
    core::throw_user("continue_final_message: the last message has no '{}' to continue", field);
  const OrderedJson original = last[field];
  std::vector<std::string> fields = {field};
  if (std::find(std::begin(kReasoningFields), std::end(kReasoningFields), field) !=
      std::end(kReasoningFields)) {
    fields.clear();
    for (const char* name : kReasoningFields) {
      if (last.contains(name) && last[name] == original) fields.emplace_back(name);
    }
  }
  const bool is_known = std::any_of(fields.begin(), fields.end(), [&](const std::string& name) {
    return source.find(name) != std::string::npos;
  });
  if (!is_known)
    core::throw_user("continue_final_message: the template does not know the field '{}'", field);
  if (original.is_array()) {
    for (auto block = last[field].rbegin(); block != last[field].rend(); ++block) {
      if (!block->is_object() || !block->contains("text") || !(*block)["text"].is_string())
        continue;
      const auto text = (*block)["text"].get<std::string>();
      (*block)["text"] = text + kTag;
      return text;
    }
  }
  if (!original.is_string())
    core::throw_user("continue_final_message: '{}' of the last message holds no text to continue",
                     field);
  for (const std::string& name : fields) last[name] = original.get<std::string>() + kTag;
  return original.get<std::string>();
}

std::string cut_at_mark(std::string text, const std::string& continued, const std::string& where) {
  const std::string tag = kTag, bare = tag.substr(0, tag.size() - 1);
  const size_t at = text.rfind(bare);
  const std::string_view body = jinja::strip(continued, jinja::Side::kBoth);
  if (at == std::string::npos || text.find(body) == std::string::npos)
    core::throw_user(
        "{}: continue_final_message: the last message does not appear in the rendered chat", where);
  const bool keeps_spaces = text.compare(at, tag.size(), tag) == 0;
  text.resize(at);
  return keeps_spaces ? text : std::string(jinja::strip(text, jinja::Side::kRight));
}

}  // namespace

bool ChatTemplate::exists(const fs::path& folder) {
  return !sources_of(folder).empty();
}

ChatTemplate ChatTemplate::load(const fs::path& folder) {
  const std::vector<Source> sources = sources_of(folder);
  if (sources.empty()) {
    core::throw_user(
        "{}: the model has no chat template: expected chat_template.jinja, or chat_template in "
        "tokenizer_config.json",
        folder.string());
  }
  ChatTemplate out;
  out.special_tokens_ = special_tokens_of(folder);
  for (const Source& source : sources)
    out.templates_.emplace(source.name, Named{source.text, source.where,
                                              jinja::Template::parse(source.text, source.where)});
  return out;
}

ChatTemplate ChatTemplate::from_text(std::string source, std::string where,
                                     const fs::path& folder) {
  ChatTemplate out;
  out.special_tokens_ = special_tokens_of(folder);
  jinja::Template parsed = jinja::Template::parse(source, where);
  out.templates_.emplace(kDefault, Named{std::move(source), std::move(where), std::move(parsed)});
  return out;
}

const ChatTemplate::Named& ChatTemplate::choose(const ChatOptions& options) const {
  std::string names;
  for (const auto& [name, unused] : templates_) names += (names.empty() ? "" : ", ") + name;
  const auto wanted = [&](const std::string& name) { return templates_.find(name); };
  if (!options.template_name.empty()) {
    if (wanted(options.template_name) == templates_.end())
      core::throw_user("no chat template is named '{}' (there is: {})", options.template_name,
                       names);
    return wanted(options.template_name)->second;
  }
  if (!options.tools.is_null() && wanted("tool_use") != templates_.end())
    return wanted("tool_use")->second;
  if (wanted(kDefault) == templates_.end())
    core::throw_user("the model has several chat templates and none is the default: name one of {}",
                     names);
  return wanted(kDefault)->second;
}

jinja::Rendered ChatTemplate::render(const OrderedJson& messages,
                                     const ChatOptions& options) const {
  const Named& chosen = choose(options);
  const bool continues = !options.continue_final_message.empty();
  if (continues && options.add_generation_prompt)
    core::throw_user("continue_final_message and add_generation_prompt exclude each other");
  OrderedJson chat = normalized(messages);
  const std::string continued =
      continues ? mark_end(chat, options.continue_final_message, chosen.source) : "";
  OrderedJson globals = special_tokens_;
  for (const auto& [name, value] : options.variables.items()) globals[name] = value;
  globals["messages"] = std::move(chat);
  globals["tools"] = options.tools;
  globals["documents"] = options.documents;
  globals["add_generation_prompt"] = options.add_generation_prompt;
  jinja::Rendered rendered =
      chosen.parsed.render(globals, options.now.value_or(std::time(nullptr)));
  if (continues) rendered.text = cut_at_mark(std::move(rendered.text), continued, chosen.where);
  return rendered;
}

}  // namespace ponder::policy
