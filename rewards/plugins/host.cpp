// The process that a C ABI plugin runs in: `ponder-reward-host FILE.so`. Travels inside the ponder
// program as bytes. Speaks the same lines as the Python worker (pool.h).
#include <cmath>
#include <cstring>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include "rewards/reward_plugin.h"

namespace {

using Json = nlohmann::json;

// The protocol's own descriptors; the plugin sees /dev/null as stdin, and stderr as stdout.
struct Wire {
  std::FILE *in, *out;
};

Wire take_pipes() {
  Wire wire{fdopen(fcntl(0, F_DUPFD_CLOEXEC, 3), "r"), fdopen(fcntl(1, F_DUPFD_CLOEXEC, 3), "w")};
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, 0);
  dup2(2, 1);
  return wire;
}

void say(std::FILE* out, const Json& reply) {
  const std::string line = reply.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), out) != line.size() || std::fflush(out) != 0)
    _exit(1);
}

using Score = decltype(&ponder_reward_score);

// Throws std::runtime_error.
Score load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  const auto version = reinterpret_cast<decltype(&ponder_reward_abi_version)>(
      dlsym(library, "ponder_reward_abi_version"));
  const auto score = reinterpret_cast<Score>(dlsym(library, "ponder_reward_score"));
  if (version == nullptr || score == nullptr) {
    throw std::runtime_error(
        "no ponder_reward_abi_version or ponder_reward_score in it (extern \"C\"? see "
        "ponder/reward_plugin.h)");
  }
  if (version() != PONDER_REWARD_ABI_VERSION) {
    throw std::runtime_error("built for ABI version " + std::to_string(version()) + ", expected " +
                             std::to_string(PONDER_REWARD_ABI_VERSION) +
                             ": build it again with this ponder's reward_plugin.h");
  }
  return score;
}

// The strings that a record's views point to.
struct Texts {
  std::string prompt, completion, answer, finish_reason, json;
};

std::string text_of(const Json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

ponder_text view(const std::string& text) {
  return {text.c_str(), text.size()};
}

Json reply_for(const Json& record, ponder_reward_result& result) {
  static const char* const kNames[] = {"none", "ok", "wrong", "unparsed", "refused"};
  Json reply = {{"index", record.at("index")}};
  result.reason[sizeof result.reason - 1] = '\0';
  if (result.status < 0 || result.status > PONDER_REWARD_REFUSED) {
    reply["error"] = result.status == PONDER_REWARD_UNSET ? "gave no result for this record"
                                                          : "gave an unknown status";
  } else if (result.status == PONDER_REWARD_NONE || result.status == PONDER_REWARD_REFUSED) {
    reply["reward"] = nullptr;
  } else if (!std::isfinite(result.reward)) {
    reply["error"] = std::isnan(result.reward) ? "the reward is NaN" : "the reward is infinite";
  } else {
    reply["reward"] = result.reward;
  }
  if (!reply.contains("error") && result.status != PONDER_REWARD_NONE)
    reply["status"] = kNames[result.status];
  if (result.reason[0] != '\0') reply["reason"] = result.reason;
  return reply;
}

Json judge(Score score, const Json& records) {
  std::vector<Texts> texts;
  for (const Json& record : records) {
    texts.push_back({text_of(record, "prompt"), text_of(record, "completion"),
                     text_of(record, "answer"), text_of(record, "finish_reason"), record.dump()});
  }
  std::vector<ponder_reward_record> views;
  for (const Texts& t : texts)
    views.push_back(
        {view(t.prompt), view(t.completion), view(t.answer), view(t.finish_reason), view(t.json)});
  std::vector<ponder_reward_result> results(texts.size());
  for (auto& result : results) result.status = PONDER_REWARD_UNSET;
  const int32_t failed = score(views.data(), views.size(), results.data());
  if (failed != 0) return {{"error", "ponder_reward_score returned " + std::to_string(failed)}};
  Json replies = Json::array();
  for (size_t i = 0; i < results.size(); ++i) replies.push_back(reply_for(records[i], results[i]));
  return replies;
}

Json judged(Score score, const Json& records) {
  try {
    return judge(score, records);
  } catch (const std::exception& error) {
    return {{"error", std::string("exception: ") + error.what()}};
  } catch (...) {
    return {{"error", "exception of unknown type"}};
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const Wire wire = take_pipes();
  Score score = nullptr;
  try {
    score = load(argv[1]);
  } catch (const std::exception& error) {
    say(wire.out, {{"error", error.what()}});
    return 1;
  }
  say(wire.out, {{"ready", true}});
  char* line = nullptr;
  size_t capacity = 0;
  for (ssize_t n; (n = getline(&line, &capacity, wire.in)) > 0;) {
    say(wire.out, judged(score, Json::parse(line, line + n, nullptr, false)));
  }
  _exit(0);  // without the plugin's destructors, which might hang
}
