// The verbs of `ponder`. Each function adds one to the program: its words, its help with an
// example, and the call into recipes/ that CLI11 makes when the verb was given. `status` becomes
// the exit status where a verb ends without an exception.
#pragma once

#include <string>

#include "rewards/reward.h"

namespace CLI {
class App;
}

namespace ponder::cli {

void add_train(CLI::App& app, int& status);
void add_eval(CLI::App& app);
void add_sample(CLI::App& app);
// `load_model` (rewards/reward.h) serves the reward "reward_model".
void add_score(CLI::App& app, rewards::LoadRewardModel load_model = {});
void add_reward(CLI::App& app, int& status);
void add_report(CLI::App& app);
void add_serve(CLI::App& app);
void add_model(CLI::App& app);
void add_doctor(CLI::App& app);
void add_bench(CLI::App& app, int& status);

// "ponder 0.1.0 (LibTorch 2.11.0)".
std::string version_text();

}  // namespace ponder::cli
