#include "recipes/run_data.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"

namespace ponder::recipes {
namespace {

namespace fs = std::filesystem;
using core::throw_user;
using Json = nlohmann::json;

struct StepFile {
  int64_t step;
  fs::path path;
  size_t bytes;
};

// The step that a file "000012.jsonl" is named after; none for any other file.
std::optional<int64_t> step_of(const fs::path& path) {
  if (path.extension() != ".jsonl") return std::nullopt;
  const std::string stem = path.stem().string();
  int64_t step = 0;
  const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), step);
  if (error != std::errc() || end != stem.data() + stem.size() || step < 0) return std::nullopt;
  return step;
}

std::vector<StepFile> list_steps(const fs::path& folder) {
  std::vector<StepFile> files;
  if (!fs::is_directory(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::optional<int64_t> step = step_of(entry.path());
    if (step) files.push_back({*step, entry.path(), static_cast<size_t>(entry.file_size())});
  }
  std::sort(files.begin(), files.end(),
            [](const StepFile& a, const StepFile& b) { return a.step < b.step; });
  return files;
}

// `count` of the files, spread evenly, first and last among them.
std::vector<StepFile> spread(std::vector<StepFile> files, size_t count) {
  if (count >= files.size()) return files;
  if (count < 2) return {files.back()};
  std::vector<StepFile> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(files[i * (files.size() - 1) / (count - 1)]);
  return chosen;
}

using TypeTest = bool (Json::*)() const noexcept;

// Checks that `object` has `key` of the wanted type; where it is optional, absent and null are fine
// too.
void check_field(const Json& object, const char* key, TypeTest is_wanted, const char* wanted,
                 bool is_optional, const std::string& place) {
  const auto found = object.find(key);
  const bool is_missing = found == object.end() || found->is_null();
  if (is_missing && is_optional) return;
  if (is_missing) throw_user("{}: expected \"{}\", {}, found none", place, key, wanted);
  if (!((*found).*is_wanted)()) {
    throw_user("{}: \"{}\": expected {}, found {}", place, key, wanted, found->type_name());
  }
}

void check_completion(const Json& completion, const std::string& place) {
  if (!completion.is_object())
    throw_user("{}: expected a completion, an object, found {}", place, completion.type_name());
  check_field(completion, "text", &Json::is_string, "a string", false, place);
  for (const char* key : {"finish_reason", "status", "reason"}) {
    check_field(completion, key, &Json::is_string, "a string", true, place);
  }
  for (const char* key : {"num_tokens", "reward", "advantage"}) {
    check_field(completion, key, &Json::is_number, "a number", true, place);
  }
  check_field(completion, "parts", &Json::is_object, "an object", true, place);
  if (!completion.contains("parts") || completion["parts"].is_null()) return;
  for (const auto& [name, value] : completion["parts"].items()) {
    if (!value.is_number() && !value.is_null()) {
      throw_user("{}: part \"{}\": expected a number or null, found {}", place, name,
                 value.type_name());
    }
  }
}

Json parse_group(std::string_view line, const std::string& place) {
  Json group = core::parse_json_or_discard<Json>(line);
  if (!group.is_object())
    throw_user("{}: expected one JSON object a line, a group of completions", place);
  check_field(group, "prompt", &Json::is_string, "a string", false, place);
  check_field(group, "prompt_id", &Json::is_string, "a string", true, place);
  check_field(group, "completions", &Json::is_array, "a list", false, place);
  for (const Json& completion : group["completions"]) check_completion(completion, place);
  return group;
}

// The groups of one file, as many as fit into `bytes_max`, at least one; the others are counted in
// `num_left_out`.
StepCompletions read_step(const StepFile& file, size_t bytes_max, size_t& num_left_out) {
  const std::string content = core::read_file(file.path, "completions");
  std::string_view rest = content;
  StepCompletions step{file.step, {}};
  size_t bytes = 0;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (end == std::string_view::npos && !Json::accept(line)) break;
    bytes += line.size();
    if (bytes > bytes_max && !step.groups.empty()) {
      ++num_left_out;
    } else {
      step.groups.push_back(parse_group(line, fmt::format("{}:{}", file.path.string(), number)));
    }
  }
  return step;
}

void load_completions(const fs::path& folder, size_t bytes_max, RunData& run) {
  const std::vector<StepFile> files = list_steps(folder);
  run.num_completion_steps = files.size();
  if (files.empty()) return;
  size_t bytes = 0;
  for (const StepFile& file : files) bytes += file.bytes;
  const double share = std::min(
      1.0, static_cast<double>(bytes_max) / static_cast<double>(std::max<size_t>(bytes, 1)));
  // A few steps to compare are worth more than all groups of one.
  const size_t count =
      std::max<size_t>(8, static_cast<size_t>(share * static_cast<double>(files.size())));
  const std::vector<StepFile> chosen = spread(files, count);
  for (const StepFile& file : chosen) {
    const size_t step_bytes_max =
        std::max(bytes_max / chosen.size(), share == 1.0 ? file.bytes : 0);
    run.completions.push_back(read_step(file, step_bytes_max, run.num_groups_left_out));
  }
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// The value of a line without the comment behind it; a '#' within quotes is text.
std::string_view without_comment(std::string_view value) {
  char quote = 0;
  for (size_t i = 0; i < value.size(); ++i) {
    if (quote == '"' && value[i] == '\\') {
      ++i;
    } else if (quote != 0) {
      if (value[i] == quote) quote = 0;
    } else if (value[i] == '"' || value[i] == '\'') {
      quote = value[i];
    } else if (value[i] == '#') {
      return trimmed(value.substr(0, i));
    }
  }
  return trimmed(value);
}

}  // namespace

RunData load_run(const fs::path& run_dir, size_t completion_bytes_max) {
  if (!fs::is_directory(run_dir)) {
    throw_user("no run in {}: expected a folder that `ponder train` has made", run_dir.string());
  }
  RunData run;
  run.name = fs::weakly_canonical(run_dir).filename().string();
  if (fs::exists(run_dir / "recipe.toml"))
    run.recipe = core::read_file(run_dir / "recipe.toml", "recipe");
  run.steps = core::read_metrics(run_dir / "metrics.jsonl");
  load_completions(run_dir / "completions", completion_bytes_max, run);
  return run;
}

std::map<std::string, std::string> recipe_values(std::string_view recipe) {
  std::map<std::string, std::string> values;
  std::string table;
  while (!recipe.empty()) {
    const size_t end = std::min(recipe.find('\n'), recipe.size());
    const std::string_view line = trimmed(recipe.substr(0, end));
    recipe.remove_prefix(std::min(end + 1, recipe.size()));
    const size_t equals = line.find('=');
    if (line.starts_with('[')) {
      const std::string_view head = without_comment(line);
      table = std::string(head.substr(1, head.find(']') - 1)) + ".";
    } else if (!line.starts_with('#') && equals != std::string_view::npos) {
      values[table + std::string(trimmed(line.substr(0, equals)))] =
          without_comment(line.substr(equals + 1));
    }
  }
  return values;
}

}  // namespace ponder::recipes
