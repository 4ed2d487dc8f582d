// What tests of rewards share: records in one line, and plugins written on the spot.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "rewards/reward.h"
#include "tests/support/temp_dir.h"

namespace ponder::rewards {

inline data::Prompt prompt_with(const data::Json& answer, const std::string& text = "",
                                data::Json columns = data::Json::object()) {
  data::Prompt prompt;
  prompt.text = text;
  prompt.answer = answer;
  prompt.columns = std::move(columns);
  return prompt;
}

inline data::Completion stopped(const std::string& text,
                                data::FinishReason reason = data::FinishReason::kStop) {
  data::Completion completion;
  completion.text = text;
  completion.finish_reason = reason;
  return completion;
}

// A folder with files; each is written and named.
class Files {
 public:
  std::string write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = folder_.path() / name;
    std::ofstream(path) << text;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path.string();
  }
  std::filesystem::path path() const { return folder_.path(); }

 private:
  test::TempDir folder_;
};

}  // namespace ponder::rewards
