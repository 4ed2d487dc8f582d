// The engine in a thread of its own: requests of many clients batch together, whenever they come.
// All of the engine's callbacks are called in that thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "rollout/engine.h"

namespace ponder::rollout::serve {

class EngineLoop {
 public:
  using Ticket = uint64_t;

  // REQUIRES: the engine outlives it and is used by nobody else meanwhile. `on_crash`: called once
  // from the thread when step() throws; the loop then takes nothing more.
  EngineLoop(Engine& engine, std::function<void(const std::string&)> on_crash);
  // Cancels what is under way and ends the thread.
  ~EngineLoop();
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  // From any thread. Where the engine refuses the request, `on_refused` is called with its words in
  // place of the request's callbacks. Logits that are not finite end their request alone, with or
  // without on_failed.
  Ticket submit(Request request, std::function<void(const std::string&)> on_refused);
  // From any thread; unknown and finished tickets are ignored.
  void cancel(Ticket ticket);
  EngineStats stats() const;  // as of the last step

 private:
  struct Command {
    Ticket ticket;
    Request request;
    std::function<void(const std::string&)> on_refused;  // empty: cancel the ticket
  };
  void run();
  void obey(Command command);

  Engine& engine_;
  std::function<void(const std::string&)> on_crash_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Command> commands_;
  EngineStats stats_;
  Ticket next_ = 1;
  bool stopping_ = false;
  std::unordered_map<Ticket, RequestId> running_;  // of the thread alone
  std::thread thread_;
};

}  // namespace ponder::rollout::serve
