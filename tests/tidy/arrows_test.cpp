// The folders' graph: who may include whom, and who may see LibTorch. docs/ARCHITECTURE.md draws
// the same.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace ponder {
namespace {

namespace fs = std::filesystem;

// A folder may include its own headers and these folders'.
const std::map<std::string, std::set<std::string>> kArrows = {
    {"core", {}},
    {"data", {"core"}},
    {"distributed", {"core", "data"}},
    {"sandbox", {"core"}},
    {"policy", {"core", "data", "distributed"}},
    {"rewards", {"core", "data", "sandbox"}},
    {"rollout", {"core", "data", "distributed", "policy"}},
    {"grpo", {"core", "data", "distributed", "policy"}},
    {"recipes", {"core", "data", "distributed", "policy", "sandbox", "rewards", "rollout", "grpo"}},
    {"cli",
     {"core", "data", "distributed", "policy", "sandbox", "rewards", "rollout", "grpo", "recipes"}},
};

// cli/ prints versions and answers `model logprobs`; beside it only these name tensors.
const std::set<std::string> kTensorFolders = {"distributed", "policy",  "rollout",
                                              "grpo",        "recipes", "cli"};

struct Include {
  fs::path file;
  std::string folder;  // of the file
  std::string path;    // as written
};

std::vector<Include> all_includes() {
  std::vector<Include> out;
  static const std::regex pattern(R"re(^\s*#\s*include\s*[<"]([^>"]+)[>"])re");
  for (const auto& [folder, allowed] : kArrows) {
    const fs::path root = fs::path(PONDER_SOURCE_DIR) / folder;
    if (!fs::exists(root)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp") continue;
      std::ifstream lines(entry.path());
      std::smatch match;
      for (std::string line; std::getline(lines, line);) {
        if (std::regex_search(line, match, pattern))
          out.push_back({entry.path(), folder, match[1]});
      }
    }
  }
  return out;
}

TEST(Arrows, EveryIncludeFollowsOne) {
  const auto includes = all_includes();
  EXPECT_GT(includes.size(), 300u);
  for (const Include& include : includes) {
    const std::string target = include.path.substr(0, include.path.find('/'));
    if (!kArrows.contains(target) || target == include.folder) continue;
    EXPECT_TRUE(kArrows.at(include.folder).contains(target))
        << include.file << " includes " << include.path << ", but " << include.folder
        << " may not use " << target;
  }
}

TEST(Arrows, OnlyTheTensorFoldersSeeLibTorch) {
  static const std::regex torch("^(ATen|torch|c10)/");
  for (const Include& include : all_includes()) {
    if (!std::regex_search(include.path, torch)) continue;
    EXPECT_TRUE(kTensorFolders.contains(include.folder))
        << include.file << " includes " << include.path;
  }
}

TEST(Arrows, HeadersNameNoMoreOfLibTorchThanTheTensor) {
  static const std::regex torch("^(ATen|torch|c10)/");
  static const std::set<std::string> cheap = {"ATen/core/Tensor.h", "ATen/core/ScalarType.h",
                                              "c10/core/ScalarType.h",
                                              "c10/util/BFloat16.h"};
  for (const Include& include : all_includes()) {
    if (include.file.extension() != ".h" || !std::regex_search(include.path, torch)) continue;
    EXPECT_TRUE(cheap.contains(include.path)) << include.file << " includes " << include.path;
  }
}

// A twin of EveryIncludeFollowsOne that must find something: the check itself works.
TEST(Arrows, AWrongIncludeWouldBeSeen) {
  EXPECT_FALSE(kArrows.at("grpo").contains("rewards"));
  EXPECT_FALSE(kArrows.at("rewards").contains("policy"));
  EXPECT_FALSE(kArrows.at("core").contains("data"));
}

}  // namespace
}  // namespace ponder
