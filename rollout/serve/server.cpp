#include "rollout/serve/server.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <mutex>

#include <fmt/format.h>

#include "core/error.h"
#include "core/random.h"
#include "rollout/serve/engine_loop.h"

namespace ponder::rollout::serve {
namespace {

const char* type_of(int status) {
  return status == 401   ? "authentication_error"
         : status == 429 ? "rate_limit_error"
         : status >= 500 ? "server_error"
                         : "invalid_request_error";
}

std::string plain_error(int status, const std::string& message) {
  return error_json({.status = status, .message = message, .type = type_of(status)});
}

void send_error(Reply& reply, const ApiError& error) {
  reply.send(error.status, error_json(error));
}

// Equal, without telling by the time it takes how much of it was.
bool same_secret(const std::string& a, const std::string& b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i] ^ b[b.empty() ? 0 : i % b.size()]);
  return difference == 0 && !b.empty();
}

// RFC 3986, 2.1; a '%' that no two hexadecimal digits follow stays.
std::string percent_decoded(const std::string& path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    int byte = 0;
    const char* end = path.data() + std::min(i + 3, path.size());
    const bool coded = path[i] == '%' && i + 2 < path.size() &&
                       std::from_chars(path.data() + i + 1, end, byte, 16).ptr == end;
    out += coded ? static_cast<char>(byte) : path[i];
    if (coded) i += 2;
  }
  return out;
}

// One client's request while the engine works on it. Its methods are called from the engine's
// thread.
class Task {
 public:
  Task(const ApiRequest& request, const Served& served, std::string id,
       std::shared_ptr<Reply> reply, std::shared_ptr<std::atomic<int64_t>> count)
      : answer_(request, served, std::move(id)),
        reply_(std::move(reply)),
        count_(std::move(count)),
        streams_(request.streams) {
    ++*count_;
  }
  ~Task() { --*count_; }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  void on_prompt(size_t prompt, const std::vector<TopLogprobs>& scores) {
    if (!over_) answer_.on_prompt(prompt, scores);
  }

  void on_token(size_t prompt, const TokenEvent& event) {
    if (!over_) send(answer_.token_events(prompt, event));
  }

  void on_completion(size_t prompt, size_t sample, const data::Completion& completion) {
    if (over_) return;
    const std::vector<std::string> events = answer_.end_events(prompt, sample, completion);
    if (streams_) {
      send(events);
      if (answer_.complete()) reply_->end_events();
    } else if (answer_.complete()) {
      answer_.aborted() ? reply_->send(503, plain_error(503, "the server is stopping"))
                        : reply_->send(200, answer_.whole());
    }
  }

  void on_refused(const std::string& message) { fail(400, message); }
  void on_failed(const std::string& message) { fail(500, message); }

 private:
  // Of a request with several prompts, the first that fails is the answer; what the others give
  // comes to nothing.
  void fail(int status, const std::string& message) {
    if (std::exchange(over_, true)) return;
    // A stream begins with its first event, so that most failures still have a status.
    if (!begun_) return reply_->send(status, plain_error(status, message));
    reply_->send_event(plain_error(status, message));
    reply_->end_events();
  }

  void send(const std::vector<std::string>& events) {
    if (events.empty()) return;
    if (!std::exchange(begun_, true)) {
      reply_->begin_events();
      for (std::string& event : answer_.begin_events()) reply_->send_event(std::move(event));
    }
    for (const std::string& event : events) reply_->send_event(event);
  }

  Answer answer_;
  std::shared_ptr<Reply> reply_;
  std::shared_ptr<std::atomic<int64_t>> count_;
  bool streams_, begun_ = false, over_ = false;
};

}  // namespace

struct Server::Impl {
  Impl(Engine& engine, const Served& its_served, const ServerOptions& its_options)
      : served(its_served),
        options(its_options),
        http(
            options.http,
            [this](const HttpRequest& request, std::shared_ptr<Reply> reply) {
              handle(request, std::move(reply));
            },
            plain_error),
        loop(engine, [this](const std::string& message) {
          const std::lock_guard lock(mutex);
          crash = message.empty() ? "unknown" : message;
          http.abort();
        }) {}

  void handle(const HttpRequest& request, std::shared_ptr<Reply> reply);
  void route(const HttpRequest& request, const std::shared_ptr<Reply>& reply);
  void complete(const HttpRequest& request, bool is_chat, const std::shared_ptr<Reply>& reply);
  Json model() const;
  std::string health() const;

  const Served& served;
  ServerOptions options;
  // Requests that are not answered; shared with them, since the engine may hold one longer than
  // this.
  std::shared_ptr<std::atomic<int64_t>> under_way = std::make_shared<std::atomic<int64_t>>(0);
  std::atomic<bool> stopping{false};
  uint64_t num_requests = 0;
  std::mutex mutex;
  std::string crash;
  HttpServer http;  // before the loop, whose thread speaks to it
  EngineLoop loop;
};

void Server::Impl::handle(const HttpRequest& request, std::shared_ptr<Reply> reply) {
  try {
    route(request, reply);
  } catch (const ApiError& error) {
    send_error(*reply, error);
  } catch (const core::UserError& error) {
    send_error(*reply, {.status = 400, .message = error.what()});
  } catch (const std::exception& error) {
    send_error(*reply, {.status = 500, .message = error.what(), .type = "server_error"});
  }
}

void Server::Impl::route(const HttpRequest& request, const std::shared_ptr<Reply>& reply) {
  if (request.path == "/health" && request.method == "GET")
    return reply->send(stopping ? 503 : 200, health());
  if (!options.api_key.empty() &&
      !same_secret(request.authorization, "Bearer " + options.api_key)) {
    throw ApiError{.status = 401,
                   .message = "expected the server's API key as 'Authorization: Bearer KEY'",
                   .type = "authentication_error",
                   .code = "invalid_api_key"};
  }
  const bool is_get = request.path == "/v1/models" ||
                      percent_decoded(request.path) == "/v1/models/" + served.name ||
                      request.path == "/health";
  const bool is_post = request.path == "/v1/completions" || request.path == "/v1/chat/completions";
  if (!is_get && !is_post)
    throw ApiError{.status = 404,
                   .message = fmt::format("nothing is served at {}: there are /v1/completions, "
                                          "/v1/chat/completions, /v1/models and /health",
                                          request.path),
                   .code = "not_found"};
  if (request.method != (is_get ? "GET" : "POST"))
    throw ApiError{.status = 405,
                   .message = fmt::format("{} takes {}, found {}", request.path,
                                          is_get ? "GET" : "POST", request.method)};
  if (is_post) return complete(request, request.path == "/v1/chat/completions", reply);
  reply->send(200, request.path == "/v1/models"
                       ? Json{{"object", "list"}, {"data", Json::array({model()})}}.dump()
                       : model().dump());
}

Json Server::Impl::model() const {
  return {{"id", served.name},
          {"object", "model"},
          {"created", served.created},
          {"owned_by", "ponder"},
          {"max_model_len", served.context}};
}

std::string Server::Impl::health() const {
  const EngineStats stats = loop.stats();
  return Json{{"status", stopping ? "stopping" : "ok"},
              {"requests", under_way->load()},
              {"running", stats.running},
              {"waiting", stats.waiting},
              {"sampled_tokens", stats.sampled_tokens}}
      .dump();
}

void Server::Impl::complete(const HttpRequest& request, bool is_chat,
                            const std::shared_ptr<Reply>& reply) {
  if (stopping)
    throw ApiError{.status = 503, .message = "the server is stopping", .type = "server_error"};
  if (*under_way >= options.requests_max) {
    throw ApiError{.status = 429,
                   .message = fmt::format(
                       "{} requests are under way, which is this server's limit: try again later",
                       under_way->load()),
                   .type = "rate_limit_error",
                   .code = "rate_limit_exceeded"};
  }
  const uint64_t number = num_requests++;
  const uint64_t seed = core::stable_hash(fmt::format("{}:{}", options.seed, number));
  const ApiRequest api = is_chat ? read_chat(request.body, served, seed)
                                 : read_completions(request.body, served, seed);
  const auto task = std::make_shared<Task>(
      api, served,
      fmt::format("{:016x}", core::stable_hash(fmt::format("{}#{}", served.created, number))),
      reply, under_way);
  std::vector<EngineLoop::Ticket> tickets;
  for (size_t i = 0; i < api.prompts.size(); ++i) {
    Request work;
    work.prompt = api.prompts[i];
    work.options = api.options;
    work.num_top_logprobs = api.num_top_logprobs;
    if (api.echoes) work.num_prompt_logprobs = api.num_top_logprobs;
    work.on_prompt = [task, i](const auto& scores) { task->on_prompt(i, scores); };
    work.on_token = [task, i](const TokenEvent& event) { task->on_token(i, event); };
    work.on_completion = [task, i](size_t, size_t sample, const data::Completion& completion) {
      task->on_completion(i, sample, completion);
    };
    work.on_failed = [task](const std::string& message) { task->on_failed(message); };
    tickets.push_back(loop.submit(
        std::move(work), [task](const std::string& message) { task->on_refused(message); }));
  }
  reply->on_gone([this, tickets] {
    for (const EngineLoop::Ticket ticket : tickets) loop.cancel(ticket);
  });
}

Server::Server(Engine& engine, const Served& served, const ServerOptions& options)
    : impl_(std::make_unique<Impl>(engine, served, options)) {}

Server::~Server() = default;

int Server::port() const {
  return impl_->http.port();
}

void Server::run() {
  impl_->http.run();
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->crash.empty()) core::throw_run("the engine failed: {}", impl_->crash);
}

void Server::stop() {
  if (impl_->stopping.exchange(true)) return;
  impl_->http.stop(impl_->options.grace);
}

}  // namespace ponder::rollout::serve
