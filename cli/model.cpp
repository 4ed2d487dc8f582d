#include "policy/model.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include <ATen/ATen.h>

#include "cli/commands.h"
#include "cli/model_convert.h"
#include "cli/model_inspect.h"
#include "core/error.h"
#include "core/json_text.h"
#include "core/spelling.h"
#include "policy/chat_template.h"
#include "policy/ops.h"
#include "policy/peft_folder.h"
#include "policy/tokenizer.h"

namespace ponder::cli {
namespace {

using json = nlohmann::ordered_json;  // a chat template prints objects in their order

struct ModelRequest {
  std::filesystem::path model, adapter;
  std::string input = "-";
  std::string dtype = "float32";
  bool special = false;
  bool decode = false;
  bool chat = false;
};

// One line of a JSONL file, an object that says no key twice (nlohmann would keep one silently).
json parse_line(const std::string& line, const std::string& where) {
  if (line.find_first_not_of(" \t\r") == std::string::npos)
    core::throw_user("{}: an empty line: expected a JSON object", where);
  std::set<std::string> seen;
  std::string twice;
  const json object =
      core::parse_json<json>(line, where, [&](int depth, json::parse_event_t event, json& value) {
        if (event == json::parse_event_t::key && depth == 1 &&
            !seen.insert(value.get<std::string>()).second)
          twice = value.get<std::string>();
        return true;
      });
  if (!object.is_object())
    core::throw_user("{}: expected a JSON object, found {}", where, object.type_name());
  if (!twice.empty()) core::throw_user("{}: the key '{}' is given twice", where, twice);
  return object;
}

// Calls answer(object, "file:line") for each JSON object and prints what it returns, a line each.
void for_each_line(const std::string& input,
                   const std::function<json(const json&, const std::string&)>& answer) {
  std::ifstream file;
  if (input != "-") {
    file.open(input);
    if (!file || std::filesystem::is_directory(input))
      core::throw_user("cannot read the input {}: expected a JSONL file", input);
  }
  std::istream& lines = input == "-" ? std::cin : file;
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    const std::string where = fmt::format("{}:{}", input == "-" ? "stdin" : input, number);
    const json object = parse_line(line, where);
    fmt::print("{}\n", answer(object, where).dump(-1, ' ', false, json::error_handler_t::replace));
  }
  if (lines.bad()) core::throw_run("cannot read the input {} to its end", input);
}

// A value as an error message shows it.
std::string shown(const json& value) {
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= 60 ? text : fmt::format("{} of {} bytes", value.type_name(), text.size());
}

const json& field(const json& object, const char* key, const std::string& where) {
  if (const auto found = object.find(key); found != object.end()) return *found;
  std::vector<std::string> keys;
  for (const auto& [name, value] : object.items()) keys.push_back(name);
  const std::string near = core::nearest_name(key, keys);
  core::throw_user("{}: there is no key '{}'{}", where, key,
                   near.empty() ? "" : fmt::format(", is '{}' meant?", near));
}

std::vector<int64_t> tokens_of(const json& object, const std::string& where, int64_t vocabulary) {
  const json& list = field(object, "tokens", where);
  if (!list.is_array())
    core::throw_user("{}: tokens: expected a list of token ids, found {}", where, shown(list));
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < list.size(); ++i) {
    const json& token = list[i];
    // Whole numbers beyond int64's are held unsigned.
    const bool fits = token.is_number_integer() &&
                      (!token.is_number_unsigned() ||
                       token.get<uint64_t>() < static_cast<uint64_t>(vocabulary)) &&
                      token.get<int64_t>() >= 0 && token.get<int64_t>() < vocabulary;
    if (!fits) {
      core::throw_user("{}: tokens[{}]: expected a token id from 0 to {}, found {}", where, i,
                       vocabulary - 1, shown(token));
    }
    tokens.push_back(token.get<int64_t>());
  }
  return tokens;
}

void run_logprobs(const ModelRequest& request) {
  policy::Model model =
      policy::Model::load(request.model, request.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat);
  if (!request.adapter.empty()) policy::load_lora(model, request.adapter);
  const at::NoGradGuard no_grad;
  for_each_line(request.input, [&](const json& object, const std::string& where) -> json {
    const std::vector<int64_t> tokens = tokens_of(object, where, model.config().vocab_size);
    const auto count = static_cast<int64_t>(tokens.size());
    if (count < 2) return {{"logprobs", json::array()}};
    const at::Tensor ids = at::tensor(tokens);
    const at::Tensor hidden =
        model.forward({ids, at::arange(count, at::kLong), {0, static_cast<int32_t>(count)}});
    const at::Tensor logprobs =
        policy::token_logprobs(hidden.narrow(0, 0, count - 1), model.output_weight(),
                               ids.narrow(0, 1, count - 1), 1.0)
            .logprobs;
    const float* data = logprobs.const_data_ptr<float>();
    const auto* bad =
        std::find_if_not(data, data + count - 1, [](float x) { return std::isfinite(x); });
    if (bad != data + count - 1) {
      core::throw_run(
          "{}: the model's logits are not finite at tokens[{}]: its weights or its config.json are "
          "damaged",
          where, bad - data);
    }
    return {{"logprobs", std::vector<float>(data, data + count - 1)}};
  });
}

policy::ChatOptions chat_options(const json& line, const std::string& where) {
  policy::ChatOptions options;
  options.add_generation_prompt = true;
  for (const auto& [key, value] : line.items()) {
    if (key == "messages") continue;
    if (key == "tools") {
      options.tools = value;
    } else if (key == "documents") {
      options.documents = value;
    } else if (key == "add_generation_prompt" && value.is_boolean()) {
      options.add_generation_prompt = value.get<bool>();
    } else if (key == "continue_final_message" && value.is_boolean()) {
      options.continue_final_message = value.get<bool>() ? "content" : "";
      options.add_generation_prompt &= !value.get<bool>();
    } else if (key == "chat_template_kwargs" && value.is_object()) {
      options.variables = value;
    } else {
      core::throw_user(
          "{}: '{}': expected messages, tools, documents, add_generation_prompt (true or false), "
          "continue_final_message (true or false) or chat_template_kwargs (an object)",
          where, key);
    }
  }
  return options;
}

void run_tokenize_chat(const ModelRequest& request) {
  const policy::Tokenizer tokenizer = policy::Tokenizer::from_folder(request.model);
  const policy::ChatTemplate chat = policy::ChatTemplate::load(request.model);
  for_each_line(request.input, [&](const json& line, const std::string& where) -> json {
    const json& messages = field(line, "messages", where);
    const std::string text = chat.render(messages, chat_options(line, where)).text;
    return {{"text", text}, {"tokens", tokenizer.encode(text)}};
  });
}

void run_tokenize(const ModelRequest& request) {
  if (request.chat) return run_tokenize_chat(request);
  const policy::Tokenizer tokenizer = policy::Tokenizer::from_folder(request.model);
  for_each_line(request.input, [&](const json& object, const std::string& where) -> json {
    if (request.decode) {
      const std::vector<int64_t> tokens = tokens_of(object, where, tokenizer.vocab_size());
      return {{"text", tokenizer.decode(std::vector<int32_t>(tokens.begin(), tokens.end()))}};
    }
    const json& text = field(object, "text", where);
    if (!text.is_string())
      core::throw_user("{}: text: expected a string, found {}", where, shown(text));
    return {{"tokens", tokenizer.encode(text.get_ref<const std::string&>(), request.special)}};
  });
}

}  // namespace

void add_model(CLI::App& app) {
  auto request = std::make_shared<ModelRequest>();
  CLI::App* model = app.add_subcommand(
      "model", "look at a model, or convert one: inspect, logprobs, tokenize, convert");
  model->require_subcommand(1);
  model->footer("Example:\n  ponder model inspect --model examples/tiny-v3-base");
  const auto add = [&](const char* name, const char* doc, void (*run)(const ModelRequest&)) {
    CLI::App* verb = model->add_subcommand(name, doc);
    verb->add_option("--model", request->model, "a Hugging Face folder")->required();
    verb->callback([request, run] { run(*request); });
    return verb;
  };
  add_model_inspect(*model);
  CLI::App* logprobs = add(
      "logprobs", "{\"tokens\"} lines to {\"logprobs\"} lines: log p of each token but the first",
      run_logprobs);
  logprobs->add_option("--input", request->input, "a JSONL file, - for stdin")
      ->capture_default_str();
  logprobs->add_option("--dtype", request->dtype, "of weights and activations")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  logprobs->add_option("--adapter", request->adapter,
                       "a LoRA adapter's folder, as ponder and PEFT save it");
  logprobs->footer(
      "A line of n tokens gives n - 1 numbers: none for one token or for none.\n"
      "Example:\n  echo '{\"tokens\": [5, 6, 7]}' | ponder model logprobs --model "
      "examples/tiny-v3-base");
  CLI::App* tokenize =
      add("tokenize", "{\"text\"} lines to {\"tokens\"} lines, or back", run_tokenize);
  tokenize->add_option("--input", request->input, "a JSONL file, - for stdin")
      ->capture_default_str();
  tokenize->add_flag("--special", request->special,
                     "add the special tokens of the tokenizer's template");
  CLI::Option* decode =
      tokenize->add_flag("--decode", request->decode, "{\"tokens\"} lines to {\"text\"} lines");
  tokenize
      ->add_flag("--chat", request->chat,
                 "{\"messages\"} lines through the chat template to {\"text\", \"tokens\"} lines")
      ->excludes(decode);
  tokenize->footer(
      "Example:\n  echo '{\"text\": \"7+5=12\"}' | ponder model tokenize --model "
      "examples/tiny-v3-base");
  add_model_convert(*model);
}

}  // namespace ponder::cli
