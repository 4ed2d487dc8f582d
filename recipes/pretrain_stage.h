// Stage "pretrain": next-token prediction on the chain sums' corpus, from fresh weights, with V3's
// auxiliary-loss-free balancing of the experts. Makes the demo's base model.
#pragma once

#include <memory>

#include "distributed/group.h"
#include "recipes/options.h"
#include "recipes/stage.h"

namespace ponder::recipes {

// Reads config.json and the tokenizer; draws the weights from the recipe's seed.
// `group` outlives the stage.
std::unique_ptr<Stage> make_pretrain_stage(const PretrainRecipe& recipe, distributed::Group& group);

}  // namespace ponder::recipes
