// Posts JSON over HTTP or HTTPS and tries again where that helps. Knows nothing of models. Linked
// as ponder_http, apart from the rest of core, because it alone needs libcurl.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace ponder::core {

struct ClientOptions {
  std::string url;           // "http://127.0.0.1:8000/v1"; paths are added to it
  std::string api_key = {};  // empty: none
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds timeout{600'000};  // of one try, answer included
  int tries = 5;
  std::chrono::milliseconds backoff{
      500};  // before the second try, then doubled each time, up to 30 s
  // Asked about once a second, in the thread that waits: true ends the request without another try.
  std::function<bool()> cancelled = {};
};

// What came of one request.
struct HttpAnswer {
  long status = 0;    // 0: no answer
  bool late = false;  // no answer within the time-out
  std::string body;
  std::string problem;  // why the status is not 200, with the server's own words; "" where it is
  std::chrono::seconds retry_after{0};  // what the server asks for

  bool ok() const { return status == 200; }
  // No connection, a time-out, and the statuses 408, 429 and 5xx.
  bool worth_another_try() const {
    return status == 0 || status == 408 || status == 429 || status >= 500;
  }
};

// One connection, kept open. Not for several threads at once.
class HttpClient {
 public:
  explicit HttpClient(const ClientOptions& options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // One POST to url + path. Never throws for what the server or the network does.
  HttpAnswer ask(const std::string& path, const std::string& body);

  // The body of the 200 answer to POST url + path, tried again where that may help (after
  // Retry-After where the server says so). Throws UserError where the server refuses the request
  // (other 4xx, with its message), RunError where it does not answer in the end or `cancelled`.
  std::string post(const std::string& path, const std::string& body);

 private:
  ClientOptions options_;
  void* handle_;
  void* headers_;
};

}  // namespace ponder::core
