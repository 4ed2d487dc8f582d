// The random-weight models that tests/policy/oracle/make_models.py makes by transformers, once for
// all tests of a build folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/model.h"
#include "policy/ops.h"
#include "policy/safetensors.h"
#include "tests/support/process.h"

namespace ponder::test {

class OracleModels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (oracle_python().empty())
      GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test` sets it where tools/oracle "
                      "could install transformers";
    const Outcome made = run({oracle_python(), "tests/policy/oracle/make_models.py", root()});
    ASSERT_EQ(made.status, 0) << made.err;
    for (const auto& entry : std::filesystem::directory_iterator(root()))
      if (entry.is_directory()) folders_.push_back(entry.path());
    std::sort(folders_.begin(), folders_.end());
    ASSERT_GT(folders_.size(), 30u);
  }

  static std::string root() { return std::string(PONDER_BINARY_DIR) + "/oracle-models"; }
  const std::vector<std::filesystem::path>& folders() const { return folders_; }

 private:
  std::vector<std::filesystem::path> folders_;
};

// The sequences of one model and what transformers computed for them.
struct Reference {
  policy::SafetensorsFile file;
  policy::PackedInput input;

  explicit Reference(const std::filesystem::path& folder) : file(folder / "reference.safetensors") {
    const at::Tensor lengths = file.tensor("lengths");
    input.token_ids = file.tensor("tokens").clone();
    input.cu_seqlens = {0};
    std::vector<at::Tensor> positions;
    for (int64_t s = 0; s < lengths.numel(); ++s) {
      const int64_t length = lengths[s].item<int64_t>();
      positions.push_back(at::arange(length, at::kLong));
      input.cu_seqlens.push_back(input.cu_seqlens.back() + static_cast<int32_t>(length));
    }
    input.positions = at::cat(positions);
  }

  int64_t sequences() const { return static_cast<int64_t>(input.cu_seqlens.size()) - 1; }
  at::Tensor tokens(int64_t s) const {
    return input.token_ids.slice(0, input.cu_seqlens[s], input.cu_seqlens[s + 1]);
  }

  // Rows of `states` (which lack each sequence's last `ahead - 1` tokens) and their targets `ahead`
  // tokens on -> log-probabilities, sequence by sequence.
  at::Tensor logprobs(const at::Tensor& states, const at::Tensor& weight, int64_t ahead = 1) const {
    std::vector<at::Tensor> rows, targets;
    int64_t begin = 0;
    for (int64_t s = 0; s < sequences(); ++s) {
      const int64_t held = std::max<int64_t>(0, tokens(s).size(0) - (ahead - 1));
      const int64_t count = std::max<int64_t>(0, held - 1);
      rows.push_back(states.narrow(0, begin, count));
      targets.push_back(tokens(s).slice(0, ahead, ahead + count));
      begin += held;
    }
    return policy::token_logprobs(at::cat(rows), weight, at::cat(targets), 1.0).logprobs;
  }
};

}  // namespace ponder::test
