#include "recipes/evaluate.h"

#include "core/file.h"
#include "recipes/scoring_metrics.h"

namespace ponder::recipes {

Evaluation evaluate(rollout::Engine& engine, const rewards::Scorer& scorer,
                    const std::vector<data::Prompt>& prompts,
                    const rollout::SampleOptions& options) {
  rewards::ScoringPool pool(scorer, scoring_threads());
  pool.start(prompts.size(), options.num_generations);
  std::vector<data::Group> groups = engine.generate(
      prompts, options, 0, [&](size_t i, size_t j, const data::Completion& completion) {
        pool.submit(i, j, prompts[i], completion);
      });
  std::vector<std::vector<data::Score>> scores = pool.finish();
  Evaluation out;
  double tokens = 0, completions = 0;
  std::map<std::string, std::pair<double, double>> parts;  // sum and count
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const data::Completion& completion : groups[i].completions) {
      tokens += static_cast<double>(completion.token_ids.size());
      ++completions;
    }
    for (const data::Score& score : scores[i]) {
      for (const auto& [name, value] : score.parts) {
        parts[name].first += value;
        parts[name].second += 1;
      }
    }
    out.groups.emplace_back(std::move(groups[i]), std::move(scores[i]));
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

std::map<std::string, double> evaluate_both(rollout::Engine& engine, const rewards::Scorer& scorer,
                                            const std::vector<data::Prompt>& prompts,
                                            rollout::SampleOptions options, int64_t step,
                                            const std::filesystem::path& file) {
  options.rule.temperature = 1;
  const Evaluation sampled = evaluate(engine, scorer, prompts, options);
  options.rule.temperature = 0;
  const Evaluation greedy = evaluate(engine, scorer, prompts, options);
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
