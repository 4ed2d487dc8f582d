#include "recipes/report.h"

#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/progress.h"
#include "recipes/report_assets.h"
#include "recipes/report_charts.h"
#include "recipes/report_findings.h"

namespace ponder::recipes {
namespace {

using Json = nlohmann::json;

// What a reader wants to know first: the value before training and after it.
struct CardSpec {
  const char* metric;
  const char* label;
  const char* format;
};

constexpr CardSpec kEvalCards[] = {
    {"eval/accuracy", "Accuracy, greedy", "percent"},
    {"eval/sampled_accuracy", "Accuracy, T = 1", "percent"},
    {"eval/format", "Format, greedy", "percent"},
    {"eval/mean_length", "Length, greedy", "number"},
    {"eval/sampled_mean_length", "Length, T = 1", "number"},
};
// For a run that was never evaluated.
constexpr CardSpec kTrainingCards[] = {
    {"reward", "Reward", "number"},
    {"loss", "Loss", "number"},
    {"completions/mean_length", "Length", "number"},
};

struct Reading {
  int64_t step;
  double value;
};

std::optional<Reading> first_of(const RunData& run, const std::string& metric) {
  for (const core::StepRecord& record : run.steps) {
    const auto found = record.metrics.find(metric);
    if (found != record.metrics.end() && std::isfinite(found->second))
      return Reading{record.step, found->second};
  }
  return std::nullopt;
}

std::optional<Reading> last_of(const RunData& run, const std::string& metric) {
  for (auto record = run.steps.rbegin(); record != run.steps.rend(); ++record) {
    const auto found = record->metrics.find(metric);
    if (found != record->metrics.end() && std::isfinite(found->second))
      return Reading{record->step, found->second};
  }
  return std::nullopt;
}

// The cards that at least one run has a value for.
std::vector<CardSpec> cards_for(std::span<const RunData> runs) {
  const auto present = [&](std::span<const CardSpec> specs) {
    std::vector<CardSpec> cards;
    for (const CardSpec& spec : specs) {
      for (const RunData& run : runs) {
        if (!first_of(run, spec.metric)) continue;
        cards.push_back(spec);
        break;
      }
    }
    return cards;
  };
  std::vector<CardSpec> cards = present(kEvalCards);
  return cards.empty() ? present(kTrainingCards) : cards;
}

Json before_and_after(const RunData& run, const CardSpec& spec) {
  const std::optional<Reading> first = first_of(run, spec.metric);
  if (!first) return nullptr;
  const Reading last = *last_of(run, spec.metric);
  return {{"before", first->value},
          {"before_step", first->step},
          {"after", last.value},
          {"after_step", last.step}};
}

// A recipe's value as a person reads it: without the quotes.
std::string unquoted(const std::string& value) {
  const bool is_quoted = value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
                         value.back() == value.front();
  return is_quoted ? value.substr(1, value.size() - 2) : value;
}

// The value of the first of `keys` that the recipe has, in any of its tables.
std::string recipe_value(const std::map<std::string, std::string>& values,
                         std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    for (const auto& [name, value] : values) {
      if (name == key || name.ends_with("." + std::string(key))) return unquoted(value);
    }
  }
  return "";
}

// [name, value] pairs for the head of the page; what is unknown is left out.
Json facts_of(const RunData& run) {
  const std::map<std::string, std::string> values = recipe_values(run.recipe);
  Json facts = Json::array();
  const auto add = [&facts](const char* name, const std::string& value) {
    if (!value.empty()) facts.push_back({name, value});
  };
  add("stage", recipe_value(values, {"stage"}));
  add("model", recipe_value(values, {"model_name_or_path", "model"}));
  add("seed", recipe_value(values, {"seed"}));
  if (!run.steps.empty()) add("steps", fmt::format("{}", run.steps.back().step));
  double wall_s = 0;
  for (const core::StepRecord& record : run.steps) {
    const auto found = record.metrics.find("timing_s/step");
    if (found != record.metrics.end() && std::isfinite(found->second)) wall_s += found->second;
  }
  if (wall_s > 0) add("wall time", core::format_duration(wall_s));
  const std::optional<Reading> tokens = last_of(run, "num_tokens");
  if (tokens) add("tokens", core::format_count(tokens->value));
  return facts;
}

Json run_json(const RunData& run, bool with_completions) {
  Json json = {{"name", run.name},
               {"facts", facts_of(run)},
               {"recipe", run.recipe},
               {"findings", findings(run)},
               {"completions", Json::array()}};
  json["num_completion_steps"] = run.num_completion_steps;
  json["num_groups_left_out"] = run.num_groups_left_out;
  if (!with_completions) return json;
  for (const StepCompletions& step : run.completions) {
    json["completions"].push_back({{"step", step.step}, {"groups", step.groups}});
  }
  return json;
}

Json summary_json(std::span<const RunData> runs) {
  Json summary = Json::array();
  for (const CardSpec& spec : cards_for(runs)) {
    Json values = Json::array();
    for (const RunData& run : runs) values.push_back(before_and_after(run, spec));
    summary.push_back({{"label", spec.label},
                       {"metric", spec.metric},
                       {"format", spec.format},
                       {"runs", values}});
  }
  return summary;
}

// The recipe keys whose values are not the same in all runs: {"key", "values": one a run or null}.
Json differences_json(std::span<const RunData> runs) {
  std::vector<std::map<std::string, std::string>> recipes;
  std::set<std::string> keys;
  for (const RunData& run : runs) {
    recipes.push_back(recipe_values(run.recipe));
    for (const auto& [key, value] : recipes.back()) keys.insert(key);
  }
  Json differences = Json::array();
  for (const std::string& key : keys) {
    Json values = Json::array();
    std::set<Json> distinct;
    for (const auto& recipe : recipes) {
      const auto found = recipe.find(key);
      values.push_back(found == recipe.end() ? Json() : Json(found->second));
      distinct.insert(values.back());
    }
    if (distinct.size() > 1) differences.push_back({{"key", key}, {"values", values}});
  }
  return differences;
}

// JSON that may stand within <script>: no text in it can end the element or open a comment. Bytes
// that are no UTF-8 become U+FFFD.
std::string script_json(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

// `page` with each {{name}} replaced, in one pass: what is put in is not looked at again.
std::string fill(std::string_view page, const std::map<std::string, std::string_view>& values) {
  std::string filled;
  for (;;) {
    const size_t open = page.find("{{");
    filled += page.substr(0, open);
    if (open == std::string_view::npos) return filled;
    const size_t close = page.find("}}", open);
    PONDER_CHECK(close != std::string_view::npos, "[report] page.html: a {{{{ is not closed");
    const auto value = values.find(std::string(page.substr(open + 2, close - open - 2)));
    PONDER_CHECK(value != values.end(), "[report] page.html: unknown placeholder at byte {}", open);
    filled += value->second;
    page.remove_prefix(close + 2);
  }
}

}  // namespace

std::string render_report(std::span<const RunData> runs) {
  PONDER_CHECK(!runs.empty(), "[report] expected at least one run, got none");
  const bool is_comparison = runs.size() > 1;
  Json data = {
      {"summary", summary_json(runs)}, {"charts", make_charts(runs)}, {"runs", Json::array()}};
  for (const RunData& run : runs) data["runs"].push_back(run_json(run, !is_comparison));
  data["differences"] = is_comparison ? differences_json(runs) : Json::array();
  const std::string title =
      escape_html(is_comparison ? fmt::format("{} runs compared", runs.size()) : runs.front().name);
  const std::string json = script_json(data);
  return fill(
      assets::kPage,
      {{"title", title}, {"style", assets::kStyle}, {"data", json}, {"script", assets::kScripts}});
}

void write_report(std::span<const std::filesystem::path> run_dirs,
                  const std::filesystem::path& output) {
  std::vector<RunData> runs;
  for (const std::filesystem::path& run_dir : run_dirs) runs.push_back(load_run(run_dir));
  core::write_file_atomic(output, render_report(runs));
}

}  // namespace ponder::recipes
