#include "data/dataset.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/file.h"

namespace ponder::data {
namespace {

Prompt parse_line(const std::string& line, const std::string& where) {
  Json object;
  try {
    object = Json::parse(line);
  } catch (const Json::exception& error) {
    core::throw_user("{}: broken JSON: {}", where, error.what());
  }
  if (!object.is_object())
    core::throw_user("{}: expected a JSON object, found {}", where, object.type_name());
  if (!object.contains("prompt")) core::throw_user("{}: the key prompt is missing", where);
  if (!object["prompt"].is_string()) {
    core::throw_user("{}: prompt: expected a string, found {}", where,
                     object["prompt"].type_name());
  }
  Prompt prompt;
  prompt.text = object["prompt"].get<std::string>();
  if (object.contains("id"))
    prompt.id = object["id"].is_string() ? object["id"].get<std::string>() : object["id"].dump();
  for (const char* key : {"answer", "solution"}) {
    if (prompt.answer.is_null() && object.contains(key)) prompt.answer = object[key];
  }
  if (object.contains("rewards")) {
    const Json& rewards = object["rewards"];
    const bool strings =
        rewards.is_array() &&
        std::all_of(rewards.begin(), rewards.end(), [](const Json& r) { return r.is_string(); });
    if (!strings)
      core::throw_user("{}: rewards: expected a list of strings, found {}", where, rewards.dump());
    prompt.rewards = rewards.get<std::vector<std::string>>();
  }
  for (const char* key : {"prompt", "id", "answer", "rewards"}) object.erase(key);
  prompt.columns = std::move(object);
  return prompt;
}

}  // namespace

std::vector<Prompt> parse_prompts(const std::string& text, const std::string& name) {
  std::vector<Prompt> prompts;
  std::set<std::string> ids;
  std::istringstream lines(text);
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", name, number);
    Prompt prompt = parse_line(line, where);
    if (prompt.id.empty()) prompt.id = std::to_string(number);
    if (!ids.insert(prompt.id).second)
      core::throw_user("{}: the id '{}' was given before", where, prompt.id);
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty())
    core::throw_user("the dataset {} is empty: expected one JSON object with \"prompt\" a line",
                     name);
  return prompts;
}

std::vector<Prompt> read_prompts(const std::filesystem::path& path) {
  return parse_prompts(core::read_file(path, "dataset"), path.string());
}

}  // namespace ponder::data
