// The tiny world of the demo: chain sums, and the pretraining corpus that gives a base model its
// two styles of answering. Everything is a pure function of (seed, index). A tenth of all
// expressions, chosen by their hash, is held out: it appears neither in the corpus nor among the
// training prompts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/recipe.h"
#include "data/types.h"

namespace ponder::data {

// One problem: 7+5-3+8+6, each term 1..9 and used once, the running value within 0..60.
struct ChainSum {
  std::vector<int> terms;  // signed; the first is positive
  std::string expression() const;
  int value() const;
};

struct ChainSumOptions {
  int64_t min_terms = 4;
  int64_t max_terms = 7;
};
void bind(core::Binder& b, ChainSumOptions& options);

enum class Split { kTrain, kHeldOut };

ChainSum draw_chain_sum(core::Rng& rng, const ChainSumOptions& options);

// A problem of `split`: draws from `rng` until one belongs there.
ChainSum draw_chain_sum(core::Rng& rng, const ChainSumOptions& options, Split split);

// True for the tenth of the expressions that is held out.
bool is_held_out(const std::string& expression);

// "User: 7+5-3+8+6=?\nAssistant:", the answer as an integer. Its id is the expression.
Prompt chain_sum_prompt(const ChainSum& sum);

// "7+5=12;12-3=9;...": one step a term after the first.
std::string chain_steps(const ChainSum& sum);

// A document of the corpus: `prompt_bytes` of its text are what a user would have written.
struct Document {
  std::string text;
  size_t prompt_bytes = 0;
};

// How often each kind of document occurs (the rest, to 1, is junk), and how careless the writers of
// steps are.
struct CorpusOptions {
  ChainSumOptions sums;
  double direct = 0.4;         // an answer at once, after empty or idle thoughts
  double direct_right = 0.3;   // share of those answers that are right; the others are near misses
  double steps = 0.14;         // step by step within the tags
  double untagged = 0.028;     // step by step without tags
  double broken_tags = 0.019;  // step by step with a tag missing or doubled
  double bare = 0.018;         // the number alone
  double worked = 0.305;       // no chat: the same chain on "the maths page"
  double facts = 0.075;        // tables of single steps
  double slip = 0.005;         // share of steps that are wrong
  double corrected = 0.5;      // share of the slips that are noticed (" wait 12-3=9")
};
void bind(core::Binder& b, CorpusOptions& options);

// Document number `index` of the corpus `seed`.
Document corpus_document(uint64_t seed, int64_t index, const CorpusOptions& options);

}  // namespace ponder::data
