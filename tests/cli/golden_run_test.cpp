// Ten steps of the demo's recipe, cut down, against tests/golden/grpo/ten_steps.jsonl: the same
// bits on the same kind of CPU, close on others (matrix kernels round differently by instruction
// set). A change that moves them is an entry under Numerics in CHANGELOG.md. To renew the file on
// purpose:
//   PONDER_UPDATE_GOLDEN=1 build/tests/cli/cli_test --gtest_filter='GoldenRun.*'
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

const std::string kFile = PONDER_SOURCE_DIR "/tests/golden/grpo/ten_steps.jsonl";
const char* const kSeries[] = {
    "loss", "grad_norm", "kl", "entropy", "reward", "completions/mean_length", "learning_rate"};

// Vendor, family and model: what decides which kernels run.
std::string cpu_kind() {
  std::ifstream file("/proc/cpuinfo");
  std::string kind;
  for (std::string line; std::getline(file, line) && !line.empty();) {
    for (const char* key : {"vendor_id", "cpu family", "model\t"}) {
      if (line.starts_with(key)) kind += line.substr(line.find(':') + 1);
    }
  }
  return kind;
}

std::vector<nlohmann::json> golden_lines() {
  std::vector<nlohmann::json> lines;
  std::ifstream file(kFile);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

std::string text_of(const std::vector<core::StepRecord>& records) {
  std::string text = nlohmann::json({{"cpu", cpu_kind()}}).dump() + "\n";
  for (const core::StepRecord& record : records) {
    core::StepRecord kept{.step = record.step, .metrics = {}};
    for (const char* name : kSeries) kept.metrics[name] = record.metrics.at(name);
    text += core::metrics_line(kept);
  }
  return text;
}

TEST(GoldenRun, TenStepsAreAsTheyWere) {
  ::setenv("OMP_NUM_THREADS", "1", 1);  // the number of threads changes the last bits
  const test::TempDir folder;
  const test::Outcome outcome = test::run(
      test::small_run(folder.path() / "run", {"grpo.max_steps=10", "eval.num_prompts=0"}));
  ::unsetenv("OMP_NUM_THREADS");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto records = core::read_metrics(folder.path() / "run/metrics.jsonl");
  ASSERT_EQ(records.size(), 10u);
  if (std::getenv("PONDER_UPDATE_GOLDEN") != nullptr) std::ofstream(kFile) << text_of(records);
  const auto golden = golden_lines();
  ASSERT_EQ(golden.size(), 11u);
  const bool same_kind = golden[0].at("cpu") == cpu_kind();
  for (size_t i = 0; i < records.size(); ++i) {
    for (const char* name : kSeries) {
      const double want = golden[i + 1].at(name).get<double>(), got = records[i].metrics.at(name);
      SCOPED_TRACE(std::string(name) + " of step " + std::to_string(i + 1));
      if (same_kind) {
        EXPECT_EQ(got, want);
      } else if (i == 0) {
        EXPECT_NEAR(got, want, 1e-4 * (1 + std::abs(want)));
      } else {
        // A sampled token may fall to the other side of a border: then the runs part, within what
        // a run of another seed would do.
        EXPECT_NEAR(got, want, 0.5 * (1 + std::abs(want)));
      }
    }
  }
}

}  // namespace
}  // namespace ponder
