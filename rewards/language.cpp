#include "rewards/language.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/spelling.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::ScoreStatus;

struct Range {
  uint32_t low, high;
  const char* script;
};

// Letters of Unicode 15's blocks, as far as the languages below need them.
constexpr Range kScripts[] = {
    {'A', 'Z', "latin"},       {'a', 'z', "latin"},      {0xC0, 0xD6, "latin"},
    {0xD8, 0xF6, "latin"},     {0xF8, 0x24F, "latin"},   {0x370, 0x3FF, "el"},
    {0x400, 0x52F, "ru"},      {0x590, 0x5FF, "he"},     {0x600, 0x6FF, "ar"},
    {0x900, 0x97F, "hi"},      {0xE01, 0xE5B, "th"},     {0x1100, 0x11FF, "ko"},
    {0x1E00, 0x1EFF, "latin"}, {0x3041, 0x3096, "kana"}, {0x30A1, 0x30FA, "kana"},
    {0x3400, 0x4DBF, "han"},   {0x4E00, 0x9FFF, "han"},  {0xAC00, 0xD7A3, "ko"},
    {0xF900, 0xFAFF, "han"},   {0x20000, 0x323AF, "han"}};

const char* script_of(uint32_t code) {
  for (const Range& range : kScripts) {
    if (code >= range.low && code <= range.high) return range.script;
  }
  return nullptr;
}

// Words that mark a language: frequent ones that the others here do not share.
const std::map<std::string, std::set<std::string>>& function_words() {
  static const std::map<std::string, std::set<std::string>> words = {
      {"en", {"the",  "and",   "is",    "of",      "to",     "that", "it",   "for", "with", "this",
              "are",  "be",    "we",    "you",     "have",   "not",  "but",  "so",  "then", "which",
              "what", "can",   "will",  "they",    "there",  "from", "by",   "let", "if",   "has",
              "was",  "would", "since", "because", "should", "now",  "first"}},
      {"de", {"der",  "das",  "und",  "ist",  "nicht", "ein",   "eine", "zu",   "den",
              "mit",  "sich", "auf",  "dem",  "wir",   "ich",   "auch", "dass", "aber",
              "wie",  "oder", "dann", "wenn", "sind",  "haben", "wird", "noch", "nur",
              "also", "für",  "über", "von",  "bei",   "aus",   "kann", "jetzt"}},
      {"fr",
       {"le",    "les",  "des",  "est",  "et",   "une",   "que",  "qui",  "dans", "pour", "pas",
        "sur",   "avec", "nous", "vous", "ce",   "cette", "sont", "il",   "elle", "mais", "donc",
        "alors", "aux",  "du",   "au",   "être", "ou",    "où",   "leur", "puis", "car"}},
      {"es",
       {"el",   "los", "las",  "y",   "es",     "una",    "por",     "con",     "para", "como",
        "pero", "más", "del",  "al",  "se",     "lo",     "su",      "esto",    "esta", "entonces",
        "hay",  "muy", "está", "son", "porque", "cuando", "también", "tenemos", "ahora"}},
      {"it", {"il",   "di",     "che",     "è",     "gli",    "della",  "del", "per", "non",
              "sono", "con",    "questo",  "anche", "quindi", "alla",   "dei", "nel", "più",
              "ma",   "perché", "abbiamo", "poi",   "allora", "questa", "ora"}},
      {"pt", {"o",     "os",   "as",  "não", "uma",  "um",  "do",    "da",   "dos", "das",
              "em",    "é",    "que", "por", "mais", "mas", "então", "isso", "são", "também",
              "temos", "você", "ele", "com", "na",   "no",  "ao",    "agora"}},
  };
  return words;
}

std::vector<std::string> known_languages() {
  std::vector<std::string> out = {"zh", "ja", "ko", "ru", "el", "he", "ar", "hi", "th"};
  for (const auto& [name, words] : function_words()) out.push_back(name);
  return out;
}

bool is_latin_language(const std::string& name) {
  return function_words().contains(name);
}

// Counts the words of one text, segment by segment.
class Counter {
 public:
  Counter(LanguageMode mode, const std::string& first)
      : mode_(mode), latin_(is_latin_language(first) ? first : "en") {}

  void letter(const char* script, std::string_view bytes) {
    if (script_ != script) end_word();
    script_ = script;
    if (script == std::string_view("han")) {
      ++han_;
      return;
    }
    word_ += bytes;
    ++letters_;
  }
  void end_word() {
    if (!word_.empty() && script_ == std::string_view("latin")) {
      if (letters_ > 1) ++latin_words_;
      const std::string word = text::lower(word_);
      for (const auto& [name, words] : function_words())
        hits_[name] += letters_ > 1 && words.contains(word) ? 1 : 0;
    } else if (!word_.empty()) {
      if (script_ == std::string_view("kana"))
        ++kana_;
      else
        ++counts_[script_];
    }
    word_.clear();
    letters_ = 0;
  }
  void end_segment() {
    end_word();
    size_t best = hits_[latin_];
    for (const auto& [name, hits] : hits_) {
      if (hits > best) latin_ = name, best = hits;
    }
    if (latin_words_ > 0)
      counts_[mode_ == LanguageMode::kScript ? "latin" : latin_] += latin_words_;
    if (han_ + kana_ > 0) counts_[kana_ > 0 ? "ja" : "zh"] += han_ + kana_;
    hits_.clear();
    latin_words_ = han_ = kana_ = 0;
  }
  std::map<std::string, size_t> counts() && { return std::move(counts_); }

 private:
  LanguageMode mode_;
  std::string latin_, word_;
  const char* script_ = "";
  size_t letters_ = 0, latin_words_ = 0, han_ = 0, kana_ = 0;
  std::map<std::string, size_t> hits_, counts_;
};

bool ends_segment(uint32_t code) {
  return code == '.' || code == '!' || code == '?' || code == '\n' || code == ';' || code == ':' ||
         code == 0x3002 || code == 0xFF01 || code == 0xFF1F;
}

// Where what begins at `at` and is no prose ends; `at` itself where it is prose.
size_t skipped(std::string_view text, size_t at) {
  if (text.substr(at).starts_with("```")) {
    const size_t end = text.find("```", at + 3);
    return end == std::string_view::npos ? text.size() : end + 3;
  }
  size_t end = at + 1;
  const auto is_name = [&] {
    return end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) ||
                                 text[end] == '/' || text[end] == '_');
  };
  if (text[at] == '\\') {
    while (end < text.size() && std::isalpha(static_cast<unsigned char>(text[end]))) ++end;
    return end;
  }
  if (text[at] != '<') return at;
  while (is_name()) ++end;
  return end < text.size() && text[end] == '>' ? end + 1 : at;
}

// What the last <think> of the rendered text holds, else all of it.
std::string_view chain_of_thought(std::string_view text) {
  constexpr std::string_view kOpen = "<think>";
  const size_t open = text.rfind(kOpen);
  if (open == std::string_view::npos) return text;
  const size_t begin = open + kOpen.size();
  return text.substr(begin, text.find("</think>", begin) - begin);
}

std::string listed(const std::map<std::string, size_t>& counts) {
  std::string out;
  for (const auto& [name, count] : counts)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, count);
  return out.empty() ? "no words" : out;
}

size_t total(const std::map<std::string, size_t>& counts) {
  size_t out = 0;
  for (const auto& [name, count] : counts) out += count;
  return out;
}

}  // namespace

std::map<std::string, size_t> language_words(std::string_view text, LanguageMode mode,
                                             const std::string& first) {
  Counter counter(mode, first);
  for (size_t at = 0; at < text.size();) {
    if (const size_t end = skipped(text, at); end > at) {
      counter.end_word();
      at = end;
      continue;
    }
    const size_t begin = at;
    const uint32_t code = text::next_code_point(text, at);
    if (const char* script = script_of(code)) {
      counter.letter(script, text.substr(begin, at - begin));
    } else if (ends_segment(code)) {
      counter.end_segment();
    } else {
      counter.end_word();
    }
  }
  counter.end_segment();
  return std::move(counter).counts();
}

void bind(core::Binder& b, LanguageOptions& o) {
  b.field("target", o.target, "language, as en or zh");
  b.choice("mode", o.mode, {{"words", LanguageMode::kWords}, {"script", LanguageMode::kScript}},
           "how words are told apart");
}

LanguageConsistency::LanguageConsistency(const LanguageOptions& options) : options_(options) {
  const auto known = known_languages();
  if (std::find(known.begin(), known.end(), options.target) == known.end())
    core::throw_user("language: unknown target '{}'{}", options.target,
                     core::suggestion(options.target, known));
}

std::string LanguageConsistency::target_of(const data::Prompt& prompt) const {
  const auto column = prompt.columns.find("language");
  return column != prompt.columns.end() && column->is_string() ? column->get<std::string>()
                                                               : options_.target;
}

std::string LanguageConsistency::problem_with(const data::Prompt& prompt) const {
  const auto known = known_languages();
  const std::string target = target_of(prompt);
  return std::find(known.begin(), known.end(), target) != known.end()
             ? ""
             : "language: unknown language " + target;
}

Judgement LanguageConsistency::judge(const data::Prompt& prompt,
                                     const data::Completion& completion) const {
  if (const std::string problem = problem_with(prompt); !problem.empty()) return refused(problem);
  const std::string target = target_of(prompt), text = text::rendered(prompt, completion);
  const auto counts = language_words(chain_of_thought(text), options_.mode, target);
  const auto found = counts.find(
      options_.mode == LanguageMode::kScript && is_latin_language(target) ? "latin" : target);
  const size_t all = total(counts), in_target = found == counts.end() ? 0 : found->second;
  const double share = all == 0 ? 1.0 : static_cast<double>(in_target) / static_cast<double>(all);
  return {share, ScoreStatus::kOk,
          fmt::format("{:.1f}% of the words are {} ({})", share * 100, target, listed(counts))};
}

void bind(core::Binder& b, SingleLanguageOptions& o) {
  b.field("min_share", o.min_share, "of the main language", {.low = 0, .high = 1});
}

Judgement SingleLanguage::judge(const data::Prompt&, const data::Completion& completion) const {
  const auto counts = language_words(completion.text, LanguageMode::kWords);
  const size_t all = total(counts);
  size_t most = 0;
  for (const auto& [name, count] : counts) most = std::max(most, count);
  const bool single = static_cast<double>(most) >= options_.min_share * static_cast<double>(all);
  return {single ? 1.0 : 0.0, single ? ScoreStatus::kOk : ScoreStatus::kWrong,
          (single ? "one language: " : "mixed languages: ") + listed(counts)};
}

}  // namespace ponder::rewards
