// Hostile inputs: towers of powers, depth, megabytes, broken bytes. Each must come to a verdict in
// little CPU time, little memory and a stack of half a megabyte.
#include <functional>
#include <random>

#include <pthread.h>
#include <sys/resource.h>

#include "tests/rewards/math_cases.h"

namespace ponder::rewards {
namespace {

constexpr double kSecondsBase = 0.05, kSecondsPerMegabyte = 0.1;
constexpr size_t kStackBytes = kSlowdown > 1 ? 16 << 20 : 512 << 10;
constexpr long kMemoryMaxKilobytes = 100 << 10;

std::string repeat(std::string_view text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

std::string boxed(const std::string& inside) {
  return "The answer is $\\boxed{" + inside + "}$.";
}

void run_on_small_stack(const std::function<void()>& work) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, kStackBytes), 0);
  pthread_t thread;
  const auto start = [](void* argument) -> void* {
    (*static_cast<const std::function<void()>*>(argument))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, start, const_cast<std::function<void()>*>(&work)),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

MathVerdict bounded_check(const std::string& answer, const std::string& gold,
                          const std::string& name) {
  const double start = thread_cpu_seconds();
  const MathVerdict verdict = check_math(answer, gold);
  const double spent = thread_cpu_seconds() - start;
  const double megabytes = static_cast<double>(answer.size() + gold.size()) / 1e6;
  EXPECT_LE(spent, kSlowdown * (kSecondsBase + kSecondsPerMegabyte * megabytes)) << name;
  return verdict;
}

TEST(MathRobust, TheAdversarialSetEndsInTimeWithTheRightVerdict) {
  run_on_small_stack([] {
    int count = 0;
    for (const auto& entry : read_json_lines(math_cases_dir() / "adversarial.jsonl")) {
      const std::string name = entry["name"];
      const std::string gold = decode_base64(entry["gold_b64"]),
                        answer = decode_base64(entry["answer_b64"]);
      const long before = peak_kilobytes();
      const MathVerdict verdict = bounded_check(answer, gold, name);
      EXPECT_LE(peak_kilobytes() - before, kMemoryMaxKilobytes * kSlowdown) << name;
      ++count;
      if (!entry["expected"].is_boolean()) continue;
      EXPECT_EQ(verdict.status == MathStatus::kRight, entry["expected"].get<bool>())
          << name << ": " << verdict.reason;
    }
    EXPECT_GT(count, 10);
  });
}

struct Huge {
  const char* name;
  std::string answer;
  bool right;  // against the gold 5
};

TEST(MathRobust, MegabytesAndDepthAreLinear) {
  constexpr size_t kMillion = 1'000'000;
  const Huge cases[] = {
      {"words before the box", repeat("word ", kMillion / 5) + "\\boxed{5}", true},
      {"one symbol", boxed(repeat("a", kMillion)), false},
      {"blanks in the box", boxed(repeat(" ", kMillion) + "5"), true},
      {"newlines", repeat("\n", kMillion) + "\\boxed{5}", true},
      {"open braces", repeat("{", kMillion), false},
      {"boxes never closed", repeat("\\boxed{", kMillion / 7), false},
      {"many boxes", repeat("\\boxed{4} and ", kMillion / 14) + "\\boxed{5}", false},
      {"boxes far apart", repeat("\\boxed{4}. ", kMillion / 11) + "\\boxed{5}", true},
      {"dollars", repeat("$", kMillion), false},
      {"formulas", repeat("$5$ and ", kMillion / 8), false},
      {"answers are", repeat("the answer is ", kMillion / 14) + "5", true},
      {"A: lines", repeat("A:\n", kMillion / 3) + "A: 5", true},
      {"numbers in words", repeat("a1 ", kMillion / 3), false},
      {"digits", boxed(repeat("7", kMillion)), false},
      {"digits in the text", repeat("7", kMillion) + "x", false},
      {"percent signs", "5" + repeat("%", 100'000), true},
      {"dots", repeat(".", 100'000) + "5", false},
      {"empty text groups", boxed("5" + repeat("\\text{ }", 3'000)), true},
      {"nested text groups", boxed(repeat("\\text{", 5'000)), false},
      {"combining marks", boxed("5" + repeat("\xCC\x81", 50'000)), false},
      {"ten thousand parentheses", boxed(repeat("(", 10'000) + "5" + repeat(")", 10'000)), false},
      {"ten thousand fractions", boxed(repeat("\\frac{1}{", 3'000) + "5" + repeat("}", 3'000)),
       false},
      {"minus signs", boxed(repeat("-", 10'000) + "5"), false},
      {"mixed numbers in each other", boxed(repeat("1\\frac{", 3'000)), false},
      {"bars", boxed(repeat("|", 10'000)), false},
      {"words", boxed(repeat("abc ", 8'000)), false},
      {"a long list", boxed(repeat("5,", 16'000)), false},
      {"a long sum", boxed(repeat("1+", 16'000) + "1"), false},
      {"a product of large numbers", boxed(repeat("(10^{300})", 3'000)), false},
      {"factorials", boxed(repeat("2999!+", 3'000) + "1"), false},
      {"gammas", boxed(repeat("x!+", 5'000) + "1"), false},
      {"sines", boxed(repeat("\\sin(x)+", 3'000) + "1"), false},
      {"a sum of sums", boxed("\\sum_{a=1}^{499}\\sum_{b=1}^{499}\\sum_{c=1}^{499} abc"), false},
      {"a tower with a sum", boxed("\\sum_{a=1}^{499} 9^{9^{9^{a}}}"), false},
      {"NUL bytes", std::string(1000, '\0') + "\\boxed{5}", true},
      {"NUL in the box", boxed(std::string("5\0", 2)), false},
  };
  run_on_small_stack([&] {
    for (const Huge& input : cases) {
      SCOPED_TRACE(input.name);
      const long before = peak_kilobytes();
      const MathVerdict verdict = bounded_check(input.answer, "5", input.name);
      EXPECT_EQ(verdict.status == MathStatus::kRight, input.right) << verdict.reason;
      EXPECT_LE(peak_kilobytes() - before, kMemoryMaxKilobytes * kSlowdown);
      bounded_check("\\boxed{5}", input.answer, input.name);
    }
  });
}

// Members of two sets are compared pair by pair: what all pairs together cost is bounded.
TEST(MathRobust, LargeSetsOfLargeMembersEndInTime) {
  const auto set_of = [](const std::function<std::string(int)>& member, int first) {
    std::string text = "\\{" + member(first);
    for (int i = 1; i < 60; ++i) text += ", " + member(first + i);
    return text + "\\}";
  };
  const std::function<std::string(int)> members[] = {
      [](int i) { return repeat("\\frac{x^7}{x+2}+", 25) + std::to_string(i); },
      [](int i) { return "3^{" + std::to_string(20'000 - i) + "}"; },
      [](int i) { return std::to_string(2'900 - i) + "!"; },
      [](int i) { return "\\binom{5000}{" + std::to_string(1'000 + i) + "}"; },
      [](int i) { return "\\sin(\\sqrt{" + std::to_string(i) + "})"; },
      [](int i) { return "x^{\\sqrt{" + std::to_string(i) + "}}"; },
      [](int i) { return "(x+" + std::to_string(i) + ")!"; },
      [](int i) { return "\\sqrt[3]{1+\\sqrt{" + std::to_string(i) + "}}"; },
  };
  for (size_t i = 0; i < std::size(members); ++i) {
    const std::string gold = set_of(members[i], 1);
    const std::string answer = "\\boxed{" + set_of(members[i], 200) + "}";
    EXPECT_NE(bounded_check(answer, gold, std::to_string(i)).status, MathStatus::kRight) << i;
  }
}

}  // namespace
}  // namespace ponder::rewards
