#include "recipes/summary.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"

namespace ponder::recipes {
namespace {

using nlohmann::json;

struct Row {
  const char* key;
  const char* label;
  bool is_share;
};

constexpr Row kRows[] = {{"eval/accuracy", "accuracy, greedy", true},
                         {"eval/sampled_accuracy", "accuracy, sampled (T = 1)", true},
                         {"eval/format", "format, greedy", true},
                         {"eval/sampled_format", "format, sampled (T = 1)", true},
                         {"eval/mean_length", "mean length, greedy (tokens)", false},
                         {"eval/sampled_mean_length", "mean length, sampled (tokens)", false}};

std::string cell(double value, bool is_share) {
  return is_share ? fmt::format("{:.1f} %", 100 * value) : fmt::format("{:.1f}", value);
}

std::vector<json> read_lines(const std::filesystem::path& path) {
  std::vector<json> out;
  std::istringstream lines(core::read_file(path, "evaluation"));
  for (std::string line; std::getline(lines, line);) {
    out.push_back(
        core::parse_json<json>(line, fmt::format("{}:{}", path.string(), out.size() + 1)));
  }
  return out;
}

bool is_right(const json& group) {
  return group.at("completions").at(0).at("status") == "ok";
}

std::string completion_text(const json& group) {
  const json& completion = group.at("completions").at(0);
  return fmt::format("{}   [{} tokens, {}]", completion.at("text").get<std::string>(),
                     completion.at("num_tokens").get<int64_t>(),
                     completion.at("reason").get<std::string>());
}

// side_by_side() of files that are there; a json::exception where they hold something else.
std::string of_both(const std::filesystem::path& before, const std::filesystem::path& after) {
  const std::vector<json> old_groups = read_lines(before), new_groups = read_lines(after);
  const size_t count = std::min(old_groups.size(), new_groups.size());
  if (count == 0) return "";
  size_t chosen = 0;
  for (size_t i = 0; i < count; ++i) {
    if (is_right(old_groups[i]) || !is_right(new_groups[i])) continue;
    chosen = i;
    break;
  }
  return fmt::format("one of them, answered by both\n  {}\n  before: {}\n  after:  {}\n",
                     json(old_groups[chosen].at("prompt")).dump(),
                     completion_text(old_groups[chosen]), completion_text(new_groups[chosen]));
}

}  // namespace

std::string before_after_table(const std::vector<core::StepRecord>& records) {
  const auto evaluated = [](const core::StepRecord& record) {
    return record.metrics.contains("eval/accuracy");
  };
  const auto first = std::find_if(records.begin(), records.end(), evaluated);
  const auto last = std::find_if(records.rbegin(), records.rend(), evaluated);
  if (first == records.end() || first->step == last->step) return "";
  std::string text =
      fmt::format("{:<32}{:>12}{:>12}\n", "held-out problems", fmt::format("step {}", first->step),
                  fmt::format("step {}", last->step));
  for (const Row& row : kRows) {
    if (!first->metrics.contains(row.key) || !last->metrics.contains(row.key)) continue;
    text += fmt::format("  {:<30}{:>12}{:>12}\n", row.label,
                        cell(first->metrics.at(row.key), row.is_share),
                        cell(last->metrics.at(row.key), row.is_share));
  }
  return text;
}

std::string side_by_side(const std::filesystem::path& before, const std::filesystem::path& after) {
  if (!std::filesystem::exists(before) || !std::filesystem::exists(after)) return "";
  try {
    return of_both(before, after);
  } catch (const json::exception&) {
    core::throw_user("{} and {}: expected evaluations as ponder train writes them", before.string(),
                     after.string());
  }
}

}  // namespace ponder::recipes
