#include "data/dataset.h"

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "data/parquet.h"

namespace ponder::data {
namespace {

namespace fs = std::filesystem;

// A layout's columns; of several names the first that a row has counts.
struct Columns {
  std::vector<std::string> prompt, answer, id, rewards;
};

Columns columns_of(const LayoutOptions& options) {
  Columns c{{"prompt"}, {"answer", "solution"}, {"id"}, {"rewards"}};
  if (options.layout == "verl") {
    c.answer = {"reward_model.ground_truth", "answer"};
    c.id = {"id", "extra_info.id"};
  } else if (options.layout == "open_r1") {
    c.prompt = {"prompt", "problem"};
    c.answer = {"answer", "solution"};
  }
  const bool any = options.any_convention;
  if (any) {
    c.prompt = {"prompt", "problem", "question"};
    c.answer = {"reward_model.ground_truth", "answer", "solution"};
  }
  const auto set = [any](std::vector<std::string>& names, const std::string& name) {
    if (name.empty()) return;
    if (!any) names.clear();
    names.insert(names.begin(), name);
  };
  set(c.prompt, options.columns.prompt);
  set(c.answer, options.columns.answer);
  set(c.id, options.columns.id);
  set(c.rewards, options.columns.rewards);
  return c;
}

// The value at a dotted path; none where a part of it is missing.
const Json* find(const Json& row, const std::string& path) {
  const Json* value = &row;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('.', begin), path.size());
    if (!value->is_object()) return nullptr;
    const auto found = value->find(path.substr(begin, end - begin));
    if (found == value->end()) return nullptr;
    value = &*found;
    begin = end + 1;
  }
  return value;
}

struct Found {
  const Json* value = nullptr;
  std::string name;
};

Found first_of(const Json& row, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const Json* value = find(row, name);
    if (value != nullptr && !value->is_null()) return {value, name};
  }
  return {};
}

// The same with contents that come in parts, as OpenAI's API has them, made texts.
Json with_plain_contents(Json messages, const std::string& where, const std::string& column) {
  for (Json& message : messages) {
    Json& content = message["content"];
    if (!content.is_array()) continue;
    std::string text;
    for (const Json& part : content) {
      if (!part.is_object() || part.value("type", Json()) != "text" || !part.contains("text") ||
          !part["text"].is_string()) {
        core::throw_user("{}: {}: expected parts {{\"type\": \"text\", \"text\"}}, found {}", where,
                         column, part.dump().substr(0, 80));
      }
      text += part["text"].get<std::string>();
    }
    content = std::move(text);
  }
  return messages;
}

void check_messages(const Json& messages, const std::string& where, const std::string& column) {
  const bool good =
      !messages.empty() && std::all_of(messages.begin(), messages.end(), [](const Json& m) {
        return m.is_object() && m.contains("role") && m["role"].is_string() &&
               m.contains("content");
      });
  if (!good) {
    core::throw_user("{}: {}: expected messages [{{\"role\", \"content\"}}, ...], found {}", where,
                     column, messages.dump().substr(0, 80));
  }
}

std::vector<std::string> reward_names(const Found& rewards, const std::string& where) {
  if (rewards.value == nullptr) return {};
  const bool strings =
      rewards.value->is_array() && std::all_of(rewards.value->begin(), rewards.value->end(),
                                               [](const Json& r) { return r.is_string(); });
  if (!strings)
    core::throw_user("{}: {}: expected a list of strings, found {}", where, rewards.name,
                     rewards.value->dump());
  return rewards.value->get<std::vector<std::string>>();
}

Problem problem_of(Json row, const std::string& where, const Columns& columns) {
  if (!row.is_object())
    core::throw_user("{}: expected a JSON object, found {}", where, row.type_name());
  const Found prompt = first_of(row, columns.prompt), answer = first_of(row, columns.answer),
              id = first_of(row, columns.id);
  if (prompt.value == nullptr)
    core::throw_user("{}: the key {} is missing", where, fmt::join(columns.prompt, " or "));
  Problem out;
  if (prompt.value->is_string()) {
    out.prompt.text = prompt.value->get<std::string>();
  } else if (prompt.value->is_array()) {
    check_messages(*prompt.value, where, prompt.name);
    out.messages = with_plain_contents(*prompt.value, where, prompt.name);
  } else {
    core::throw_user("{}: {}: expected a string or messages, found {}", where, prompt.name,
                     prompt.value->type_name());
  }
  if (answer.value != nullptr) out.prompt.answer = *answer.value;
  if (id.value != nullptr)
    out.prompt.id = id.value->is_string() ? id.value->get<std::string>() : id.value->dump();
  const Found rewards = first_of(row, columns.rewards);
  out.prompt.rewards = reward_names(rewards, where);
  for (const Found& used : {prompt, id, rewards}) {
    if (used.value != nullptr && used.name.find('.') == std::string::npos) row.erase(used.name);
  }
  // A "solution" stays among the columns too: TRL's and open-r1's reward functions ask for it by
  // name.
  if (answer.name == "answer") row.erase("answer");
  out.prompt.columns = std::move(row);
  return out;
}

// Rows with their ids: what is not given is the row's place.
class Rows {
 public:
  explicit Rows(const LayoutOptions& layout) : columns_(columns_of(layout)) {}

  void add(Json row, const std::string& where, const std::string& place) {
    Problem problem = problem_of(std::move(row), where, columns_);
    if (problem.prompt.id.empty()) problem.prompt.id = place;
    if (!ids_.insert(problem.prompt.id).second)
      core::throw_user("{}: the id '{}' was given before", where, problem.prompt.id);
    problem.place = where;
    problems_.push_back(std::move(problem));
  }

  void add_jsonl(const std::string& text, const std::string& name, const std::string& prefix) {
    std::istringstream lines(text);
    std::string line;
    for (int64_t number = 1; std::getline(lines, line); ++number) {
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const std::string where = fmt::format("{}:{}", name, number);
      add(core::parse_json<Json>(line, where), where, fmt::format("{}{}", prefix, number));
    }
  }

  std::vector<Problem> take(const std::string& name) {
    if (problems_.empty()) {
      core::throw_user("the dataset {} is empty: expected one JSON object with \"{}\" a line", name,
                       fmt::join(columns_.prompt, "\" or \""));
    }
    return std::move(problems_);
  }

 private:
  Columns columns_;
  std::set<std::string> ids_;
  std::vector<Problem> problems_;
};

bool is_table(const fs::path& path) {
  return path.extension() == ".jsonl" || path.extension() == ".parquet";
}

// The files of a split: SPLIT.jsonl, SPLIT-00000-of-00002.parquet, ...
std::vector<fs::path> files_of(const fs::path& folder, const std::string& split) {
  std::vector<fs::path> files;
  for (const fs::path& place : {folder, folder / "data"}) {
    if (!fs::is_directory(place)) continue;
    for (const auto& entry : fs::directory_iterator(place)) {
      const std::string stem = entry.path().stem().string();
      if (is_table(entry.path()) && (stem == split || stem.starts_with(split + "-")))
        files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    core::throw_user(
        "{}: no file of the split '{}' in it: expected {}.jsonl, {}-*.jsonl or the same as "
        ".parquet",
        folder.string(), split, split, split);
  }
  return files;
}

std::vector<Prompt> plain(std::vector<Problem> problems, const std::string& name) {
  std::vector<Prompt> prompts;
  for (Problem& problem : problems) {
    if (!problem.messages.is_null()) {
      core::throw_user("{}: prompt: expected a string, found messages (prompt '{}')", name,
                       problem.prompt.id);
    }
    prompts.push_back(std::move(problem.prompt));
  }
  return prompts;
}

}  // namespace

void bind(core::Binder& b, ColumnOptions& o) {
  b.field("prompt", o.prompt, "the column of the prompt, text or messages; dots go into objects");
  b.field("answer", o.answer, "the column of the reference");
  b.field("id", o.id, "the column that names the row");
  b.field("rewards", o.rewards, "the column of the reward names");
}

void bind(core::Binder& b, LayoutOptions& o) {
  b.choice<std::string>("layout", o.layout,
                        {{"trl", "trl"}, {"verl", "verl"}, {"open_r1", "open_r1"}},
                        "whose names the columns have");
  b.table("columns", o.columns);
}

std::vector<Problem> parse_problems(const std::string& text, const std::string& name,
                                    const LayoutOptions& layout) {
  Rows rows(layout);
  rows.add_jsonl(text, name, "");
  return rows.take(name);
}

std::vector<Problem> read_problems(const fs::path& path, const std::string& split,
                                   const LayoutOptions& layout) {
  const bool folder = fs::is_directory(path);
  const std::vector<fs::path> files = folder ? files_of(path, split) : std::vector{path};
  Rows rows(layout);
  for (const fs::path& file : files) {
    const std::string prefix = folder ? file.stem().string() + ":" : "";
    const std::string text = file.extension() == ".parquet" ? read_parquet_as_jsonl(file)
                                                            : core::read_file(file, "dataset");
    rows.add_jsonl(text, file.string(), prefix);
  }
  return rows.take(path.string());
}

std::vector<Prompt> parse_prompts(const std::string& text, const std::string& name) {
  return plain(parse_problems(text, name, {}), name);
}

std::vector<Prompt> read_prompts(const fs::path& path) {
  return plain(read_problems(path, "train", {}), path.string());
}

}  // namespace ponder::data
