#include "data/chain_sums.h"

#include <array>
#include <numeric>
#include <set>

#include <fmt/format.h>

namespace ponder::data {
namespace {

constexpr double kPlusShare = 0.6;
constexpr int kValueMax = 60;
constexpr int kGuessErrorMax = 6;  // of a quick answer that is wrong
constexpr std::array<const char*, 6> kFillers = {"hmm",        "easy", "ok",
                                                 "let me see", "well", "quick"};
constexpr std::array<const char*, 6> kJunk = {"the page is blank", "see the maths page",
                                              "no sum here",       "this line was left out",
                                              "and so on",         "thank you"};

std::string step_text(int before, int term, int after) {
  return fmt::format("{}{}{}={}", before, term < 0 ? '-' : '+', std::abs(term), after);
}

// The steps as a careless writer puts them down, and the value he ends with.
struct Written {
  std::string steps;
  int value;
};

Written write_steps(core::Rng& rng, const ChainSum& sum, const CorpusOptions& options) {
  Written out{"", sum.terms[0]};
  for (size_t i = 1; i < sum.terms.size(); ++i) {
    if (i > 1) out.steps += ';';
    const int before = out.value, right = before + sum.terms[i];
    if (!rng.chance(options.slip)) {
      out.steps += step_text(before, sum.terms[i], right);
      out.value = right;
      continue;
    }
    const int wrong = std::max(
        0, right + static_cast<int>(rng.chance(0.5) ? rng.integer(1, 2) : -rng.integer(1, 2)));
    out.steps += step_text(before, sum.terms[i], wrong);
    out.value = wrong;
    if (wrong != right && rng.chance(options.corrected)) {
      out.steps += " wait " + step_text(before, sum.terms[i], right);
      out.value = right;
    }
  }
  return out;
}

std::string chat_head(const ChainSum& sum) {
  return fmt::format("User: {}=?\nAssistant:", sum.expression());
}

Document chat(const ChainSum& sum, const std::string& reply) {
  const std::string head = chat_head(sum);
  return {head + reply, head.size()};
}

std::string direct_reply(core::Rng& rng, const ChainSum& sum, double right) {
  const std::string filler =
      rng.chance(1.0 / 3) ? kFillers[rng.integer(0, kFillers.size() - 1)] : "";
  int answer = sum.value();
  if (!rng.chance(right)) {
    const int error = static_cast<int>(rng.integer(1, kGuessErrorMax));
    answer = answer >= error && rng.chance(0.5) ? answer - error : answer + error;
  }
  return fmt::format("<think>{}</think><answer>{}</answer>", filler, answer);
}

std::string broken_reply(core::Rng& rng, const Written& w) {
  switch (rng.integer(0, 3)) {
    case 0:
      return fmt::format("<think>{}<answer>{}</answer>", w.steps, w.value);
    case 1:
      return fmt::format("<think>{}</think>{}", w.steps, w.value);
    case 2:
      return fmt::format("{}</think><answer>{}</answer>", w.steps, w.value);
    default:
      return fmt::format("<think>{}</think><answer>{}", w.steps, w.value);
  }
}

std::string facts_table(core::Rng& rng) {
  std::string text = "Facts: ";
  const int64_t count = rng.integer(5, 8);
  for (int64_t i = 0; i < count; ++i) {
    const int digit = static_cast<int>(rng.integer(1, 9));
    const bool plus = rng.chance(0.5);
    const int before =
        static_cast<int>(plus ? rng.integer(0, kValueMax - digit) : rng.integer(digit, kValueMax));
    const int term = plus ? digit : -digit;
    if (i > 0) text += ';';
    text += step_text(before, term, before + term);
  }
  return text;
}

}  // namespace

void bind(core::Binder& b, ChainSumOptions& o) {
  b.field("min_terms", o.min_terms, "fewest terms of a sum", {.low = 2, .high = 9});
  b.field("max_terms", o.max_terms, "most terms of a sum", {.low = 2, .high = 9});
}

void bind(core::Binder& b, CorpusOptions& o) {
  b.table("sums", o.sums);
  b.field("direct", o.direct, "share of documents that answer at once", {.low = 0, .high = 1});
  b.field("direct_right", o.direct_right, "share of the answers at once that are right",
          {.low = 0, .high = 1});
  b.field("steps", o.steps, "share that reason step by step within the tags",
          {.low = 0, .high = 1});
  b.field("untagged", o.untagged, "share that reason without tags", {.low = 0, .high = 1});
  b.field("broken_tags", o.broken_tags, "share with a tag missing", {.low = 0, .high = 1});
  b.field("bare", o.bare, "share that give the number alone", {.low = 0, .high = 1});
  b.field("worked", o.worked, "share that are worked sums outside any chat", {.low = 0, .high = 1});
  b.field("facts", o.facts, "share that are tables of single steps; what is left to 1 is junk",
          {.low = 0, .high = 1});
  b.field("slip", o.slip, "share of written steps that are wrong", {.low = 0, .high = 1});
  b.field("corrected", o.corrected, "share of the slips that are corrected at once",
          {.low = 0, .high = 1});
}

std::string ChainSum::expression() const {
  std::string text = std::to_string(terms.at(0));
  for (size_t i = 1; i < terms.size(); ++i) text += fmt::format("{:+}", terms[i]);
  return text;
}

int ChainSum::value() const {
  return std::accumulate(terms.begin(), terms.end(), 0);
}

bool is_held_out(const std::string& expression) {
  return core::stable_hash("held-out:" + expression) % 10 == 0;
}

ChainSum draw_chain_sum(core::Rng& rng, const ChainSumOptions& options) {
  ChainSum sum;
  const int64_t count = rng.integer(options.min_terms, options.max_terms);
  std::set<int> used;
  int value = 0;
  while (static_cast<int64_t>(sum.terms.size()) < count) {
    const int digit = static_cast<int>(rng.integer(1, 9));
    if (used.contains(digit)) continue;
    int term = sum.terms.empty() || rng.chance(kPlusShare) ? digit : -digit;
    if (value + term < 0 || value + term > kValueMax) term = -term;
    used.insert(digit);
    sum.terms.push_back(term);
    value += term;
  }
  return sum;
}

ChainSum draw_chain_sum(core::Rng& rng, const ChainSumOptions& options, Split split) {
  for (;;) {
    ChainSum sum = draw_chain_sum(rng, options);
    if (is_held_out(sum.expression()) == (split == Split::kHeldOut)) return sum;
  }
}

Prompt chain_sum_prompt(const ChainSum& sum) {
  Prompt prompt;
  prompt.id = sum.expression();
  prompt.text = chat_head(sum);
  prompt.answer = sum.value();
  return prompt;
}

std::string chain_steps(const ChainSum& sum) {
  std::string text;
  int value = sum.terms.at(0);
  for (size_t i = 1; i < sum.terms.size(); ++i) {
    if (i > 1) text += ';';
    text += step_text(value, sum.terms[i], value + sum.terms[i]);
    value += sum.terms[i];
  }
  return text;
}

Document corpus_document(uint64_t seed, int64_t index, const CorpusOptions& o) {
  core::Rng rng(seed, core::stable_hash(fmt::format("corpus:{}", index)));
  double draw = rng.uniform();
  const auto falls_in = [&draw](double share) {
    draw -= share;
    return draw < 0;
  };
  const ChainSum sum = draw_chain_sum(rng, o.sums, Split::kTrain);
  if (falls_in(o.direct)) return chat(sum, direct_reply(rng, sum, o.direct_right));
  if (falls_in(o.facts)) return {facts_table(rng), 0};
  const Written written = write_steps(rng, sum, o);
  if (falls_in(o.steps)) {
    return chat(sum,
                fmt::format("<think>{}</think><answer>{}</answer>", written.steps, written.value));
  }
  if (falls_in(o.untagged))
    return chat(sum, fmt::format(" {} so {}", written.steps, written.value));
  if (falls_in(o.broken_tags)) return chat(sum, broken_reply(rng, written));
  if (falls_in(o.bare)) return chat(sum, fmt::format(" {}", sum.value()));
  if (falls_in(o.worked))
    return {fmt::format("Maths page: {}\n{}", sum.expression(), written.steps), 0};
  return {kJunk[rng.integer(0, kJunk.size() - 1)], 0};
}

}  // namespace ponder::data
