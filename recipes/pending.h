// A rollout that was sampled and scored but not trained yet, as two files of a checkpoint:
// pending.json (prompts, texts, scores, metrics) and pending.safetensors (tokens and log-probs,
// exactly).
#pragma once

#include <filesystem>
#include <optional>

#include "recipes/grpo_rollout.h"

namespace ponder::recipes {

void save_pending(const std::filesystem::path& checkpoint, const Rollout& rollout);

// None where the checkpoint holds none. Throws UserError for damaged files.
std::optional<Rollout> load_pending(const std::filesystem::path& checkpoint);

}  // namespace ponder::recipes
