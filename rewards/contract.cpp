#include "rewards/contract.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "core/error.h"
#include "rewards/score_file.h"

namespace ponder::rewards {
namespace {

using data::Json;

constexpr size_t kProbesMin = 24;

struct Probe {
  std::string name;
  ScoreLine line;
  std::optional<Json> expected;
};

Probe probe(const std::string& name, const std::string& completion, const Json& answer = "42",
            data::FinishReason reason = data::FinishReason::kStop) {
  Probe out{name, {}, std::nullopt};
  out.line.prompt.text = "What is 6 times 7?";
  out.line.prompt.answer = answer;
  out.line.completion.text = completion;
  out.line.completion.finish_reason = reason;
  return out;
}

std::vector<Probe> plain_probes() {
  std::vector<Probe> out;
  for (size_t i = 0; i < kProbesMin; ++i) {
    out.push_back(probe(
        fmt::format("plain completion {}", i),
        fmt::format("<think>{} words</think><answer>{}</answer>", std::string(i, 'a'), 30 + i)));
  }
  return out;
}

std::vector<Probe> odd_probes() {
  using namespace std::string_literals;
  std::string long_text;
  while (long_text.size() < 1'000'000) long_text += "a line of a long completion\n";
  return {probe("an empty completion", ""),
          probe("a completion of a megabyte", long_text),
          probe("a megabyte without a blank", std::string(1'000'000, '(')),
          probe("NUL and control characters", "a\0b\x01\x7f\r"s),
          probe("bytes that are no UTF-8", "\xff\xc3\x28 \xed\xa0\x80"),
          probe("emoji and combining marks", "\xF0\x9F\x98\x80 e\xCC\x81 \xE6\x95\xB0\xE5\xAD\xA6"),
          probe("tags without an end", "<think><answer>42"),
          probe("a cut completion", "the answer is 4", "42", data::FinishReason::kLength),
          probe("no reference", "42", nullptr),
          probe("an empty reference", "42", ""),
          probe("a number as reference", "42", 42),
          probe("a list as reference", "42", Json::array({"42", 7})),
          probe("an object as reference", "42", {{"value", 42}})};
}

std::vector<Probe> probes_of(const std::filesystem::path& path) {
  std::vector<Probe> out;
  std::ifstream file(path);
  if (!file) core::throw_user("cannot read the cases {}", path.string());
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path.string(), number);
    Probe read{where, parse_score_line(line, where), std::nullopt};
    if (read.line.prompt.columns.contains("expected"))
      read.expected = read.line.prompt.columns["expected"];
    read.line.prompt.columns.erase("expected");
    out.push_back(std::move(read));
  }
  if (out.empty()) core::throw_user("the cases {} are empty", path.string());
  return out;
}

std::vector<Judgement> judge(const Reward& reward, const std::vector<Probe>& probes) {
  std::vector<Sample> samples;
  for (const Probe& probe : probes) samples.push_back({&probe.line.prompt, &probe.line.completion});
  return reward.judge_all(samples);
}

bool failed(const Judgement& judgement) {
  return judgement.status == data::ScoreStatus::kCrashed ||
         judgement.status == data::ScoreStatus::kTimeout;
}

std::string shown(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "null";
}

Clause judged(const std::string& name, const std::vector<Probe>& probes,
              const std::vector<Judgement>& got) {
  Clause out{name, true, {}};
  for (size_t i = 0; i < probes.size(); ++i) {
    if (!failed(got[i])) continue;
    out.holds = false;
    out.findings.push_back(
        fmt::format("{}: {}: {}", probes[i].name, data::name_of(got[i].status), got[i].reason));
  }
  return out;
}

Clause same(const std::string& name, const std::vector<Probe>& probes,
            const std::vector<Judgement>& a, const std::vector<Judgement>& b) {
  Clause out{name, true, {}};
  for (size_t i = 0; i < probes.size(); ++i) {
    if (failed(a[i]) || failed(b[i]) || a[i].value == b[i].value) continue;
    out.holds = false;
    out.findings.push_back(
        fmt::format("{}: {} and then {}", probes[i].name, shown(a[i].value), shown(b[i].value)));
  }
  return out;
}

// The first `count` probes are the cases.
Clause expectations(const std::vector<Probe>& probes, size_t count,
                    const std::vector<Judgement>& got) {
  Clause out{"the cases have their expected rewards", true, {}};
  size_t checked = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!probes[i].expected) continue;
    ++checked;
    const bool null = probes[i].expected->is_null();
    const bool right =
        null ? !got[i].value && !failed(got[i])
             : got[i].value && std::abs(*got[i].value - probes[i].expected->get<double>()) < 1e-6;
    if (right) continue;
    out.holds = false;
    out.findings.push_back(fmt::format("{}: expected {}, got {} ({})", probes[i].name,
                                       probes[i].expected->dump(), shown(got[i].value),
                                       got[i].reason));
  }
  if (out.holds) out.findings.push_back(fmt::format("{} cases", checked));
  return out;
}

}  // namespace

std::vector<Clause> test_contract(const std::string& spec, const std::filesystem::path& cases) {
  std::vector<Probe> probes = cases.empty() ? plain_probes() : probes_of(cases);
  const size_t count = probes.size();
  for (size_t i = 0; probes.size() < kProbesMin; ++i)
    probes.push_back(probes[i]);  // for batches of some size
  std::vector<Clause> out;
  std::unique_ptr<Reward> reward;
  try {
    reward = make_reward(spec);
  } catch (const core::UserError& error) {
    return {{"loads", false, {error.what()}}};
  }
  out.push_back({"loads", true, {}});
  const std::vector<Judgement> first = judge(*reward, probes);
  out.push_back(
      judged("judges plain completions: no exception, hang, crash, flood, wrong count, NaN", probes,
             first));
  std::vector<Probe> backwards(probes.rbegin(), probes.rend());
  std::vector<Judgement> turned = judge(*reward, backwards);
  std::reverse(turned.begin(), turned.end());
  out.push_back(same("gives each completion its own reward, in any order", probes, first, turned));
  std::vector<Judgement> alone;
  const auto begin = std::chrono::steady_clock::now();
  for (const Probe& probe : probes)
    alone.push_back(reward->judge(probe.line.prompt, probe.line.completion));
  const double milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() /
      static_cast<double>(probes.size());
  out.push_back(same("judges in batches as one by one", probes, first, alone));
  out.push_back(same("repeats itself", probes, alone, judge(*reward, probes)));
  if (!cases.empty()) out.push_back(expectations(probes, count, first));
  std::vector<Probe> odd = odd_probes();
  for (Probe& probe : odd)
    probe.line.prompt.columns = probes[0].line.prompt.columns;  // rewards may need them
  const std::vector<Judgement> on_odd = judge(*reward, odd);
  out.push_back(judged("judges odd completions and references, or answers None", odd, on_odd));
  const auto nulls = std::count_if(on_odd.begin(), on_odd.end(),
                                   [](const Judgement& j) { return !j.value && !failed(j); });
  out.back().findings.push_back(fmt::format("{} of {} answered with None", nulls, odd.size()));
  out.push_back(
      {"in time", true, {fmt::format("{:.2f} ms for one completion alone", milliseconds)}});
  for (const auto& [name, value] : reward->metrics())
    out.back().findings.push_back(fmt::format("{} {:.6g}", name, value));
  return out;
}

std::string report_of(const std::vector<Clause>& clauses) {
  constexpr size_t kShown = 8;
  std::string out;
  for (const Clause& clause : clauses) {
    out += fmt::format("{}  {}\n", clause.holds ? "ok    " : "BROKEN", clause.name);
    for (size_t i = 0; i < std::min(clause.findings.size(), kShown); ++i)
      out += "          " + clause.findings[i] + "\n";
    if (clause.findings.size() > kShown)
      out += fmt::format("          and {} more\n", clause.findings.size() - kShown);
  }
  return out;
}

bool all_hold(const std::vector<Clause>& clauses) {
  return std::all_of(clauses.begin(), clauses.end(), [](const Clause& c) { return c.holds; });
}

}  // namespace ponder::rewards
