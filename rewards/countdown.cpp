#include "rewards/countdown.h"

#include <array>
#include <charconv>
#include <numeric>
#include <utility>

#include <fmt/ranges.h>

#include "rewards/tags.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::ScoreStatus;

constexpr size_t kBytesMax = 1000;
constexpr int kDepthMax = 100;

// What stops a parse; caught in parse_countdown.
struct Problem {
  std::string text;
};

struct Fraction {
  int64_t numerator, denominator;
};

int64_t checked(__int128 value) {
  if (value != static_cast<int64_t>(value)) throw Problem{"its value is too large"};
  return static_cast<int64_t>(value);
}

Fraction reduced(__int128 numerator, __int128 denominator) {
  if (denominator == 0) throw Problem{"it divides by zero"};
  if (denominator < 0) {
    numerator = -numerator;
    denominator = -denominator;
  }
  __int128 a = numerator < 0 ? -numerator : numerator, b = denominator;
  while (b != 0) a = std::exchange(b, a % b);
  return {checked(numerator / a), checked(denominator / a)};
}

Fraction apply(char op, const Fraction& x, const Fraction& y) {
  const __int128 a = x.numerator, b = x.denominator, c = y.numerator, d = y.denominator;
  switch (op) {
    case '+':
      return reduced(a * d + c * b, b * d);
    case '-':
      return reduced(a * d - c * b, b * d);
    case '*':
      return reduced(a * c, b * d);
    default:
      return reduced(a * d, b * c);
  }
}

// expression = product (("+" | "-") product)*; product = factor (("*" | "/") factor)*;
// factor = "-"? (number | "(" expression ")").
class Parser {
 public:
  Parser(std::string_view text, std::multiset<int64_t>& numbers) : text_(text), numbers_(numbers) {}

  Fraction whole() {
    const Fraction value = expression(0);
    if (peek() != '\0') throw Problem{fmt::format("unexpected '{}'", text_.substr(at_, 1))};
    return value;
  }

 private:
  char peek() {
    while (at_ < text_.size() && text::trimmed(text_.substr(at_, 1)).empty()) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  Fraction expression(int depth) {
    Fraction value = product(depth);
    for (char op = peek(); op == '+' || op == '-'; op = peek()) {
      ++at_;
      value = apply(op, value, product(depth));
    }
    return value;
  }

  Fraction product(int depth) {
    Fraction value = factor(depth);
    for (char op = peek(); op == '*' || op == '/'; op = peek()) {
      ++at_;
      value = apply(op, value, factor(depth));
    }
    return value;
  }

  Fraction factor(int depth) {
    if (depth > kDepthMax) throw Problem{"it is nested too deeply"};
    const char next = peek();
    if (next == '-') {
      ++at_;
      return apply('-', {0, 1}, factor(depth + 1));
    }
    if (next == '(') {
      ++at_;
      const Fraction value = expression(depth + 1);
      if (peek() != ')') throw Problem{"a parenthesis is not closed"};
      ++at_;
      return value;
    }
    return {number(), 1};
  }

  int64_t number() {
    int64_t value = 0;
    const char* begin = text_.data() + at_;
    const bool digit = at_ < text_.size() && *begin >= '0' && *begin <= '9';
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (!digit || error != std::errc()) {
      throw Problem{at_ < text_.size()
                        ? fmt::format("expected a number, found '{}'", text_.substr(at_, 1))
                        : "expected a number at its end"};
    }
    at_ += end - begin;
    numbers_.insert(value);
    return value;
  }

  std::string_view text_;
  std::multiset<int64_t>& numbers_;
  size_t at_ = 0;
};

// Other ways to write the operations and parentheses, made the plain ones.
std::string plain(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kForms = {{
      {"×", "*"},
      {"·", "*"},
      {"÷", "/"},
      {"−", "-"},
      {"\\times", "*"},
      {"\\cdot", "*"},
      {"\\div", "/"},
      {"\\left", ""},
      {"\\right", ""},
      {"[", "("},
      {"]", ")"},
      {"$", ""},
      {"\\,", ""},
  }};
  std::string out;
  while (!text.empty()) {
    bool found = false;
    for (const auto& [form, meaning] : kForms) {
      if (!text.starts_with(form)) continue;
      out += meaning;
      text.remove_prefix(form.size());
      found = true;
      break;
    }
    if (found) continue;
    out += text.front();
    text.remove_prefix(1);
  }
  return out;
}

// Without "= target" behind it.
std::string_view left_side(std::string_view text, int64_t target) {
  const size_t equals = text.rfind('=');
  if (equals == std::string_view::npos) return text;
  const bool same = text::trimmed(text.substr(equals + 1)) == std::to_string(target);
  return same ? text.substr(0, equals) : text;
}

}  // namespace

std::optional<CountdownExpression> parse_countdown(std::string_view text, std::string& problem) {
  CountdownExpression out;
  try {
    if (text.size() > kBytesMax) throw Problem{"it is longer than 1,000 bytes"};
    const Fraction value = Parser(text, out.numbers).whole();
    out.numerator = value.numerator;
    out.denominator = value.denominator;
    return out;
  } catch (const Problem& found) {
    problem = found.text;
    return std::nullopt;
  }
}

std::string Countdown::problem_with(const data::Prompt& prompt) const {
  const auto nums = prompt.columns.find("nums"), target = prompt.columns.find("target");
  if (nums == prompt.columns.end() || target == prompt.columns.end())
    return "the prompt has no columns \"nums\" and \"target\"";
  bool whole = nums->is_array() && !nums->empty() && target->is_number_integer();
  if (whole) {
    for (const data::Json& number : *nums) whole &= number.is_number_integer();
  }
  return whole ? "" : "expected \"nums\" as a list of whole numbers and \"target\" as one";
}

Judgement Countdown::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  if (const std::string problem = problem_with(prompt); !problem.empty()) return refused(problem);
  if (completion.finish_reason != data::FinishReason::kStop)
    return {0.0, ScoreStatus::kUnparsed, "cut before its end: no answer"};
  const std::string rendered = text::rendered(prompt, completion);
  const auto answer = final_answer(rendered);
  if (!answer) return {0.0, ScoreStatus::kUnparsed, "no <answer> and no \\boxed at the end"};
  const auto target = prompt.columns["target"].get<int64_t>();
  const std::string shown = plain(*answer);
  std::string problem;
  const auto expression = parse_countdown(left_side(shown, target), problem);
  if (!expression)
    return {0.0, ScoreStatus::kUnparsed, fmt::format("{}: {}", text::shortened(*answer), problem)};
  const auto nums = prompt.columns["nums"].get<std::vector<int64_t>>();
  const std::multiset<int64_t> given(nums.begin(), nums.end());
  if (expression->numbers != given) {
    return {0.0, ScoreStatus::kWrong,
            fmt::format("uses {}, expected each of {} exactly once",
                        fmt::join(expression->numbers, ", "), fmt::join(given, ", "))};
  }
  const bool right = expression->denominator == 1 && expression->numerator == target;
  const std::string value =
      expression->denominator == 1
          ? std::to_string(expression->numerator)
          : fmt::format("{}/{}", expression->numerator, expression->denominator);
  return {right ? 1.0 : 0.0, right ? ScoreStatus::kOk : ScoreStatus::kWrong,
          fmt::format("{} = {}, expected {}", text::shortened(shown), value, target)};
}

}  // namespace ponder::rewards
