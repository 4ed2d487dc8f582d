// Which language a text is in, and the rewards that want one: R1's language consistency and a
// detector of mixtures.
//
// By script: a word belongs to the languages of its letters' script (Latin serves en, de, fr, es,
// it and pt alike). By word: a segment's Latin words belong to the language whose function words it
// has most of; without any it goes on in the segment before. Each Han character is a word (no
// segmentation); in a segment with kana it is Japanese. What is no prose does not count: tags,
// code, LaTeX commands, numbers, single Latin letters (variables).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/recipe.h"
#include "rewards/reward.h"

namespace ponder::rewards {

enum class LanguageMode { kWords, kScript };

// Words by language ("en", "zh", ...); by script the Latin ones stand under "latin", unknown
// scripts under "other". `first` is the language of Latin segments before the first function word.
std::map<std::string, size_t> language_words(std::string_view text, LanguageMode mode,
                                             const std::string& first = "en");

struct LanguageOptions {
  std::string target = "en";  // a prompt's column "language" comes before it
  LanguageMode mode = LanguageMode::kWords;
};
void bind(core::Binder& b, LanguageOptions& o);

// Num(words in the target language) / Num(words) of the chain of thought (DeepSeek-R1,
// arXiv:2501.12948, language consistency reward). The chain of thought is what <think> holds, the
// whole completion where there is none. 1 without words.
class LanguageConsistency : public Reward {
 public:
  // Throws UserError: an unknown target.
  explicit LanguageConsistency(const LanguageOptions& options);
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;

 private:
  std::string target_of(const data::Prompt& prompt) const;
  LanguageOptions options_;
};

struct SingleLanguageOptions {
  double min_share = 0.9;
};
void bind(core::Binder& b, SingleLanguageOptions& o);

// 1 where at least min_share of the completion's words are in one language, whichever it is, else
// 0: mixed.
class SingleLanguage : public Reward {
 public:
  explicit SingleLanguage(const SingleLanguageOptions& options) : options_(options) {}
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;

 private:
  SingleLanguageOptions options_;
};

}  // namespace ponder::rewards
