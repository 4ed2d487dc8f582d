#include "rewards/plugins/skeleton.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/spelling.h"
#include "rewards/plugins/embedded.h"

namespace ponder::rewards {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPython =
    R"("""The reward NAME: 1 where the completion's last word is the answer.

Judges lists: one float for each completion, in the same order; None where the reward does not apply. Every column of
the dataset can be taken by its name. Test it with: make test
"""


def reward(prompts, completions, answer, **columns):
    return [None if wanted is None else judge(completion, str(wanted)) for completion, wanted in zip(completions, answer)]


def judge(completion, wanted):
    if not isinstance(completion, str):  # a conversation's completion is a list of messages
        completion = completion[-1]["content"]
    words = completion.replace("</answer>", " ").rstrip(" .\n").split()
    return 1.0 if words and words[-1] == wanted else 0.0
)";

constexpr const char* kCpp = R"(// The reward NAME: 1 where the completion ends with the answer.
#include <string_view>

#include "reward_plugin.h"

namespace {

void judge(const ponder_reward_record& record, ponder_reward_result& result) {
  const std::string_view completion(record.completion.data, record.completion.size);
  const std::string_view answer(record.answer.data, record.answer.size);
  if (answer.empty()) {
    result.status = PONDER_REWARD_NONE;
    return;
  }
  const bool right = completion.ends_with(answer);
  result.reward = right ? 1 : 0;
  result.status = right ? PONDER_REWARD_OK : PONDER_REWARD_WRONG;
}

}  // namespace

extern "C" uint32_t ponder_reward_abi_version() { return PONDER_REWARD_ABI_VERSION; }

extern "C" int32_t ponder_reward_score(const ponder_reward_record* records, size_t count, ponder_reward_result* results) {
  for (size_t i = 0; i < count; ++i) judge(records[i], results[i]);
  return 0;
}
)";

constexpr const char* kC = R"(/* The reward NAME: 1 where the completion ends with the answer. */
#include <string.h>

#include "reward_plugin.h"

static void judge(const ponder_reward_record* record, ponder_reward_result* result) {
  const ponder_text completion = record->completion, answer = record->answer;
  int right;
  if (answer.size == 0) {
    result->status = PONDER_REWARD_NONE;
    return;
  }
  right = completion.size >= answer.size &&
          memcmp(completion.data + completion.size - answer.size, answer.data, answer.size) == 0;
  result->reward = right;
  result->status = right ? PONDER_REWARD_OK : PONDER_REWARD_WRONG;
}

uint32_t ponder_reward_abi_version(void) { return PONDER_REWARD_ABI_VERSION; }

int32_t ponder_reward_score(const ponder_reward_record* records, size_t count, ponder_reward_result* results) {
  size_t i;
  for (i = 0; i < count; ++i) judge(&records[i], &results[i]);
  return 0;
}
)";

constexpr const char* kCases =
    R"({"prompt": "6 times 7?", "completion": "It is 42", "answer": "42", "expected": 1}
{"prompt": "6 times 7?", "completion": "It is 43", "answer": "42", "expected": 0}
{"prompt": "6 times 7?", "completion": "", "answer": "42", "expected": 0}
{"prompt": "Say hello.", "completion": "Hello", "answer": null, "expected": null}
)";

constexpr const char* kReadme = R"(# NAME

    make test                                            # builds it and tries it: the cases, and what every plugin must stand
    ponder score --reward ./FILE --input cases.jsonl     # score any file; --explain says more

In a recipe: `reward_funcs = ["path/to/NAME/FILE"]`. Each line of `cases.jsonl` is a record with the reward that is expected.
)";

constexpr const char* kMakeTest =
    "PONDER ?= ponder\n\ntest: FILE\n\t$(PONDER) reward test ./FILE --cases cases.jsonl\n";

struct Language {
  const char *extension, *source, *rule;
};

const std::map<std::string, Language>& languages() {
  static const std::map<std::string, Language> all = {
      {"python", {".py", kPython, ""}},
      {"cpp",
       {".cpp", kCpp,
        "\nNAME.so: NAME.cpp reward_plugin.h\n\t$(CXX) -std=c++20 -O2 -Wall -shared -fPIC $< -o "
        "$@\n"}},
      {"c",
       {".c", kC, "\nNAME.so: NAME.c reward_plugin.h\n\t$(CC) -O2 -Wall -shared -fPIC $< -o $@\n"}},
  };
  return all;
}

std::string filled(std::string text, const std::string& name, const std::string& file) {
  for (const auto& [word, value] :
       {std::pair<std::string, std::string>{"NAME", name}, {"FILE", file}}) {
    for (size_t at = text.find(word); at != std::string::npos;
         at = text.find(word, at + value.size()))
      text.replace(at, word.size(), value);
  }
  return text;
}

}  // namespace

std::vector<fs::path> write_skeleton(const fs::path& path, const std::string& language) {
  std::vector<std::string> known;
  for (const auto& [name, about] : languages()) known.push_back(name);
  const auto chosen = languages().find(language);
  if (chosen == languages().end())
    core::throw_user("unknown language '{}'{}", language, core::suggestion(language, known));
  const std::string name = path.filename().string();
  const bool word = !name.empty() && !std::isdigit(static_cast<unsigned char>(name[0])) &&
                    std::all_of(name.begin(), name.end(),
                                [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  if (!word)
    core::throw_user("the reward's name '{}' is no identifier: use letters, digits and _", name);
  if (fs::exists(path)) core::throw_user("{} exists already", path.string());
  const auto& [extension, source, rule] = chosen->second;
  const std::string file = name + (language == "python" ? ".py" : ".so");
  const std::string makefile = std::string(kMakeTest) + rule;
  std::vector<std::pair<std::string, std::string>> files = {{name + extension, source},
                                                            {"cases.jsonl", kCases},
                                                            {"Makefile", makefile},
                                                            {"README.md", kReadme}};
  fs::create_directories(path);
  std::vector<fs::path> written;
  for (const auto& [file_name, text] : files) {
    core::write_file_atomic(path / file_name, filled(text, name, file));
    written.push_back(path / file_name);
  }
  if (language != "python") {
    core::write_file_atomic(path / "reward_plugin.h", reward_plugin_header());
    written.push_back(path / "reward_plugin.h");
  }
  return written;
}

}  // namespace ponder::rewards
