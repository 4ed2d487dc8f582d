#include "rewards/math/math.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "rewards/math/compare.h"
#include "rewards/math/extract.h"
#include "rewards/math/lexer.h"
#include "rewards/math/parser.h"
#include "rewards/math/words.h"

namespace ponder::rewards {
namespace {

using namespace math;

constexpr size_t kMaxAnswerBytes = 1 << 15;  // of mathematics, blanks collapsed
constexpr size_t kMaxShown = 200;

// Cut for a message: whole characters only, controls as blanks.
std::string shown(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size() && out.size() < kMaxShown; ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7F) {
      out += ' ';
    } else if (c < 0x80) {
      out += text[i];
    } else {
      const size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
      const bool valid = c >= 0xC2 && c < 0xF5 && i + length <= text.size() &&
                         normalise(text.substr(i, length)).find('\x01') == std::string::npos;
      if (!valid) {
        out += '?';
      } else {
        out.append(text.substr(i, length));
        i += length - 1;
      }
    }
  }
  if (text.size() > kMaxShown) out += "..";
  return out;
}

// Marks that change nothing: outer blanks and dots, for comparing as text.
std::string_view stripped(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '$')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '.' || text.back() == '$'))
    text.remove_suffix(1);
  return text;
}

// Symbols in the order in which they first appear.
std::vector<int64_t> symbols_of(const Arena& arena, int root) {
  std::vector<int64_t> names;
  for (int i = arena[root].begin; i <= root; ++i) {
    if (arena[i].op != Op::kSymbol) continue;
    if (std::find(names.begin(), names.end(), arena[i].value) == names.end())
      names.push_back(arena[i].value);
  }
  return names;
}

bool same_parsed(Arena& arena, int gold, int answer, const MathOptions& options, Budget& budget) {
  if (!options.strict) {
    const auto wanted = symbols_of(arena, gold), given = symbols_of(arena, answer);
    if (wanted.size() == given.size()) answer = arena.rename(answer, given, wanted);
  }
  return same_answer(arena, gold, answer, options, budget);
}

MathVerdict judge(std::string_view gold, std::string_view answer, const MathOptions& options) {
  if (stripped(gold) == stripped(answer)) return {MathStatus::kRight, {}, "the same text"};
  if (same_words(gold, answer)) return {MathStatus::kRight, {}, "the same words"};
  if (gold.size() > kMaxAnswerBytes)
    return {MathStatus::kRefused, {}, "the gold is too long to judge"};
  Arena arena;
  const Parsed wanted = parse(gold, true, arena);
  bool bool_marked = false;
  if (wanted.root < 0 && plain_words(gold, &bool_marked).empty()) {
    return {
        MathStatus::kUnparsedGold, {}, fmt::format("the gold cannot be read: {}", wanted.failure)};
  }
  if (answer.size() > kMaxAnswerBytes)
    return {MathStatus::kUnparsed, {}, "the answer is too long to be one"};
  const Parsed given = parse(answer, true, arena);
  if (given.root < 0)
    return {MathStatus::kUnparsed, {}, fmt::format("cannot be read: {}", given.failure)};
  if (wanted.root < 0) return {MathStatus::kWrong, {}, "not the same words"};
  Budget budget;
  if (same_parsed(arena, wanted.root, given.root, options, budget))
    return {MathStatus::kRight, {}, "equal"};
  if (wanted.comma_ambiguous || given.comma_ambiguous) {
    // 1,234 may be a list of two: then both sides are read that way.
    const Parsed wanted_list = parse(gold, false, arena), given_list = parse(answer, false, arena);
    if (wanted_list.root >= 0 && given_list.root >= 0 &&
        same_parsed(arena, wanted_list.root, given_list.root, options, budget)) {
      return {MathStatus::kRight, {}, "equal as lists"};
    }
  }
  return {MathStatus::kWrong,
          {},
          budget.units > 0 ? "not equal" : "not shown to be equal within the work budget"};
}

}  // namespace

const char* name_of(MathStatus status) {
  switch (status) {
    case MathStatus::kRight:
      return "right";
    case MathStatus::kWrong:
      return "wrong";
    case MathStatus::kUnparsed:
      return "unparsed";
    case MathStatus::kUnparsedGold:
      return "unparsed gold";
    case MathStatus::kRefused:
      return "refused";
  }
  return "";
}

MathVerdict check_math(std::string_view completion, std::string_view gold,
                       const MathOptions& options) {
  const Extracted wanted = extract_gold(gold);
  if (wanted.found == Found::kNothing) return {MathStatus::kUnparsedGold, {}, "the gold is empty"};
  const Extracted given = extract_answer(completion);
  if (given.found == Found::kNothing) return {MathStatus::kUnparsed, {}, "no answer found"};
  if (given.found == Found::kMalformed)
    return {MathStatus::kUnparsed, {}, "the last box or <answer> is never closed"};
  const std::string gold_text = normalise(wanted.text);
  MathVerdict verdict = judge(gold_text, normalise(given.text), options);
  const bool guessed = given.found == Found::kAnchor || given.found == Found::kBare;
  std::string answer = given.text;
  if (verdict.status == MathStatus::kUnparsed && guessed) {
    // A sentence around one number: the number is what was meant. Of several none is.
    const std::string_view number = last_number(given.text);
    const size_t before =
        number.empty() ? 0 : static_cast<size_t>(number.data() - given.text.data());
    if (!number.empty() && last_number(std::string_view(given.text).substr(0, before)).empty()) {
      verdict = judge(gold_text, normalise(number), options);
      answer = number;
    }
  }
  verdict.answer = shown(answer);
  if (verdict.status == MathStatus::kRight || verdict.status == MathStatus::kWrong) {
    verdict.reason = fmt::format("answer {}, expected {}: {}", verdict.answer, shown(wanted.text),
                                 verdict.reason);
  }
  return verdict;
}

MathVerdict check_gold(std::string_view gold, const MathOptions& options) {
  const Extracted wanted = extract_gold(gold);
  if (wanted.found == Found::kNothing) return {MathStatus::kUnparsedGold, {}, "the gold is empty"};
  Arena arena;
  bool marked = false;
  const std::string text = normalise(wanted.text);
  if (text.size() > kMaxAnswerBytes)
    return {MathStatus::kRefused, {}, "the gold is too long to judge"};
  const Parsed parsed = parse(text, true, arena);
  if (parsed.root < 0 && plain_words(text, &marked).empty()) {
    return {
        MathStatus::kUnparsedGold, {}, fmt::format("the gold cannot be read: {}", parsed.failure)};
  }
  static_cast<void>(options);
  return {MathStatus::kRight, shown(wanted.text), "the gold can be read"};
}

}  // namespace ponder::rewards
