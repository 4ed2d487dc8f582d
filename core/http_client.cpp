#include "core/http_client.h"

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include <curl/curl.h>

#include "core/error.h"
#include "core/json_text.h"

namespace ponder::core {
namespace {

constexpr auto kPauseMax = std::chrono::seconds(30);
constexpr auto kPollTime = std::chrono::milliseconds(200);
constexpr size_t kAnswerBytesMax = size_t{1} << 30;

size_t append(char* data, size_t size, size_t count, void* into) {
  std::string& text = *static_cast<std::string*>(into);
  if (text.size() + size * count > kAnswerBytesMax) return 0;
  text.append(data, size * count);
  return size * count;
}

// libcurl asks several times while data comes, and about once a second while none does.
int goes_on(void* options, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& cancelled = static_cast<const ClientOptions*>(options)->cancelled;
  return cancelled && cancelled() ? 1 : 0;
}

// False where `cancelled` has come before `time` was over.
bool pause_for(std::chrono::milliseconds time, const ClientOptions& options) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!options.cancelled || !options.cancelled()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero()) return true;
    std::this_thread::sleep_for(
        options.cancelled ? std::min<std::chrono::nanoseconds>(left, kPollTime) : left);
  }
  return false;
}

// The server's own words: OpenAI's {"error": {"message"}}, FastAPI's {"detail"}, or the body's
// beginning.
std::string message_of(const std::string& body) {
  const auto json = parse_json_or_discard<nlohmann::json>(body);
  if (json.is_object()) {
    const auto error = json.value("error", json);
    if (error.is_object() && error.contains("message") && error["message"].is_string())
      return error["message"];
    if (json.contains("detail")) return json["detail"].dump();
  }
  return body.substr(0, 300);
}

}  // namespace

HttpClient::HttpClient(const ClientOptions& options) : options_(options), headers_(nullptr) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  handle_ = curl_easy_init();
  PONDER_CHECK(handle_ != nullptr, "[HttpClient] libcurl gives no handle");
  curl_slist* headers = curl_slist_append(nullptr, "Content-Type: application/json");
  headers = curl_slist_append(headers, "Expect:");
  if (!options.api_key.empty())
    headers = curl_slist_append(headers, ("Authorization: Bearer " + options.api_key).c_str());
  headers_ = headers;
}

HttpClient::~HttpClient() {
  curl_slist_free_all(static_cast<curl_slist*>(headers_));
  curl_easy_cleanup(handle_);
}

HttpAnswer HttpClient::ask(const std::string& path, const std::string& body) {
  HttpAnswer out;
  const std::string address = options_.url + path;
  char problem[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(handle_, CURLOPT_URL, address.c_str());
  curl_easy_setopt(handle_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle_, CURLOPT_HTTPHEADER, headers_);
  curl_easy_setopt(handle_, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(handle_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(handle_, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options_.connect_timeout.count()));
  curl_easy_setopt(handle_, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.timeout.count()));
  curl_easy_setopt(handle_, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(handle_, CURLOPT_WRITEDATA, &out.body);
  curl_easy_setopt(handle_, CURLOPT_ERRORBUFFER, problem);
  curl_easy_setopt(handle_, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle_, CURLOPT_XFERINFOFUNCTION, goes_on);
  curl_easy_setopt(handle_, CURLOPT_XFERINFODATA, &options_);
  const CURLcode code = curl_easy_perform(handle_);
  curl_easy_setopt(handle_, CURLOPT_ERRORBUFFER, nullptr);
  if (code != CURLE_OK) {
    out.late = code == CURLE_OPERATION_TIMEDOUT;
    out.problem = problem[0] != '\0' ? problem : curl_easy_strerror(code);
    return out;
  }
  curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &out.status);
  curl_off_t seconds = 0;
  curl_easy_getinfo(handle_, CURLINFO_RETRY_AFTER, &seconds);
  out.retry_after = std::chrono::seconds(seconds);
  if (out.status != 200)
    out.problem = fmt::format("status {}: {}", out.status, message_of(out.body));
  return out;
}

std::string HttpClient::post(const std::string& path, const std::string& body) {
  const std::string address = options_.url + path;
  std::chrono::milliseconds pause = options_.backoff;
  std::string problem;
  for (int i = 0; i < options_.tries; ++i) {
    HttpAnswer got = ask(path, body);
    if (got.ok()) return std::move(got.body);
    if (!got.worth_another_try())
      throw_user("{}: the server refuses the request: {}", address, got.problem);
    problem = got.problem;
    if (i + 1 == options_.tries) break;
    const auto time = std::min<std::chrono::milliseconds>(
        kPauseMax, std::max<std::chrono::milliseconds>(pause, got.retry_after));
    if (!pause_for(time, options_))
      throw_run("{}: stopped while the server did not answer", address);
    pause *= 2;
  }
  throw_run("{}: no answer after {} tries: {}; is the server running?", address, options_.tries,
            problem);
}

}  // namespace ponder::core
