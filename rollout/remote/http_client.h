// Posts JSON over HTTP or HTTPS and tries again where that helps. Knows nothing of models.
#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace ponder::rollout::remote {

struct ClientOptions {
  std::string url;      // "http://127.0.0.1:8000/v1"; paths are added to it
  std::string api_key;  // empty: none
  std::chrono::seconds connect_timeout{10};
  std::chrono::seconds timeout{600};  // of one try, answer included
  int tries = 5;
  std::chrono::milliseconds backoff{
      500};  // before the second try, then doubled each time, up to 30 s
};

// One connection, kept open. Not for several threads at once.
class HttpClient {
 public:
  explicit HttpClient(const ClientOptions& options);
  ~HttpClient();

  // The body of the 200 answer to POST url + path. No connection, a time-out, and the statuses 408,
  // 429 and 5xx are tried again (after Retry-After where the server says so). Throws UserError
  // where the server refuses the request (other 4xx, with its message), RunError where it does not
  // answer in the end.
  std::string post(const std::string& path, const std::string& body);

 private:
  struct Attempt;
  Attempt attempt(const std::string& address, const std::string& body);
  ClientOptions options_;
  void* handle_;
  void* headers_;
};

}  // namespace ponder::rollout::remote
