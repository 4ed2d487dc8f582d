#include "recipes/dataset_options.h"

namespace ponder::recipes {

void bind(core::Binder& b, DatasetOptions& o) {
  b.field("name", o.name,
          "a task (chain_sums, arithmetic, countdown, linear_equations, logic), or a .jsonl or "
          ".parquet file, or a folder of them");
  b.field("split", o.split, "of a folder: which of its files");
  b.field("test_share", o.test_share,
          "share of a file's prompts, by hash, that is never trained on", {.low = 0, .high = 0.9});
  b.field("shuffle", o.shuffle, "each epoch in an order of its own");
  b.field("system_prompt", o.system_prompt, "a message before each prompt; empty: none");
  b.field("prompt_template", o.prompt_template,
          "text around {prompt} (and {system}); empty: the model's chat template, or as it is");
  b.field("decontaminate", o.decontaminate,
          "files whose prompts must not be trained on, not even in part");
  b.field("decontaminate_ngram", o.decontaminate_ngram, "words in a row that count as a part",
          {.low = 1});
  b.field("domain_column", o.domain_column,
          "metrics are also given by the values of this column; empty: not");
  bind(b, o.layout);  // ends with a table, and tables follow the plain keys
  bind(b, o.tasks);
  b.table("curriculum", o.curriculum);
}

}  // namespace ponder::recipes
