// The recipe keys of the algorithm's options, under TRL's names where TRL has one.
#pragma once

#include "core/recipe.h"
#include "grpo/advantage.h"
#include "grpo/batch.h"
#include "grpo/loss.h"

namespace ponder::grpo {

void bind(core::Binder& b, AdvantageOptions& options);
void bind(core::Binder& b, LossOptions& options);

}  // namespace ponder::grpo
