#include "cli/bench_math.h"

#include <cstdio>
#include <memory>

#include "core/error.h"
#include "rewards/math/bench.h"

namespace ponder::cli {
namespace {

// Prints {set: pairs a CPU second}. The gold is given as the library's readers expect it, in $..$.
constexpr const char* kPeer = R"PY(
import json, logging, sys, time
logging.disable(logging.CRITICAL)
from math_verify import parse, verify
def judge(gold, answer):
    verify(parse("$" + gold + "$", parsing_timeout=None), parse(answer, parsing_timeout=None), timeout_seconds=None)
judge("1", "$1$")
out = {}
for name in ("math500", "paraphrase"):
    with open(sys.argv[1] + "/" + name + ".jsonl") as file:
        pairs = [(p["gold"], p["answer"]) for p in map(json.loads, file)]
    begin = time.process_time()
    for gold, answer in pairs:
        try:
            judge(gold, answer)
        except Exception:
            pass
    out[name] = len(pairs) / (time.process_time() - begin)
print(json.dumps(out))
)PY";

std::string quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

data::Json ask_peer(const MathBenchOptions& options) {
  const std::string command =
      fmt::format("{} -c {} {}", quoted(options.peer), quoted(kPeer), quoted(options.cases));
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) core::throw_run("cannot start {}", options.peer);
  std::string out;
  char buffer[4096];
  while (const size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, got);
  const int status = ::pclose(pipe);
  const data::Json json = data::Json::parse(out, nullptr, false);
  if (status != 0 || !json.is_object())
    core::throw_user("{} could not run math-verify: install it there (pip install math-verify)",
                     options.peer);
  return json;
}

}  // namespace

data::Json bench_math(const MathBenchOptions& options) {
  data::Json report = rewards::bench_math(options.cases, options.seconds);
  if (options.peer.empty()) return report;
  const data::Json peer = ask_peer(options);
  for (auto& [set, figures] : report.items()) {
    const double theirs = peer.at(set).get<double>();
    figures["math_verify_pairs_per_cpu_second"] = theirs;
    figures["times_faster"] = figures["pairs_per_cpu_second"].get<double>() / theirs;
  }
  return report;
}

}  // namespace ponder::cli
