// An HTTP/1.1 server for few, long requests: one thread, any number of connections, nothing that a
// slow or hostile client could hold: one deadline for a whole request, limits for header, body and
// connections. Knows nothing of models.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace ponder::rollout::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: any free one
  size_t body_bytes_max = 8 << 20;
  size_t header_bytes_max = 16 << 10;
  size_t connections_max = 512;
  std::chrono::seconds request_time = std::chrono::seconds(30);  // header and body together
  std::chrono::seconds idle_time = std::chrono::seconds(60);     // between two requests
  std::chrono::seconds write_time =
      std::chrono::seconds(30);  // for a client to take what it is sent
};

struct HttpRequest {
  std::string method, path;  // path without the query
  std::string authorization;
  std::string body;
};

// Where an answer goes. Every method may be called from any thread, at any time: what comes after
// the client has gone is dropped.
class Reply {
 public:
  virtual ~Reply() = default;
  virtual void send(int status, std::string json) = 0;
  // A stream of server-sent events: begin, any number of events, end.
  virtual void begin_events() = 0;
  virtual void send_event(std::string data) = 0;
  virtual void end_events() = 0;
  // Called once, from the server's thread, when the client goes before the answer is complete (at
  // once where it has gone already).
  virtual void on_gone(std::function<void()> callback) = 0;
};

using Handler = std::function<void(const HttpRequest&, std::shared_ptr<Reply>)>;
// The body of an error that the server itself answers with (400, 408, 413, 431, 503).
using ErrorBody = std::function<std::string(int status, const std::string& message)>;

class HttpServer {
 public:
  // Listens. The handler is called from run()'s thread and must not block. Throws UserError where
  // host or port cannot be had.
  HttpServer(const HttpOptions& options, Handler handler, ErrorBody error_body);
  ~HttpServer();
  int port() const;

  // Serves until stop() has been called and every answer under way has ended.
  void run();
  // From any thread: no new connections, idle ones closed; answers under way go on for `grace` at
  // most.
  void stop(std::chrono::milliseconds grace);
  // From any thread: run() returns at once.
  void abort();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace ponder::rollout::serve
