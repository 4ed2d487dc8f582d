#include "policy/pretokenizer.h"

#include "policy/byte_alphabet.h"
#include "policy/unicode_regex.h"

namespace ponder::policy {
namespace {

using Step = std::function<void(Words&)>;

// What becomes of the matches ("delimiters") of a Split.
enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct Piece {
  size_t begin;
  size_t end;
  bool matched;
};

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Behavior behavior_of(const JsonPlace& value) {
  const std::string name = value.text();
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  value.fail("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
}

// Joins neighbours as the behavior asks; the pieces' order and cover stay.
void merge_pieces(Behavior behavior, std::vector<Piece>& pieces) {
  if (behavior == Behavior::kIsolated || behavior == Behavior::kRemoved) return;
  std::vector<Piece> merged;
  bool previous = false;
  if (behavior == Behavior::kMergedWithNext) {
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
      if (piece->matched && !previous && !merged.empty()) {
        merged.back().begin = piece->begin;
      } else {
        merged.push_back(*piece);
      }
      previous = piece->matched;
    }
    pieces.assign(merged.rbegin(), merged.rend());
    return;
  }
  for (const Piece& piece : pieces) {
    const bool joins =
        behavior == Behavior::kContiguous ? piece.matched == previous : piece.matched && !previous;
    if (joins && !merged.empty()) {
      merged.back().end = piece.end;
    } else {
      merged.push_back(piece);
    }
    previous = piece.matched;
  }
  pieces = std::move(merged);
}

// Cuts every word at the regex's matches.
class SplitStep {
 public:
  SplitStep(UnicodeRegex regex, Behavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  void operator()(Words& words) const {
    thread_local std::vector<Match> matches;
    thread_local std::vector<std::string_view> cut;
    cut.clear();
    for (const std::string_view word : words.words) {
      regex_.find_all(word, matches);
      if (behavior_ == Behavior::kIsolated) {
        isolate(word, matches, cut);
      } else {
        split(word, matches, cut);
      }
    }
    std::swap(words.words, cut);
  }

 private:
  static void isolate(std::string_view word, const std::vector<Match>& matches,
                      std::vector<std::string_view>& cut) {
    size_t position = 0;
    const auto put = [&](size_t end) {
      if (end > position) cut.push_back(word.substr(position, end - position));
      position = end;
    };
    for (const Match& match : matches) {
      put(match.begin);
      put(match.end);
    }
    put(word.size());
  }

  void split(std::string_view word, const std::vector<Match>& matches,
             std::vector<std::string_view>& cut) const {
    std::vector<Piece> pieces;
    size_t position = 0;
    for (const Match& match : matches) {
      if (match.begin > position) pieces.push_back({position, match.begin, invert_});
      pieces.push_back({match.begin, match.end, !invert_});
      position = match.end;
    }
    if (position < word.size()) pieces.push_back({position, word.size(), invert_});
    merge_pieces(behavior_, pieces);
    for (const Piece& piece : pieces) {
      if (behavior_ == Behavior::kRemoved && piece.matched) continue;
      if (piece.end > piece.begin) cut.push_back(word.substr(piece.begin, piece.end - piece.begin));
    }
  }

  UnicodeRegex regex_;
  Behavior behavior_;
  bool invert_;
};

void rewrite_words(Words& words,
                   const std::function<bool(std::string_view, std::string&)>& rewrite) {
  for (std::string_view& word : words.words) {
    std::string changed;
    if (rewrite(word, changed)) word = words.rewritten.emplace_back(std::move(changed));
  }
}

void add_prefix_space(Words& words) {
  rewrite_words(words, [](std::string_view word, std::string& changed) {
    if (word.starts_with(' ')) return false;
    changed.append(" ").append(word);
    return true;
  });
}

void spell_bytes(Words& words) {
  rewrite_words(words, [](std::string_view word, std::string& changed) {
    for (const char byte : word)
      changed += ByteAlphabet::instance().spelling[static_cast<unsigned char>(byte)];
    return true;
  });
}

SplitStep split_step(const JsonPlace& component) {
  const JsonPlace pattern = component.field("pattern");
  const JsonPlace string = pattern.field("String");
  UnicodeRegex regex = string.is_null()
                           ? UnicodeRegex(pattern.field("Regex").text(), pattern.place())
                           : UnicodeRegex::literal(string.text(), pattern.place());
  return {std::move(regex), behavior_of(component.field("behavior")),
          component.field("invert").boolean_or(false)};
}

void add_byte_level(const JsonPlace& component, bool is_last, std::vector<Step>& steps) {
  if (component.field("add_prefix_space").boolean_or(true)) steps.emplace_back(add_prefix_space);
  if (component.field("use_regex").boolean_or(true)) {
    steps.emplace_back(
        SplitStep(UnicodeRegex(kGpt2, component.place()), Behavior::kIsolated, false));
  }
  if (!is_last) steps.emplace_back(spell_bytes);
}

// Llama-2's: spaces become `replacement`, one is put in front, and words begin at each.
void add_metaspace(const JsonPlace& component, std::vector<Step>& steps) {
  const std::string replacement = component.field("replacement").text();
  if (replacement.empty()) component.field("replacement").fail("a character");
  const bool older_key = component.field("add_prefix_space").boolean_or(true);
  const std::string scheme =
      component.field("prepend_scheme").text_or(older_key ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    component.field("prepend_scheme").fail("always, first or never");
  }
  steps.emplace_back([=](Words& words) {
    bool first = words.at_text_start;
    rewrite_words(words, [&](std::string_view word, std::string& changed) {
      for (const char c : word) {
        if (c == ' ') {
          changed += replacement;
        } else {
          changed += c;
        }
      }
      const bool prepend = scheme == "always" || (scheme == "first" && first);
      if (prepend && !changed.starts_with(replacement)) changed.insert(0, replacement);
      first = false;
      return true;
    });
  });
  if (component.field("split").boolean_or(true)) {
    steps.emplace_back(SplitStep(UnicodeRegex::literal(replacement, component.place()),
                                 Behavior::kMergedWithNext, false));
  }
}

void add_steps(const JsonPlace& component, bool is_last, std::vector<Step>& steps) {
  const std::string type = component.field("type").text();
  const auto split = [&](std::string_view pattern, Behavior behavior) {
    steps.emplace_back(SplitStep(UnicodeRegex(pattern, component.place()), behavior, false));
  };
  if (type == "Split") {
    steps.emplace_back(split_step(component));
  } else if (type == "ByteLevel") {
    add_byte_level(component, is_last, steps);
  } else if (type == "Digits") {
    const bool individual = component.field("individual_digits").boolean_or(false);
    split(R"(\p{N})", individual ? Behavior::kIsolated : Behavior::kContiguous);
  } else if (type == "Whitespace") {
    steps.emplace_back(
        SplitStep(UnicodeRegex(fmt::format("[{0}]+|[^{0}\\s]+", kRustWord), component.place()),
                  Behavior::kRemoved, true));
  } else if (type == "WhitespaceSplit") {
    split(R"(\s)", Behavior::kRemoved);
  } else if (type == "Punctuation") {
    const JsonPlace behavior = component.field("behavior");
    split(R"([!-/:-@\[-`{-~\p{P}])",
          behavior.is_null() ? Behavior::kIsolated : behavior_of(behavior));
  } else if (type == "Metaspace") {
    add_metaspace(component, steps);
  } else {
    core::throw_user(
        "{}: unknown pre-tokenizer '{}', expected Split, ByteLevel, Digits, Whitespace, "
        "WhitespaceSplit, Punctuation, "
        "Metaspace or Sequence",
        component.place(), type);
  }
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonPlace& component) {
  std::vector<JsonPlace> parts;
  flatten_sequence(component, "pretokenizers", parts);
  for (size_t i = 0; i < parts.size(); ++i) add_steps(parts[i], i + 1 == parts.size(), steps_);
  yields_raw_bytes_ = !parts.empty() && parts.back().field("type").text() == "ByteLevel";
}

void PreTokenizer::operator()(Words& words) const {
  for (const Step& step : steps_) step(words);
}

}  // namespace ponder::policy
