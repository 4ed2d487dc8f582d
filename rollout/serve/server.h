// `ponder serve`: a model behind OpenAI's API. /v1/completions, /v1/chat/completions, /v1/models,
// /health; token streams as server-sent events. Requests of all clients batch together in one
// engine.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "rollout/engine.h"
#include "rollout/serve/http.h"
#include "rollout/serve/openai.h"

namespace ponder::rollout::serve {

struct ServerOptions {
  HttpOptions http;
  std::string api_key;             // empty: none is asked for
  int64_t requests_max = 256;      // under way at once; one more is answered with 429
  std::chrono::seconds grace{30};  // for requests under way when the server is told to stop
  uint64_t seed = 1;               // of requests that give none; each gets another
};

class Server {
 public:
  // Listens. REQUIRES: engine and `served` outlive it. Throws UserError where host or port cannot
  // be had.
  Server(Engine& engine, const Served& served, const ServerOptions& options);
  ~Server();
  int port() const;

  // Serves until stop() and until what was under way has ended or the grace is over. Throws
  // RunError where the engine failed.
  void run();
  // From any thread.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::rollout::serve
