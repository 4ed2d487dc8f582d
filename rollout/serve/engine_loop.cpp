#include "rollout/serve/engine_loop.h"

#include "core/error.h"

namespace ponder::rollout::serve {

EngineLoop::EngineLoop(Engine& engine, std::function<void(const std::string&)> on_crash)
    : engine_(engine), on_crash_(std::move(on_crash)), thread_([this] { run(); }) {}

EngineLoop::~EngineLoop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

EngineLoop::Ticket EngineLoop::submit(Request request,
                                      std::function<void(const std::string&)> on_refused) {
  Ticket ticket;
  {
    const std::lock_guard lock(mutex_);
    ticket = next_++;
    commands_.push_back({ticket, std::move(request), std::move(on_refused)});
  }
  wake_.notify_one();
  return ticket;
}

void EngineLoop::cancel(Ticket ticket) {
  {
    const std::lock_guard lock(mutex_);
    commands_.push_back({ticket, {}, {}});
  }
  wake_.notify_one();
}

EngineStats EngineLoop::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void EngineLoop::obey(Command command) {
  if (!command.on_refused) {
    const auto place = running_.find(command.ticket);
    if (place != running_.end()) engine_.cancel(place->second);
    return;
  }
  // Samples left of the request: its ticket goes with the last.
  const auto left = std::make_shared<int64_t>(command.request.options.num_generations);
  command.request.on_completion =
      [this, left, ticket = command.ticket, tell = std::move(command.request.on_completion)](
          size_t prompt, size_t sample, const data::Completion& completion) {
        if (--*left == 0) running_.erase(ticket);
        tell(prompt, sample, completion);
      };
  command.request.on_failed = [this, ticket = command.ticket,
                               tell =
                                   std::move(command.request.on_failed)](const std::string& why) {
    running_.erase(ticket);
    if (tell) tell(why);
  };
  try {
    running_[command.ticket] = engine_.submit(std::move(command.request));
  } catch (const core::UserError& error) {
    command.on_refused(error.what());
  }
}

void EngineLoop::run() {
  try {
    while (true) {
      std::vector<Command> commands;
      {
        std::unique_lock lock(mutex_);
        stats_ = engine_.stats();
        wake_.wait(lock, [this] { return stopping_ || !commands_.empty() || engine_.busy(); });
        if (stopping_) break;
        commands.swap(commands_);
      }
      for (Command& command : commands) obey(std::move(command));
      if (engine_.busy()) engine_.step();
    }
    const auto left = running_;
    for (const auto& [ticket, id] : left) engine_.cancel(id);
  } catch (const std::exception& error) {
    on_crash_(error.what());
  }
}

}  // namespace ponder::rollout::serve
