#include "rewards/scorer.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/spelling.h"
#include "rewards/options.h"
#include "rewards/plugins/pool.h"

namespace ponder::rewards {
namespace {

constexpr size_t kShareMax = 64;  // completions that a scoring thread takes at once

std::string text_of(const std::vector<std::string>& problems, size_t count) {
  std::string out;
  for (const std::string& problem : problems) out += "\n  " + problem;
  return count > problems.size() ? out + fmt::format("\n  and {} more", count - problems.size())
                                 : out;
}

}  // namespace

void bind(core::Binder& b, RewardOptions& o) {
  b.field("reward_funcs", o.reward_funcs,
          "rewards: NAME, NAME{option = value}, or a plugin's file or command");
  b.field("reward_weights", o.reward_weights, "weight of each reward in the total");
  b.field("reward_gates", o.reward_gates,
          "\"accuracy if format\": the first counts only where the second is ok");
  b.field("max_failure_share", o.max_failure_share,
          "the run stops when more than this share cannot be judged", {.low = 0, .high = 1});
  b.field("judge_truncated", o.judge_truncated,
          "built-in rewards judge cut completions as if they had ended");
}

Scorer::Scorer(const RewardOptions& options, const LoadRewardModel& load_model)
    : max_failure_share_(options.max_failure_share), judge_truncated_(options.judge_truncated) {
  if (options.reward_funcs.empty())
    core::throw_user("reward_funcs is empty: name at least one reward");
  if (options.reward_funcs.size() != options.reward_weights.size()) {
    core::throw_user(
        "reward.reward_weights has {} entries, expected {}: one for each of reward_funcs",
        options.reward_weights.size(), options.reward_funcs.size());
  }
  for (size_t i = 0; i < options.reward_funcs.size(); ++i) {
    const std::string& spec = options.reward_funcs[i];
    if (!std::isfinite(options.reward_weights[i]))
      core::throw_user("reward_weights holds a value that is not finite");
    std::string name = part_name(spec);
    for (const Part& other : parts_) {
      if (other.name == name) name = spec;  // the same reward with other options
    }
    for (const Part& other : parts_) {
      if (other.name == name) core::throw_user("reward_funcs names {} twice", name);
    }
    parts_.push_back({name, options.reward_weights[i], make_reward(spec, load_model), "",
                      names_plugin(parse_spec(spec).name)});
  }
  for (const std::string& gate : options.reward_gates) add_gate(gate);
}

void Scorer::add_gate(const std::string& gate) {
  constexpr std::string_view kIf = " if ";
  const size_t at = gate.find(kIf);
  if (at == std::string::npos)
    core::throw_user("reward_gates: expected \"REWARD if REWARD\", found \"{}\"", gate);
  const std::string behind = gate.substr(at + kIf.size());
  part(gate.substr(0, at), "reward_gates").gate = part(behind, "reward_gates").name;
}

Scorer::Part& Scorer::part(const std::string& name, const std::string& what) {
  std::vector<std::string> names;
  for (Part& candidate : parts_) {
    if (candidate.name == name) return candidate;
    names.push_back(candidate.name);
  }
  core::throw_user("{}: '{}' is none of reward_funcs{}", what, name, core::suggestion(name, names));
}

bool Scorer::applies(const Part& part, const data::Prompt& prompt) const {
  return prompt.rewards.empty() ||
         std::find(prompt.rewards.begin(), prompt.rewards.end(), part.name) != prompt.rewards.end();
}

data::Score Scorer::total(const data::Prompt& prompt,
                          const std::map<std::string, Judgement>& judgements) const {
  data::Score score;
  score.status = data::ScoreStatus::kOk;
  bool null = false;
  for (const Part& part : parts_) {
    const auto found = judgements.find(part.name);
    if (found == judgements.end()) continue;
    const Judgement& judgement = found->second;
    for (const auto& [name, value] : judgement.parts) score.parts[part.name + "/" + name] = value;
    if (judgement.value) {
      score.parts[part.name] = *judgement.value;
      const auto gate = judgements.find(part.gate);
      const bool open = part.gate.empty() ||
                        (gate != judgements.end() && gate->second.status == data::ScoreStatus::kOk);
      score.value = score.value.value_or(0.0) + (open ? part.weight * *judgement.value : 0.0);
    } else {
      null = null || !judgement.abstains;
    }
    if (judgement.abstains) continue;
    const bool first_failure =
        score.status == data::ScoreStatus::kOk && judgement.status != data::ScoreStatus::kOk;
    if (first_failure || score.reason.empty()) score.reason = judgement.reason;
    if (first_failure) score.status = judgement.status;
  }
  if (null) score.value.reset();
  if (!score.value && score.status == data::ScoreStatus::kOk) {
    score.status = data::ScoreStatus::kRefused;
    score.reason = judgements.empty() ? problem_with(prompt) : "no reward applies";
  }
  return score;
}

std::vector<Verdict> Scorer::judge_all(std::span<const Sample> samples) const {
  std::vector<Verdict> out(samples.size());
  std::deque<data::Completion> ended;  // copies of cut completions, where they are judged
  std::vector<Sample> as_ended(samples.begin(), samples.end());
  for (Sample& sample : as_ended) {
    if (!judge_truncated_ || sample.completion->finish_reason != data::FinishReason::kLength)
      continue;
    ended.push_back(*sample.completion);
    ended.back().finish_reason = data::FinishReason::kStop;
    sample.completion = &ended.back();
  }
  for (const Part& part : parts_) {
    std::vector<Sample> asked;
    std::vector<size_t> places;
    for (size_t i = 0; i < samples.size(); ++i) {
      if (!applies(part, *samples[i].prompt)) continue;
      asked.push_back(part.plugin ? samples[i] : as_ended[i]);
      places.push_back(i);
    }
    if (asked.empty()) continue;
    std::vector<Judgement> judgements;
    try {
      judgements = part.reward->judge_all(asked);
    } catch (const std::exception& error) {
      judgements.assign(asked.size(), {std::nullopt, data::ScoreStatus::kCrashed, error.what()});
    }
    PONDER_CHECK(judgements.size() == asked.size(), "[Scorer] {} gave {} judgements for {}",
                 part.name, judgements.size(), asked.size());
    for (size_t i = 0; i < places.size(); ++i)
      out[places[i]].judgements[part.name] = std::move(judgements[i]);
  }
  for (size_t i = 0; i < samples.size(); ++i)
    out[i].score = total(*samples[i].prompt, out[i].judgements);
  return out;
}

data::Score Scorer::score(const data::Prompt& prompt, const data::Completion& completion) const {
  const Sample sample{&prompt, &completion};
  return judge_all({&sample, 1})[0].score;
}

std::string Scorer::problem_with(const data::Prompt& prompt) const {
  std::vector<std::string> names;
  for (const Part& part : parts_) names.push_back(part.name);
  for (const std::string& name : prompt.rewards) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    return fmt::format("asks for the reward '{}', which is none of reward_funcs{}", name,
                       core::suggestion(name, names));
  }
  for (const Part& part : parts_) {
    if (!applies(part, prompt)) continue;
    if (const std::string problem = part.reward->problem_with(prompt); !problem.empty())
      return part.name + ": " + problem;
  }
  return {};
}

void Scorer::check(const std::vector<data::Prompt>& prompts,
                   const std::vector<std::string>& places) const {
  constexpr size_t kShown = 5;
  std::vector<std::string> problems;
  size_t count = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string problem = problem_with(prompts[i]);
    if (problem.empty()) continue;
    if (++count > kShown) continue;
    const std::string& id = prompts[i].id;
    problems.push_back(i < places.size() ? fmt::format("{}: (prompt {}) {}", places[i], id, problem)
                                         : fmt::format("prompt {}: {}", id, problem));
  }
  if (count == 0) return;
  core::throw_user("{} of {} prompts cannot be judged; repair or drop them:{}", count,
                   prompts.size(), text_of(problems, count));
}

std::map<std::string, double> Scorer::metrics() const {
  std::map<std::string, double> out;
  for (const Part& part : parts_) {
    for (const auto& [name, value] : part.reward->metrics())
      out["rewards/" + part.name + "/" + name] = value;
  }
  return out;
}

ScoringPool::ScoringPool(const Scorer& scorer, int num_threads)
    : scorer_(scorer), failures_(scorer.max_failure_share()) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

ScoringPool::~ScoringPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    jobs_.clear();
  }
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ScoringPool::start(size_t prompts, size_t samples) {
  const std::lock_guard lock(mutex_);
  PONDER_CHECK(under_way_ == 0, "[ScoringPool] start with {} scores under way", under_way_);
  scores_.assign(prompts, std::vector<std::optional<data::Score>>(samples));
}

void ScoringPool::submit(size_t prompt_index, size_t sample_index, const data::Prompt& prompt,
                         const data::Completion& completion) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({prompt_index, sample_index, prompt, completion});
    ++under_way_;
  }
  work_ready_.notify_one();
}

// REQUIRES: mutex_ is held.
std::vector<ScoringPool::Job> ScoringPool::take_share() {
  const size_t share = std::min(kShareMax, (jobs_.size() + threads_.size() - 1) / threads_.size());
  std::vector<Job> out;
  for (size_t i = 0; i < share; ++i) {
    out.push_back(std::move(jobs_.front()));
    jobs_.pop_front();
  }
  return out;
}

void ScoringPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_ready_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (closing_) return;
    const std::vector<Job> jobs = take_share();
    lock.unlock();
    std::vector<Sample> samples;
    for (const Job& job : jobs) samples.push_back({&job.prompt, &job.completion});
    std::vector<Verdict> verdicts = scorer_.judge_all(samples);
    lock.lock();
    for (size_t i = 0; i < jobs.size(); ++i) {
      scores_.at(jobs[i].prompt_index).at(jobs[i].sample_index) = std::move(verdicts[i].score);
    }
    under_way_ -= jobs.size();
    if (under_way_ == 0) all_done_.notify_all();
  }
}

std::vector<std::vector<data::Score>> ScoringPool::finish() {
  std::unique_lock lock(mutex_);
  all_done_.wait(lock, [this] { return under_way_ == 0; });
  std::vector<std::vector<data::Score>> out;
  for (auto& group : scores_) {
    out.emplace_back();
    if (std::none_of(group.begin(), group.end(), [](const auto& s) { return s.has_value(); })) {
      out.back().resize(group.size());
      continue;
    }
    for (auto& score : group) {
      PONDER_CHECK(score.has_value(), "[ScoringPool] sample {} of prompt {} was never submitted",
                   out.back().size(), out.size() - 1);
      failures_.add(*score);
      out.back().push_back(std::move(*score));
    }
  }
  scores_.clear();
  failures_.check();
  return out;
}

}  // namespace ponder::rewards
