#include "recipes/stopping.h"

#include <algorithm>
#include <utility>

#include "core/stop.h"

namespace ponder::recipes {

int agreed_stop(distributed::Group& group) {
  const std::vector<int64_t> all = group.all_values(core::stop_signal(), "the stop signal");
  return static_cast<int>(*std::max_element(all.begin(), all.end()));
}

std::optional<std::vector<data::Group>> generate_unless_stopped(
    rollout::Engine& engine, std::vector<rollout::Request> requests,
    const rollout::OnCompletion& on_completion) {
  std::vector<data::Group> groups;
  std::vector<rollout::RequestId> ids;
  bool stopped = false;
  // Its callbacks refer to the above: none may be left when this function is.
  struct Ending {
    rollout::Engine& engine;
    const std::vector<rollout::RequestId>& ids;
    bool& stopped;
    ~Ending() {
      stopped = true;
      for (const rollout::RequestId id : ids) engine.cancel(id);
    }
  } ending{engine, ids, stopped};
  groups.reserve(requests.size());
  for (rollout::Request& request : requests) {
    const size_t i = groups.size();
    groups.push_back({request.prompt, std::vector<data::Completion>(
                                          static_cast<size_t>(request.options.num_generations))});
    request.on_completion = [&, i](size_t, size_t j, const data::Completion& completion) {
      if (stopped) return;
      groups[i].completions[j] = completion;
      if (on_completion) on_completion(i, j, completion);
    };
    ids.push_back(engine.submit(std::move(request)));
  }
  while (engine.busy()) {
    if (core::stop_requested()) return std::nullopt;
    engine.step();
  }
  engine.generate(std::vector<rollout::Request>());  // gives the cache's memory back
  return groups;
}

}  // namespace ponder::recipes
