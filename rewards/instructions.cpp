#include "rewards/instructions.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include <re2/re2.h>

#include "core/error.h"
#include "core/spelling.h"
#include "rewards/fence.h"
#include "rewards/language.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::Json;
using data::ScoreStatus;
using text::lower;
using text::trimmed;

re2::StringPiece piece(std::string_view text) {
  return {text.data(), text.size()};
}

size_t matches_of(const std::string& pattern, std::string_view text) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  const re2::RE2 compiled(pattern, options);
  if (!compiled.ok()) throw std::invalid_argument("pattern " + pattern + ": " + compiled.error());
  size_t count = 0;
  for (re2::StringPiece rest = piece(text); re2::RE2::FindAndConsume(&rest, compiled); ++count) {
    if (rest.empty()) return count + 1;
  }
  return count;
}

// How often a word or phrase stands in the text, in any case, at words' borders.
size_t occurrences(const std::string& phrase, std::string_view text) {
  return matches_of("(?i)(?:^|\\b|\\W)" + re2::RE2::QuoteMeta(phrase) + "(?:\\b|\\W|$)", text);
}

const std::string& string_of(const Json& arguments, const char* key) {
  const auto found = arguments.find(key);
  if (found == arguments.end() || !found->is_string())
    throw std::invalid_argument(fmt::format("the text {} is missing", key));
  return found->get_ref<const std::string&>();
}

int64_t number_of(const Json& arguments, const char* key) {
  const auto found = arguments.find(key);
  if (found == arguments.end() || !found->is_number())
    throw std::invalid_argument(fmt::format("the number {} is missing", key));
  return static_cast<int64_t>(found->get<double>());
}

std::vector<std::string> strings_of(const Json& arguments, const char* key) {
  const auto found = arguments.find(key);
  if (found == arguments.end() || !found->is_array())
    throw std::invalid_argument(fmt::format("the list {} is missing", key));
  return found->get<std::vector<std::string>>();
}

// "less than" n, or "at least" n.
bool compares(const Json& arguments, const char* relation_key, size_t found, int64_t number) {
  const std::string& relation = string_of(arguments, relation_key);
  if (relation == "less than") return static_cast<int64_t>(found) < number;
  if (relation == "at least") return static_cast<int64_t>(found) >= number;
  throw std::invalid_argument("relation: expected \"less than\" or \"at least\", found " +
                              relation);
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> out;
  for (;;) {
    const size_t at = text.find(separator);
    out.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + separator.size());
  }
}

std::vector<std::string_view> filled(std::vector<std::string_view> parts) {
  std::erase_if(parts, [](std::string_view part) { return trimmed(part).empty(); });
  return parts;
}

size_t num_words(std::string_view text) {
  size_t count = 0;
  for (const std::string_view word : text::words(text)) {
    count += std::any_of(word.begin(), word.end(),
                         [](unsigned char c) { return std::isalnum(c) || c >= 0x80; })
                 ? 1
                 : 0;
  }
  return count;
}

size_t num_sentences(std::string_view text) {
  size_t count = 0;
  bool open = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool end = text[i] == '.' || text[i] == '!' || text[i] == '?';
    const bool border =
        i + 1 == text.size() || std::isspace(static_cast<unsigned char>(text[i + 1]));
    if (end && border && open) {
      ++count;
      open = false;
    } else if (!end && !std::isspace(static_cast<unsigned char>(text[i]))) {
      open = true;
    }
  }
  return count + (open ? 1 : 0);
}

bool only_case(std::string_view text, bool upper) {
  bool letters = false;
  for (const unsigned char c : text) {
    letters = letters || std::isalpha(c);
    if (upper ? std::islower(c) : std::isupper(c)) return false;
  }
  return letters;
}

size_t capital_words(std::string_view text) {
  size_t count = 0;
  for (const std::string_view word : text::words(text)) count += only_case(word, true) ? 1 : 0;
  return count;
}

bool nth_paragraph_starts(const Json& a, std::string_view text) {
  const auto paragraphs = filled(split(text, "\n\n"));
  const int64_t nth = number_of(a, "nth_paragraph");
  if (static_cast<int64_t>(paragraphs.size()) != number_of(a, "num_paragraphs") || nth < 1 ||
      nth > static_cast<int64_t>(paragraphs.size()))
    return false;
  const auto words = text::words(paragraphs[static_cast<size_t>(nth - 1)]);
  std::string word = lower(words.at(0));
  std::erase_if(word, [](unsigned char c) { return std::ispunct(c); });
  return word == lower(string_of(a, "first_word"));
}

bool is_json(std::string_view text) {
  const auto fenced = last_fenced(text, {"json"});
  return Json::accept(fenced ? *fenced : std::string(trimmed(text)));
}

bool in_language(const Json& a, std::string_view text) {
  const auto counts = language_words(text, LanguageMode::kWords, string_of(a, "language"));
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& x, const auto& y) { return x.second < y.second; });
  return most != counts.end() && most->first == a["language"];
}

bool quoted(std::string_view t) {
  return t.size() > 1 && t.front() == '"' && t.back() == '"';
}

bool two_responses(std::string_view text) {
  const auto parts = filled(split(text, "******"));
  return parts.size() == 2 && trimmed(parts[0]) != trimmed(parts[1]);
}

bool constrained(std::string_view text) {
  for (const char* allowed : {"My answer is yes.", "My answer is no.", "My answer is maybe."}) {
    if (text.find(allowed) != std::string_view::npos) return true;
  }
  return false;
}

bool has_postscript(const std::string& marker, std::string_view text) {
  const std::string pattern = marker == "P.P.S"  ? R"((?i)\s*p\.\s?p\.\s?s.*)"
                              : marker == "P.S." ? R"((?i)\s*p\.\s?s\..*)"
                                                 : "(?i)\\s*" + re2::RE2::QuoteMeta(marker) + ".*";
  return matches_of(pattern, text) > 0;
}

// All keywords stand in the text (`wanted`), or none does.
bool keywords(const std::vector<std::string>& list, std::string_view text, bool wanted) {
  return std::all_of(list.begin(), list.end(), [&](const std::string& word) {
    return (occurrences(word, text) > 0) == wanted;
  });
}

size_t letter_count(const std::string& letter, std::string_view text) {
  const std::string folded = lower(text);
  return letter.size() == 1
             ? static_cast<size_t>(std::count(folded.begin(), folded.end(), lower(letter)[0]))
             : 0;
}

using Check = bool (*)(const Json& a, std::string_view text);

const std::map<std::string, Check>& checks() {
  static const std::map<std::string, Check> all = {
      {"keywords:existence",
       [](const Json& a, std::string_view t) {
         return keywords(strings_of(a, "keywords"), t, true);
       }},
      {"keywords:forbidden_words",
       [](const Json& a, std::string_view t) {
         return keywords(strings_of(a, "forbidden_words"), t, false);
       }},
      {"keywords:frequency",
       [](const Json& a, std::string_view t) {
         return compares(a, "relation", occurrences(string_of(a, "keyword"), t),
                         number_of(a, "frequency"));
       }},
      {"keywords:letter_frequency",
       [](const Json& a, std::string_view t) {
         return compares(a, "let_relation", letter_count(string_of(a, "letter"), t),
                         number_of(a, "let_frequency"));
       }},
      {"language:response_language", in_language},
      {"length_constraints:number_sentences",
       [](const Json& a, std::string_view t) {
         return compares(a, "relation", num_sentences(t), number_of(a, "num_sentences"));
       }},
      {"length_constraints:number_words",
       [](const Json& a, std::string_view t) {
         return compares(a, "relation", num_words(t), number_of(a, "num_words"));
       }},
      {"length_constraints:number_paragraphs",
       [](const Json& a, std::string_view t) {
         return static_cast<int64_t>(filled(split(t, "***")).size()) ==
                number_of(a, "num_paragraphs");
       }},
      {"length_constraints:nth_paragraph_first_word", nth_paragraph_starts},
      {"detectable_content:number_placeholders",
       [](const Json& a, std::string_view t) {
         return static_cast<int64_t>(matches_of(R"(\[[^\]]*\])", t)) >=
                number_of(a, "num_placeholders");
       }},
      {"detectable_content:postscript",
       [](const Json& a, std::string_view t) {
         return has_postscript(string_of(a, "postscript_marker"), t);
       }},
      {"detectable_format:number_bullet_lists",
       [](const Json& a, std::string_view t) {
         return static_cast<int64_t>(matches_of(R"((?m)^\s*(?:\*[^*\n]|-).*$)", t)) ==
                number_of(a, "num_bullets");
       }},
      {"detectable_format:constrained_response",
       [](const Json&, std::string_view t) { return constrained(t); }},
      {"detectable_format:number_highlighted_sections",
       [](const Json& a, std::string_view t) {
         return static_cast<int64_t>(matches_of(R"(\*\*[^\n*]+\*\*|\*[^\n*]+\*)", t)) >=
                number_of(a, "num_highlights");
       }},
      {"detectable_format:multiple_sections",
       [](const Json& a, std::string_view t) {
         return static_cast<int64_t>(matches_of(
                    "\\s?" + re2::RE2::QuoteMeta(string_of(a, "section_spliter")) + "\\s?\\d+\\s?",
                    t)) >= number_of(a, "num_sections");
       }},
      {"detectable_format:json_format", [](const Json&, std::string_view t) { return is_json(t); }},
      {"detectable_format:title",
       [](const Json&, std::string_view t) {
         return matches_of(R"(<<[^\n]*[^\s<>][^\n]*>>)", t) > 0;
       }},
      {"combination:two_responses",
       [](const Json&, std::string_view t) { return two_responses(t); }},
      {"combination:repeat_prompt",
       [](const Json& a, std::string_view t) {
         return lower(trimmed(t)).starts_with(lower(trimmed(string_of(a, "prompt_to_repeat"))));
       }},
      {"startend:end_checker",
       [](const Json& a, std::string_view t) {
         while (quoted(trimmed(t))) {
           t = trimmed(t);
           t = t.substr(1, t.size() - 2);
         }
         return lower(trimmed(t)).ends_with(lower(trimmed(string_of(a, "end_phrase"))));
       }},
      {"startend:quotation", [](const Json&, std::string_view t) { return quoted(trimmed(t)); }},
      {"change_case:capital_word_frequency",
       [](const Json& a, std::string_view t) {
         return compares(a, "capital_relation", capital_words(t),
                         number_of(a, "capital_frequency"));
       }},
      {"change_case:english_capital",
       [](const Json&, std::string_view t) { return only_case(t, true); }},
      {"change_case:english_lowercase",
       [](const Json&, std::string_view t) { return only_case(t, false); }},
      {"punctuation:no_comma",
       [](const Json&, std::string_view t) { return t.find(',') == std::string_view::npos; }},
  };
  return all;
}

struct Instruction {
  std::string id;
  Json arguments;
};

// Throws std::invalid_argument.
std::vector<Instruction> instructions_of(const data::Prompt& prompt) {
  const Json ids = prompt.columns.value("instruction_id_list", Json()),
             arguments = prompt.columns.value("kwargs", Json());
  if (!ids.is_array() || ids.empty())
    throw std::invalid_argument("the column instruction_id_list is missing or empty");
  if (!arguments.is_array() || arguments.size() != ids.size())
    throw std::invalid_argument(
        "the column kwargs needs an object for each of instruction_id_list");
  std::vector<Instruction> out;
  for (size_t i = 0; i < ids.size(); ++i)
    out.push_back(
        {ids[i].get<std::string>(), arguments[i].is_null() ? Json::object() : arguments[i]});
  return out;
}

}  // namespace

bool follows_instruction(const std::string& id, const Json& arguments, std::string_view text) {
  const auto found = checks().find(id);
  if (found == checks().end())
    throw std::invalid_argument("unknown instruction " + id +
                                core::suggestion(id, instruction_ids()));
  if (!arguments.is_object())
    throw std::invalid_argument("the arguments of " + id + " are no object");
  return found->second(arguments, text);
}

std::vector<std::string> instruction_ids() {
  std::vector<std::string> out;
  for (const auto& [id, check] : checks()) out.push_back(id);
  return out;
}

void bind(core::Binder& b, InstructionOptions& o) {
  b.field("fraction", o.fraction, "the share that is followed, else all or nothing");
}

std::string InstructionFollowing::problem_with(const data::Prompt& prompt) const {
  try {
    for (const Instruction& instruction : instructions_of(prompt))
      follows_instruction(instruction.id, instruction.arguments, "a");
    return {};
  } catch (const std::exception& error) {
    return std::string("instructions: ") + error.what();
  }
}

Judgement InstructionFollowing::judge(const data::Prompt& prompt,
                                      const data::Completion& completion) const {
  const std::string whole = text::rendered(prompt, completion);
  const std::string_view text = text::behind_reasoning(whole);
  std::string broken;
  size_t followed = 0, total = 0;
  try {
    for (const Instruction& instruction : instructions_of(prompt)) {
      ++total;
      if (follows_instruction(instruction.id, instruction.arguments, text) &&
          !trimmed(text).empty())
        ++followed;
      else
        broken += (broken.empty() ? "; broken: " : ", ") + instruction.id;
    }
  } catch (const std::exception& error) {
    return refused(std::string("instructions: ") + error.what());
  }
  const bool all = followed == total;
  const double share = static_cast<double>(followed) / static_cast<double>(total);
  return {options_.fraction ? share
          : all             ? 1.0
                            : 0.0,
          all ? ScoreStatus::kOk : ScoreStatus::kWrong,
          fmt::format("{} of {} followed{}", followed, total, broken)};
}

}  // namespace ponder::rewards
