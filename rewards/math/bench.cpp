#include "rewards/math/bench.h"

#include <algorithm>
#include <ctime>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/json_text.h"
#include "rewards/math/math.h"

namespace ponder::rewards {
namespace {

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<std::pair<std::string, std::string>> read_pairs(const std::filesystem::path& path) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::istringstream lines(core::read_file(path, "math cases"));
  for (std::string line; std::getline(lines, line);) {
    const data::Json entry = core::parse_json_or_discard<data::Json>(line);
    const auto is_text = [&](const char* key) {
      return entry.contains(key) && entry[key].is_string();
    };
    if (!entry.is_object() || !is_text("answer") || !is_text("gold")) {
      core::throw_user("{}: line {}: expected an object with \"gold\" and \"answer\", strings",
                       path.string(), pairs.size() + 1);
    }
    pairs.emplace_back(entry["answer"].get<std::string>(), entry["gold"].get<std::string>());
  }
  if (pairs.empty()) core::throw_user("{}: holds no pairs", path.string());
  return pairs;
}

}  // namespace

data::Json bench_math(const std::filesystem::path& cases, double seconds) {
  data::Json report = data::Json::object();
  for (const char* set : {"math500", "paraphrase"}) {
    const auto pairs = read_pairs(cases / (std::string(set) + ".jsonl"));
    std::vector<double> fastest(
        pairs.size(), 1e9);  // of all rounds: a neighbour on the machine only slows one down
    double spent = 0;
    size_t judged = 0;
    while (spent < seconds) {
      for (size_t i = 0; i < pairs.size(); ++i) {
        const double start = cpu_seconds();
        check_math(pairs[i].first, pairs[i].second);
        const double one = cpu_seconds() - start;
        fastest[i] = std::min(fastest[i], one);
        spent += one;
      }
      judged += pairs.size();
    }
    std::sort(fastest.begin(), fastest.end());
    const auto percentile = [&](double share) {
      return 1e6 * fastest[static_cast<size_t>(share * static_cast<double>(fastest.size() - 1))];
    };
    report[set] = {{"pairs", pairs.size()},
                   {"pairs_per_cpu_second", static_cast<double>(judged) / spent},
                   {"p50_us", percentile(0.5)},
                   {"p99_us", percentile(0.99)},
                   {"max_us", percentile(1)}};
  }
  return report;
}

}  // namespace ponder::rewards
