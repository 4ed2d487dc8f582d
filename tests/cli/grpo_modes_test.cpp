// The modes of the grpo stage end to end, on the demo's model: what each promises must be seen in
// the run's files, and a killed run must go on with the same bits.
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::vector<core::StepRecord> trained(const fs::path& run, std::vector<std::string> words) {
  words.emplace_back("eval.num_prompts=0");
  const test::Outcome outcome = test::run(test::small_run(run, words));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return core::read_metrics(run / "metrics.jsonl");
}

// Runs to the end, and another time with stops after steps 2 and 4.
void expect_exact_resume(std::vector<std::string> words) {
  const test::TempDir folder;
  const fs::path whole = folder.path() / "whole", stopped = folder.path() / "stopped";
  trained(whole, words);
  for (const char* steps : {"2", "4"}) {
    std::vector<std::string> more = words;
    more.insert(more.end(), {"--max-steps", steps});
    trained(stopped, more);
  }
  trained(stopped, words);
  EXPECT_EQ(test::stable_metrics(stopped), test::stable_metrics(whole));
  EXPECT_EQ(test::read_text(stopped / "checkpoints/6/model.safetensors"),
            test::read_text(whole / "checkpoints/6/model.safetensors"));
}

TEST(OneStepOff, IsOneRolloutStaleAndCorrected) {
  const test::TempDir folder;
  const auto records = trained(folder.path() / "run", {"grpo.one_step_off=true"});
  EXPECT_EQ(records.front().metrics.at("staleness/max"), 0);  // nothing is older than the start
  for (size_t i = 1; i < records.size(); ++i) {
    EXPECT_EQ(records[i].metrics.at("staleness/mean"), 2);  // num_iterations updates
    EXPECT_GT(records[i].metrics.at("sampling/sampling_logp_difference/max"), 1e-4);
    EXPECT_TRUE(records[i].metrics.contains("sampling/importance_sampling_ratio/mean"));
  }
}

TEST(OneStepOff, GoesOnExactly) {
  expect_exact_resume({"grpo.one_step_off=true"});
}

// bfloat16's sampler and trainer round differently: the one update that a rollout gets is on-policy
// all the same, and the difference is corrected.
TEST(OnPolicy, RatiosAreExactlyOneInBfloat16) {
  const test::TempDir folder;
  const auto records =
      trained(folder.path() / "run",
              {"training.bf16=true", "grpo.num_iterations=1", "grpo.steps_per_generation=1",
               "grpo.loss.importance_sampling_level=sequence", "grpo.loss.epsilon=0.0003",
               "grpo.loss.epsilon_high=0.0004", "grpo.max_steps=2"});
  for (const core::StepRecord& record : records) {
    EXPECT_EQ(record.metrics.at("clip_ratio/region_mean"), 0);
    EXPECT_GT(record.metrics.at("sampling/sampling_logp_difference/max"), 1e-3);
    EXPECT_GT(record.metrics.at("sampling/importance_sampling_ratio/max"), 1);
  }
}

TEST(OnPolicy, SeveralUpdatesInBfloat16StartFromTheTrainersLogProbs) {
  const test::TempDir folder;
  const auto records = trained(folder.path() / "run", {"training.bf16=true", "grpo.max_steps=2"});
  for (const core::StepRecord& record : records) {
    EXPECT_TRUE(record.metrics.contains("timing_s/old_logprobs"));
    EXPECT_TRUE(record.metrics.contains("sampling/importance_sampling_ratio/mean"));
  }
}

TEST(SyncRefModel, GoesOnExactly) {
  expect_exact_resume({"grpo.sync_ref_model=true", "grpo.ref_model_sync_steps=3",
                       "grpo.loss.use_adaptive_entropy=true", "grpo.loss.entropy_target=0.5"});
}

TEST(FilterGroups, TrainsFullBatchesOfGroupsWithSignal) {
  const test::TempDir folder;
  const fs::path run = folder.path() / "run";
  const auto records = trained(run, {"grpo.filter_groups.enable=true", "grpo.num_generations=2",
                                     "grpo.prompts_per_step=6", "save.completions_per_step=6"});
  double refills = 0;
  for (const core::StepRecord& record : records) {
    const auto& m = record.metrics;
    refills += m.at("filter_groups/num_gen_batches") - 1;
    EXPECT_GE(m.at("filter_groups/num_prompts"), 6);
    EXPECT_NEAR(m.at("filter_groups/kept_share"), 6 / m.at("filter_groups/num_prompts"), 1e-12);
    EXPECT_NEAR(m.at("frac_reward_zero_std"), 1 - m.at("filter_groups/kept_share"), 1e-12);
    std::ifstream lines(run / "completions" / fmt::format("{:06}.jsonl", record.step));
    int groups = 0;
    for (std::string line; std::getline(lines, line); ++groups) {
      const auto completions = nlohmann::json::parse(line).at("completions");
      EXPECT_NE(completions[0].at("reward"), completions[1].at("reward"));
    }
    EXPECT_EQ(groups, 6);
  }
  EXPECT_GT(refills, 0);  // else this shows nothing
}

TEST(FilterGroups, IsBoundedAndGoesOnWithLess) {
  const test::TempDir folder;
  // No completion of one token can be right: no group has a signal.
  const auto records = trained(folder.path() / "run",
                               {"grpo.filter_groups.enable=true", "grpo.max_completion_length=1",
                                "grpo.filter_groups.max_num_gen_batches=3", "grpo.max_steps=2"});
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].metrics.at("filter_groups/num_gen_batches"), 3);
  EXPECT_EQ(records[0].metrics.at("filter_groups/kept_share"), 0);
}

TEST(FilterGroups, GoesOnExactly) {
  expect_exact_resume({"grpo.filter_groups.enable=true", "grpo.num_generations=2"});
}

TEST(PartialRollouts, LongCompletionsGoOnInLaterSteps) {
  const test::TempDir folder;
  const auto records =
      trained(folder.path() / "run", {"grpo.partial_rollout_tokens=12", "grpo.prompts_per_step=6"});
  double paused = 0, oldest = 0;
  for (const core::StepRecord& record : records) {
    paused += record.metrics.at("partial/paused_groups");
    oldest = std::max(oldest, record.metrics.at("staleness/max"));
    EXPECT_GT(record.metrics.at("partial/groups"), 0);
    EXPECT_LE(record.metrics.at("partial/groups"), 6);
  }
  EXPECT_GT(paused, 0);
  EXPECT_GT(oldest, 0);  // a completion with tokens of two policies was trained
}

TEST(PartialRollouts, GoOnExactly) {
  expect_exact_resume({"grpo.partial_rollout_tokens=12"});
  expect_exact_resume({"grpo.partial_rollout_tokens=12", "grpo.one_step_off=true"});
}

TEST(StopStrings, EndCompletionsAndStayInTheText) {
  const test::TempDir folder;
  const fs::path run = folder.path() / "run";
  const test::Outcome outcome =
      test::run(test::small_run(run, {"grpo.stop_strings=[\"</think>\", \"\\n\"]",
                                      "grpo.repetition_penalty=1.02", "grpo.max_steps=2"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  int stopped = 0;
  for (const char* file : {"completions/000001.jsonl", "evaluations/000002.jsonl"}) {
    std::ifstream lines(run / file);
    ASSERT_TRUE(lines) << file;
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json group = nlohmann::json::parse(line);
      for (const nlohmann::json& completion : group.at("completions")) {
        const std::string text = completion.at("text");
        const size_t place = text.find("</think>");
        if (place == std::string::npos) continue;
        EXPECT_EQ(place + 8, text.size()) << text;
        EXPECT_EQ(completion.at("finish_reason"), "stop");
        ++stopped;
      }
    }
  }
  EXPECT_GT(stopped, 10);
  const test::Outcome empty =
      test::run(test::small_run(folder.path() / "empty", {"grpo.stop_strings=[\"\"]"}));
  EXPECT_EQ(empty.status, 2);
  EXPECT_THAT(empty.err, HasSubstr("grpo.stop_strings: an empty one"));
}

// Masks leave the sampler's and the trainer's distribution the same one: without them the trainer's
// is the whole, whose log-probs are lower.
TEST(KeepSamplingMask, TrainsTheDistributionThatWasSampledFrom) {
  const test::TempDir folder;
  std::vector<std::string> words = {"grpo.top_p=0.8", "grpo.max_steps=2", "grpo.num_iterations=1"};
  const auto whole = trained(folder.path() / "whole", words);
  words.emplace_back("grpo.keep_sampling_mask=true");
  const auto kept = trained(folder.path() / "kept", words);
  EXPECT_EQ(whole[0].metrics.at("completions/mean_length"),
            kept[0].metrics.at("completions/mean_length"));  // sampled alike
  EXPECT_LT(kept[0].metrics.at("entropy"), 0.9 * whole[0].metrics.at("entropy"));
  for (const core::StepRecord& record : kept)
    EXPECT_LT(record.metrics.at("sampling/sampling_logp_difference/max"), 1e-4);
}

TEST(KeepRouting, IsTheSameBitsWherePoliciesAreOneAndMovesStaleOnes) {
  const test::TempDir folder;
  std::vector<std::string> words = {"grpo.max_steps=1", "grpo.num_iterations=1"};
  trained(folder.path() / "free", words);
  words.emplace_back("grpo.keep_routing=true");
  trained(folder.path() / "kept", words);
  EXPECT_EQ(test::stable_metrics(folder.path() / "free"),
            test::stable_metrics(folder.path() / "kept"));
}

TEST(KeptRecords, GoOnExactlyThroughPausesAndOneStepOff) {
  expect_exact_resume({"grpo.keep_routing=true", "grpo.keep_sampling_mask=true", "grpo.top_p=0.9",
                       "grpo.freeze_router=false", "grpo.partial_rollout_tokens=12",
                       "grpo.one_step_off=true"});
}

// Everything that a checkpoint can hold, at once: a rollout sampled ahead, paused completions with
// their records, pass rates, a refreshed reference, an adaptive coefficient.
TEST(EveryState, GoesOnExactlyAfterKillNineAtRandomPoints) {
  const test::TempDir folder;
  const std::string data = folder.path() / "train.jsonl";
  {
    std::ofstream file(data);
    for (int i = 0; i < 40; ++i)
      file << nlohmann::json{{"prompt", fmt::format("User: {}+2=?\nAssistant:", i)},
                             {"answer", i + 2}}
           << "\n";
  }
  const std::vector<std::string> words = {"dataset.name=" + data,
                                          "dataset.curriculum.min_pass_rate=0.01",
                                          "dataset.curriculum.resample=0.25",
                                          "grpo.one_step_off=true",
                                          "grpo.partial_rollout_tokens=20",
                                          "grpo.keep_routing=true",
                                          "grpo.keep_sampling_mask=true",
                                          "grpo.top_p=0.95",
                                          "grpo.sync_ref_model=true",
                                          "grpo.ref_model_sync_steps=3",
                                          "grpo.loss.use_adaptive_entropy=true",
                                          "grpo.max_steps=8",
                                          "eval.num_prompts=0"};
  const fs::path whole = folder.path() / "whole", killed = folder.path() / "killed";
  trained(whole, words);
  std::minstd_rand random(std::random_device{}());
  std::string delays;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto delay = std::chrono::milliseconds(300 + random() % 1500);
    delays += std::to_string(delay.count()) + " ms, ";
    test::Process process(test::small_run(killed, words));
    std::this_thread::sleep_for(delay);
    process.send(SIGKILL);
    process.wait();
  }
  SCOPED_TRACE("killed after " + delays);
  const auto records = trained(killed, words);
  EXPECT_EQ(test::stable_metrics(killed), test::stable_metrics(whole));
  double paused = 0;
  for (const core::StepRecord& record : records)
    paused += record.metrics.at("partial/paused_groups");
  EXPECT_GT(paused, 0);  // else less was shown
  EXPECT_GT(records.back().metrics.at("curriculum/prompts"), 0);
}

TEST(Speculation, ChangesNoMetricOfARun) {
  const test::TempDir folder;
  const fs::path plain = folder.path() / "plain", guessing = folder.path() / "guessing";
  trained(plain, {"grpo.max_steps=2"});
  const std::vector<std::string> words = {"grpo.max_steps=2", "rollout.speculation=prompt_lookup",
                                          "rollout.guess_running_max=16", "rollout.kv_cache_mb=2"};
  const auto guessed = [](const core::StepRecord& record) {
    return record.metrics.at("perf/speculation/guessed_tokens");
  };
  const auto records = trained(guessing, words);
  EXPECT_GT(guessed(records[0]), 0);
  EXPECT_EQ(test::stable_metrics(guessing), test::stable_metrics(plain));
  // Two workers sample the same completions, and guess as often together as one does.
  std::vector<std::string> two = words;
  two.insert(two.end(), {"--workers", "2"});
  EXPECT_EQ(guessed(trained(folder.path() / "two", two)[0]), guessed(records[0]));
  EXPECT_EQ(test::read_text(guessing / "checkpoints/2/model.safetensors"),
            test::read_text(plain / "checkpoints/2/model.safetensors"));
}

TEST(Speculation, ByModulesThatTheModelLacksIsRefused) {
  const test::TempDir folder;
  const test::Outcome outcome =
      test::run(test::small_run(folder.path() / "run", {"rollout.speculation=mtp"}));
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("no module"));
}

TEST(KlInReward, LeavesTheLossWithoutKl) {
  const test::TempDir folder;
  for (const char* estimator : {"rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline"}) {
    const auto records =
        trained(folder.path() / estimator,
                {"grpo.use_kl_in_reward=true", std::string("grpo.advantage.estimator=") + estimator,
                 "grpo.loss.kl_estimator=k1", "grpo.max_steps=3"});
    for (const core::StepRecord& record : records) {
      EXPECT_TRUE(record.metrics.contains("kl_penalty")) << estimator;
      EXPECT_FALSE(record.metrics.contains("kl")) << estimator;
    }
    EXPECT_NEAR(records.front().metrics.at("kl_penalty"), 0, 1e-6);  // the reference itself
    EXPECT_NE(records.back().metrics.at("kl_penalty"), 0);
  }
}

// arXiv:2501.12948v2 section 2.1: 8,192 outputs a rollout in 16 mini-batches, 10,400 updates.
TEST(ShippedRecipes, R1ZerosArithmeticIsThePapers) {
  const test::TempDir folder;
  const test::Outcome outcome = test::run(
      {test::kPonder, "train", "recipes/r1_zero.toml", "--check", "--run", folder.path() / "run",
       "training.device=cpu", "training.bf16=false", "optimizer.adam_moments_dtype=float32",
       "model_name_or_path=examples/tiny-v3-base", "dataset.name=arithmetic",
       "dataset.prompt_template=User: {prompt} Assistant:", "eval.dataset=arithmetic",
       "grpo.max_completion_length=16", "eval.max_completion_length=16"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("512 prompts x 16 completions = 8,192 sequences; 1 pass x 16 "
                                     "mini-batches of 512 = 16 updates"));
  EXPECT_THAT(outcome.out, HasSubstr("650 steps: 10,400 updates"));
}

TEST(KlInReward, IsRefusedWhereItWouldDoNothing) {
  const test::TempDir folder;
  const auto error = [&](const std::vector<std::string>& words) {
    const test::Outcome outcome = test::run(test::small_run(folder.path() / "run", words));
    EXPECT_EQ(outcome.status, 2);
    return outcome.err;
  };
  EXPECT_THAT(error({"grpo.use_kl_in_reward=true", "grpo.loss.beta=0"}),
              HasSubstr("grpo.loss.beta, the weight of the KL, is 0"));
  EXPECT_THAT(error({"grpo.use_kl_in_reward=true", "grpo.loss.beta=0.1",
                     "grpo.advantage.multi_objective_aggregation=normalize_then_sum"}),
              HasSubstr("normalize_then_sum"));
}

TEST(Contradictions, AreFoundBeforeAnythingIsSampled) {
  const test::TempDir folder;
  const auto refused = [&](const std::vector<std::string>& words) {
    std::vector<std::string> more = words;
    more.emplace_back("--check");
    const test::Outcome outcome = test::run(test::small_run(folder.path() / "run", more));
    EXPECT_EQ(outcome.status, 2);
    return outcome.err;
  };
  EXPECT_THAT(refused({"grpo.loss.loss_type=vespo", "grpo.one_step_off=true",
                       "grpo.loss.vllm_importance_sampling_mode=sequence_mask"}),
              HasSubstr("grpo.loss.vllm_importance_sampling_mode: loss_type \"vespo\""));
  EXPECT_THAT(refused({"grpo.loss.use_adaptive_entropy=true", "grpo.loss.entropy_coef_min=2"}),
              HasSubstr("grpo.loss.entropy_coef_min: 2 is above grpo.loss.entropy_coef_max, 1"));
}

// Their products would leave 64 bits: "-4 updates".
TEST(BatchArithmetic, RefusesNumbersThatNobodyMeans) {
  const test::TempDir folder;
  for (const char* key : {"max_steps", "prompts_per_step", "num_generations", "num_iterations",
                          "steps_per_generation", "max_completion_length"}) {
    const std::string word = fmt::format("grpo.{}=4000000000", key);
    const test::Outcome outcome =
        test::run(test::small_run(folder.path() / "run", {word, "--check"}));
    EXPECT_EQ(outcome.status, 2) << word;
    EXPECT_THAT(outcome.err, HasSubstr(fmt::format("grpo.{}: expected a value from 1 to", key)));
  }
}

TEST(FilterGroups, EndsWithWhatThereIsWhereCompletionsPause) {
  const test::TempDir folder;
  const auto records = trained(
      folder.path() / "run",
      {"grpo.filter_groups.enable=true", "grpo.filter_groups.max_num_gen_batches=1",
       "grpo.partial_rollout_tokens=1", "grpo.max_completion_length=2", "grpo.max_steps=1"});
  EXPECT_EQ(records.at(0).metrics.at("filter_groups/num_gen_batches"), 1);
}

TEST(Replay, IsRefusedForWhatIsNoDump) {
  const test::Outcome outcome = test::run({test::kPonder, "train", "--replay", "recipes"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("is no dump of a failed update"));
}

}  // namespace
}  // namespace ponder
