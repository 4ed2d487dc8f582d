#include "recipes/evaluate.h"

#include "core/file.h"
#include "recipes/scoring_metrics.h"
#include "recipes/stopping.h"
#include "recipes/workers.h"

namespace ponder::recipes {

namespace {

// This worker's share of the problems, sampled and scored; none: cut off.
std::optional<std::vector<data::ScoredGroup>> own_groups(rollout::Engine& engine,
                                                         const rewards::Scorer& scorer,
                                                         const std::vector<data::Prompt>& prompts,
                                                         const rollout::SampleOptions& options) {
  rewards::ScoringPool pool(scorer, scoring_threads());
  pool.start(prompts.size(), options.num_generations);
  std::vector<rollout::Request> requests;
  for (const data::Prompt& prompt : prompts)
    requests.push_back({.prompt = prompt, .options = options});
  auto groups = generate_unless_stopped(
      engine, std::move(requests), [&](size_t i, size_t j, const data::Completion& completion) {
        pool.submit(i, j, prompts[i], completion);
      });
  if (!groups) return std::nullopt;
  std::vector<std::vector<data::Score>> scores = pool.finish();
  std::vector<data::ScoredGroup> out;
  for (size_t i = 0; i < groups->size(); ++i)
    out.emplace_back(std::move((*groups)[i]), std::move(scores[i]));
  return out;
}

}  // namespace

Evaluation evaluate(rollout::Engine& engine, const rewards::Scorer& scorer,
                    const std::vector<data::Prompt>& prompts, const rollout::SampleOptions& options,
                    distributed::Group& group) {
  std::vector<data::Prompt> own;
  for (const size_t place : own_places(group, prompts.size())) own.push_back(prompts[place]);
  Evaluation out;
  auto sampled = own_groups(engine, scorer, own, options);
  out.cut_off = agreed_stop(group) != 0;
  if (out.cut_off) return out;
  out.groups = gather_groups(
      group, std::move(sampled).value(),
      prompts.size(), [&](size_t place) -> const auto& { return prompts[place]; });
  double tokens = 0, completions = 0;
  std::map<std::string, std::pair<double, double>> parts;  // sum and count
  for (const data::ScoredGroup& scored : out.groups) {
    for (const data::Completion& completion : scored.group.completions) {
      tokens += static_cast<double>(completion.token_ids.size());
      ++completions;
    }
    for (const data::Score& score : scored.scores) {
      for (const auto& [name, value] : score.parts) {
        parts[name].first += value;
        parts[name].second += 1;
      }
    }
  }
  for (const auto& [name, sum] : parts) out.metrics[name] = sum.first / sum.second;
  out.metrics["mean_length"] = completions > 0 ? tokens / completions : 0;
  return out;
}

std::map<std::string, double> evaluation_metrics(const Evaluation& greedy,
                                                 const Evaluation& sampled) {
  std::map<std::string, double> out;
  for (const auto& [name, value] : greedy.metrics) out["eval/" + name] = value;
  for (const auto& [name, value] : sampled.metrics) out["eval/sampled_" + name] = value;
  return out;
}

std::optional<std::map<std::string, double>> evaluate_both(
    rollout::Engine& engine, const rewards::Scorer& scorer,
    const std::vector<data::Prompt>& prompts, rollout::SampleOptions options, int64_t step,
    const std::filesystem::path& file, distributed::Group& group) {
  options.rule.temperature = 1;
  const Evaluation sampled = evaluate(engine, scorer, prompts, options, group);
  if (sampled.cut_off) return std::nullopt;
  options.rule.temperature = 0;
  const Evaluation greedy = evaluate(engine, scorer, prompts, options, group);
  if (greedy.cut_off) return std::nullopt;
  if (file.empty()) return evaluation_metrics(greedy, sampled);
  std::string lines;
  for (const data::ScoredGroup& group : greedy.groups) lines += group_line(step, group, {});
  core::write_file_atomic(file, lines);
  return evaluation_metrics(greedy, sampled);
}

std::string group_line(int64_t step, const data::ScoredGroup& scored,
                       const std::vector<float>& advantages) {
  data::Json completions = data::Json::array();
  for (size_t i = 0; i < scored.scores.size(); ++i) {
    const data::Completion& completion = scored.group.completions[i];
    const data::Score& score = scored.scores[i];
    data::Json entry = {{"text", completion.text},
                        {"finish_reason", data::name_of(completion.finish_reason)},
                        {"num_tokens", completion.token_ids.size()},
                        {"reward", score.value ? data::Json(*score.value) : data::Json()},
                        {"parts", score.parts},
                        {"status", data::name_of(score.status)},
                        {"reason", score.reason}};
    if (!advantages.empty()) entry["advantage"] = advantages[i];
    completions.push_back(std::move(entry));
  }
  const data::Json line = {{"step", step},
                           {"prompt_id", scored.group.prompt.id},
                           {"prompt", scored.group.prompt.text},
                           {"answer", scored.group.prompt.answer},
                           {"completions", std::move(completions)}};
  return line.dump(-1, ' ', false, data::Json::error_handler_t::replace) + "\n";
}

}  // namespace ponder::recipes
