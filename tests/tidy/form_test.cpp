// What a reviewer should not have to look for: sizes, headers' heads, words that promise work,
// paths of a machine.
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ponder {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> sources() {
  std::vector<fs::path> out;
  for (const char* folder : {"core", "data", "distributed", "policy", "sandbox", "rewards",
                             "rollout", "grpo", "recipes", "cli", "tests", "bench", "examples"}) {
    const fs::path root = fs::path(PONDER_SOURCE_DIR) / folder;
    if (!fs::exists(root)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      const std::string extension = entry.path().extension(), path = entry.path().string();
      const bool ours = path.find("/tests/cases/") == std::string::npos;
      if (ours && (extension == ".h" || extension == ".cpp")) out.push_back(entry.path());
    }
  }
  return out;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> out;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) out.push_back(line);
  return out;
}

TEST(Form, FilesAreShort) {
  EXPECT_GT(sources().size(), 100u);
  for (const fs::path& path : sources()) EXPECT_LE(lines_of(path).size(), 500u) << path;
}

TEST(Form, HeadersSayWhatTheyAreFor) {
  for (const fs::path& path : sources()) {
    if (path.extension() != ".h") continue;
    const auto lines = lines_of(path);
    ASSERT_FALSE(lines.empty()) << path;
    EXPECT_TRUE(lines[0].starts_with("// ")) << path << " does not open with a comment";
    bool once = false;
    for (const std::string& line : lines) once = once || line == "#pragma once";
    EXPECT_TRUE(once) << path;
  }
}

TEST(Form, NoPromisesAndNoMachinePaths) {
  // Spelled in pieces, so that this file passes its own test.
  const std::regex promise(R"(\bTO)"
                           R"(DO\b|\bFIX)"
                           R"(ME\b|\bXX)"
                           R"(X\b|not impl)"
                           "emented"),
      machine("(^|[^a-z.])/(work|root|farm)/");
  for (const fs::path& path : sources()) {
    int number = 0;
    for (const std::string& line : lines_of(path)) {
      ++number;
      EXPECT_FALSE(std::regex_search(line, promise)) << path << ":" << number << ": " << line;
      EXPECT_FALSE(std::regex_search(line, machine)) << path << ":" << number << ": " << line;
    }
  }
}

}  // namespace
}  // namespace ponder
