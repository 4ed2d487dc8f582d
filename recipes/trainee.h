// The policy that a stage trains and what every such stage keeps beside it: tokenizer, sampler,
// rewards, optimizer and the held-out problems. What is trained, and how, is the stage's own.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "distributed/group.h"
#include "policy/lora.h"
#include "policy/model.h"
#include "policy/optimizer.h"
#include "policy/tokenizer.h"
#include "recipes/options.h"
#include "recipes/stage.h"
#include "recipes/trainer_state.h"
#include "rewards/scorer.h"
#include "rollout/engine.h"

namespace ponder::recipes {

struct TrainedModel {
  policy::Model model;
  std::vector<policy::Parameter> trained;
};

// The folder's model as the options want it, and what of it is trained: all weights, or adapters (a
// function of seed); without the experts' gates where the router is frozen.
TrainedModel load_trained_model(const std::filesystem::path& folder, const TrainingOptions& options,
                                bool freeze_router, uint64_t seed);

struct Trainee {
  // `folder` is the Hugging Face folder that the tokenizer is read from; `trained` are the
  // parameters that the optimizer changes; `group` are the workers that train alike, and outlives
  // the trainee. Throws UserError where tokenizer and model do not fit.
  Trainee(policy::Model its_model, const std::vector<policy::Parameter>& trained,
          const std::filesystem::path& folder, const rewards::RewardOptions& reward,
          const policy::OptimizerOptions& optimizer_options, distributed::Group& its_group,
          const rollout::EngineOptions& engine_options = {});

  // Greedy and sampled metrics of `held_out`, shared among the workers; empty where there are no
  // problems, none where a stop signal cuts it off. The stop strings stay in the texts.
  std::optional<Metrics> evaluate(const EvalOptions& options, int64_t seed, int64_t step,
                                  const std::filesystem::path& file, const Say& say,
                                  const std::vector<std::string>& stop_strings = {});

  // The Hugging Face folder with weights in `dtype` (adapters merged, and beside them in the folder
  // `adapter`), and the trainer's state with `extra` tensors and these values. All workers call it,
  // one writes: the result is whole on rank 0 alone, and the same whatever their number. REQUIRES:
  // the trainee outlives the result.
  WriteCheckpoint checkpoint(at::ScalarType dtype, policy::NamedTensors extra,
                             data::Json values) const;
  void restore(const std::filesystem::path& checkpoint, const policy::NamedTensors& extra,
               const std::function<void(const data::Json&)>& read);

  std::filesystem::path folder;
  distributed::Group& group;
  policy::Model model;
  policy::Tokenizer tokenizer;
  rewards::Scorer scorer;
  rollout::Engine engine;
  policy::AdamW optimizer;
  std::vector<data::Prompt> held_out;  // encoded; filled by the stage
};

}  // namespace ponder::recipes
