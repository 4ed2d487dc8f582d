#include "rollout/serve/http.h"

#include <array>
#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <deque>
#include <optional>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <sys/socket.h>

#include "core/error.h"

namespace ponder::rollout::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using Error = boost::system::error_code;

constexpr auto kDrainTime = std::chrono::seconds(2);
constexpr size_t kDrainBytesMax = 16 << 20;

}  // namespace

class Session;

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(const HttpOptions& its_options, Handler its_handler, ErrorBody its_error_body)
      : options(its_options),
        handler(std::move(its_handler)),
        error_body(std::move(its_error_body)),
        acceptor(io) {}

  ~Impl();
  void listen();
  void accept();
  bool take(tcp::socket socket);
  void stop(std::chrono::milliseconds grace);
  void end_if_empty();
  bool drop_slowest();

  HttpOptions options;
  Handler handler;
  ErrorBody error_body;
  std::set<Session*> sessions;  // before `io`: sessions end with it, and leave
  bool stopping = false;
  asio::io_context io{1};
  tcp::acceptor acceptor;
  asio::steady_timer grace_over{io};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
};

// One connection: reads a request, waits for its answer, reads the next.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, HttpServer::Impl& server)
      : stream_(std::move(socket)), server_(server) {
    server_.sessions.insert(this);
  }
  ~Session() {
    server_.sessions.erase(this);
    server_.end_if_empty();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void start() {
    guard([this] { read(server_.options.request_time); });
  }
  void refuse() {
    guard([this] {
      keep_alive_ = false;
      version_ = 11;
      begin_answer();
      answer_with(503, server_.error_body(503, "the server has too many connections"));
    });
  }
  // Every handler runs in here: what fails in one connection ends that one, never the server.
  template <class Step>
  void guard(Step&& step) noexcept {
    try {
      step();
    } catch (const std::exception& error) {
      fmt::print(stderr, "ponder: a connection has failed: {}\n", error.what());
      close();
    }
  }
  bool is_answering() const { return answering_; }
  std::chrono::steady_clock::time_point reads_since() const { return reads_since_; }
  void close() noexcept {
    Error ignored;  // the peer may be gone already
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.close();
    gone();
  }

  // The answer of request number `turn`; later calls of an old one are dropped.
  void send(uint64_t turn, int status, std::string json) {
    if (turn == turn_ && answering_ && !streaming_) answer_with(status, std::move(json));
  }
  void begin_events(uint64_t turn);
  void send_event(uint64_t turn, const std::string& data);
  void end_events(uint64_t turn);
  void on_gone(uint64_t turn, std::function<void()> callback) {
    if (!stream_.socket().is_open()) return callback();
    if (turn == turn_ && answering_) on_gone_ = std::move(callback);
  }

 private:
  void read(std::chrono::seconds time);
  void got_request(const Error& error);
  void begin_answer() {
    answering_ = true;
    streaming_ = false;
    ++turn_;
  }
  void answer_with(int status, std::string json);
  void watch_for_end();
  void queue(std::string bytes, bool is_last);
  void write_next();
  void wrote(const Error& error);
  void drain();
  void drain_more();
  void gone() noexcept {
    try {
      if (const auto callback = std::exchange(on_gone_, nullptr)) callback();
    } catch (const std::exception& error) {
      fmt::print(stderr, "ponder: a request of a client that has gone goes on: {}\n", error.what());
    }
  }

  struct Piece {
    std::string bytes;
    bool is_last;
  };

  beast::tcp_stream stream_;
  HttpServer::Impl& server_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::deque<Piece> pieces_;
  std::function<void()> on_gone_;
  std::array<char, 4096> drained_{};
  size_t drained_bytes_ = 0;
  uint64_t turn_ = 0;
  std::chrono::steady_clock::time_point reads_since_;
  unsigned version_ = 11;
  bool keep_alive_ = true, is_head_ = false, answering_ = false, streaming_ = false,
       peer_ended_ = false;
};

namespace {

// The answer to one request, for other threads.
class SessionReply : public Reply {
 public:
  SessionReply(std::shared_ptr<Session> session, uint64_t turn,
               std::shared_ptr<HttpServer::Impl> server)
      : session_(std::move(session)), turn_(turn), server_(std::move(server)), io_(server_->io) {}
  // A session ends in the server's thread.
  ~SessionReply() override {
    asio::post(io_, [s = std::move(session_)] {});
  }
  void send(int status, std::string json) override {
    asio::post(io_, [s = session_, t = turn_, status, j = std::move(json)]() mutable {
      s->guard([&] { s->send(t, status, std::move(j)); });
    });
  }
  void begin_events() override {
    asio::post(io_, [s = session_, t = turn_] { s->guard([&] { s->begin_events(t); }); });
  }
  void send_event(std::string data) override {
    asio::post(io_, [s = session_, t = turn_, d = std::move(data)] {
      s->guard([&] { s->send_event(t, d); });
    });
  }
  void end_events() override {
    asio::post(io_, [s = session_, t = turn_] { s->guard([&] { s->end_events(t); }); });
  }
  void on_gone(std::function<void()> callback) override {
    asio::post(io_, [s = session_, t = turn_, c = std::move(callback)]() mutable {
      s->guard([&] { s->on_gone(t, std::move(c)); });
    });
  }

 private:
  std::shared_ptr<Session> session_;
  uint64_t turn_;
  std::shared_ptr<HttpServer::Impl>
      server_;  // an engine may hold this longer than the server lives
  asio::io_context& io_;
};

// What to tell a client whose request could not be read; 0: nothing, the connection is over.
int status_of(const Error& error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  const bool over = error == http::error::end_of_stream || error == http::error::partial_message ||
                    error == beast::error::timeout ||
                    error.category() != make_error_code(http::error::bad_method).category();
  return over ? 0 : 400;
}

}  // namespace

void Session::read(std::chrono::seconds time) {
  parser_.emplace();
  reads_since_ = std::chrono::steady_clock::now();
  parser_->header_limit(static_cast<uint32_t>(server_.options.header_bytes_max));
  parser_->body_limit(server_.options.body_bytes_max);
  // One deadline for the whole request: a client that sends a byte now and then does not move it.
  stream_.expires_after(time);
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](const Error& error, size_t) {
                     self->guard([&] { self->got_request(error); });
                   });
}

void Session::got_request(const Error& error) {
  if (error) {
    const int status = status_of(error);
    if (status == 0) return close();
    keep_alive_ = false;
    begin_answer();
    return answer_with(status, server_.error_body(status, error.message()));
  }
  const auto request = parser_->release();
  stream_.expires_never();
  version_ = request.version();
  keep_alive_ = request.keep_alive() && !server_.stopping;
  is_head_ = request.method() == http::verb::head;
  begin_answer();
  const std::string target(request.target());
  const HttpRequest plain{.method = std::string(request.method_string()),
                          .path = target.substr(0, target.find('?')),
                          .authorization = std::string(request[http::field::authorization]),
                          .body = request.body()};
  server_.handler(
      plain, std::make_shared<SessionReply>(shared_from_this(), turn_, server_.shared_from_this()));
  // Behind what the handler has answered at once, which a client that has closed its sending half
  // still reads.
  asio::post(server_.io, [self = shared_from_this(), turn = turn_] {
    self->guard([&] {
      if (turn == self->turn_ && self->answering_) self->watch_for_end();
    });
  });
}

// A client that closes while it waits takes its request with it; what is being sent to it then goes
// out. One that sends more is heard later.
void Session::watch_for_end() {
  stream_.socket().async_wait(
      tcp::socket::wait_read, [self = shared_from_this(), turn = turn_](const Error& error) {
        self->guard([&] {
          if (error || turn != self->turn_ || !self->answering_) return;
          if (!self->stream_.socket().is_open()) return;
          char byte;
          const auto got =
              ::recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
          const bool failed = got < 0 && errno != EAGAIN && errno != EWOULDBLOCK;
          self->peer_ended_ = got == 0;
          if (failed || (got == 0 && self->pieces_.empty())) self->close();
        });
      });
}

void Session::answer_with(int status, std::string json) {
  http::response<http::string_body> response{static_cast<http::status>(status), version_};
  response.set(http::field::content_type, "application/json");
  if (status == 401) response.set(http::field::www_authenticate, "Bearer");
  if (status == 429 || status == 503) response.set(http::field::retry_after, "1");
  response.keep_alive(keep_alive_);
  response.body() = std::move(json);
  response.prepare_payload();
  std::ostringstream bytes;
  if (is_head_) {
    bytes << response.base();  // the answer to HEAD has no body, though it says how long it were
  } else {
    bytes << response;
  }
  queue(bytes.str(), true);
}

void Session::begin_events(uint64_t turn) {
  if (turn != turn_ || !answering_ || streaming_) return;
  streaming_ = true;
  if (version_ < 11)
    keep_alive_ = false;  // no chunks in HTTP/1.0: the connection's end is the answer's
  http::response<http::empty_body> response{http::status::ok, version_};
  response.set(http::field::content_type, "text/event-stream");
  response.set(http::field::cache_control, "no-cache");
  response.keep_alive(keep_alive_);
  if (version_ >= 11) response.chunked(true);
  std::ostringstream bytes;
  bytes << response.base();
  queue(bytes.str(), false);
}

void Session::send_event(uint64_t turn, const std::string& data) {
  if (turn != turn_ || !streaming_) return;
  const std::string event = "data: " + data + "\n\n";
  queue(version_ < 11 ? event : fmt::format("{:x}\r\n{}\r\n", event.size(), event), false);
}

void Session::end_events(uint64_t turn) {
  if (turn != turn_ || !streaming_) return;
  queue(version_ < 11 ? "" : "0\r\n\r\n", true);
}

void Session::queue(std::string bytes, bool is_last) {
  if (!stream_.socket().is_open()) return;
  pieces_.push_back({std::move(bytes), is_last});
  if (pieces_.size() == 1) write_next();
}

void Session::write_next() {
  stream_.expires_after(server_.options.write_time);
  asio::async_write(stream_, asio::buffer(pieces_.front().bytes),
                    [self = shared_from_this()](const Error& error, size_t) {
                      self->guard([&] { self->wrote(error); });
                    });
}

void Session::wrote(const Error& error) {
  if (error || !stream_.socket().is_open()) return close();
  const bool was_last = pieces_.front().is_last;
  pieces_.pop_front();
  if (!pieces_.empty()) return write_next();
  stream_.expires_never();
  if (!was_last) {
    if (peer_ended_) close();
    return;
  }
  answering_ = false;
  streaming_ = false;
  on_gone_ = nullptr;
  if (!keep_alive_ || peer_ended_ || server_.stopping) return drain();
  Error ignored;                     // read() meets whatever is wrong with the socket
  stream_.socket().cancel(ignored);  // the watch
  read(server_.options.idle_time);
}

// Ends a connection so that the client can read the answer: closing with bytes unread would reset
// it.
void Session::drain() {
  Error ignored;  // the peer may be gone already
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  stream_.expires_after(kDrainTime);
  drain_more();
}

void Session::drain_more() {
  stream_.async_read_some(asio::buffer(drained_),
                          [self = shared_from_this()](const Error& error, size_t size) {
                            self->guard([&] {
                              self->drained_bytes_ += size;
                              const bool over = error || self->drained_bytes_ > kDrainBytesMax;
                              over ? self->close() : self->drain_more();
                            });
                          });
}

void HttpServer::Impl::listen() {
  Error error;
  tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty())
    core::throw_user("--host {}: no such address ({})", options.host, error.message());
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    core::throw_user(
        "cannot listen on {}:{}: {}; is another server there? --port 0 takes a free one",
        options.host, options.port, error.message());
  }
}

void HttpServer::Impl::accept() {
  acceptor.async_accept([this](const Error& error, tcp::socket socket) {
    if (error == asio::error::operation_aborted || stopping) return;
    if (!error && take(std::move(socket))) return accept();
    // Out of file descriptors or of memory, say: a pause, or this loop would spin.
    auto pause = std::make_shared<asio::steady_timer>(io, std::chrono::milliseconds(100));
    pause->async_wait([this, pause](const Error&) { accept(); });
  });
}

// False where there is no memory for another connection.
bool HttpServer::Impl::take(tcp::socket socket) {
  try {
    const bool full = sessions.size() >= options.connections_max && !drop_slowest();
    const auto session = std::make_shared<Session>(std::move(socket), *this);
    full ? session->refuse() : session->start();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// Closes the connection that has been without a whole request for longest: a flood of idle ones
// displaces itself. False where all are being answered.
bool HttpServer::Impl::drop_slowest() {
  Session* slowest = nullptr;
  for (Session* session : sessions) {
    const bool waits = !session->is_answering();
    if (waits && (!slowest || session->reads_since() < slowest->reads_since())) slowest = session;
  }
  if (!slowest) return false;
  slowest->shared_from_this()->close();
  return true;
}

void HttpServer::Impl::stop(std::chrono::milliseconds grace) {
  stopping = true;
  Error ignored;  // it takes nothing more either way
  acceptor.close(ignored);
  grace_over.expires_after(grace);
  grace_over.async_wait([this](const Error& error) {
    if (!error) io.stop();
  });
  std::vector<std::shared_ptr<Session>> all;
  for (Session* session : sessions) all.push_back(session->shared_from_this());
  for (const auto& session : all) {
    if (!session->is_answering()) session->close();
  }
  end_if_empty();
}

void HttpServer::Impl::end_if_empty() {
  if (!stopping || !sessions.empty()) return;
  grace_over.cancel();
  work.reset();
}

HttpServer::HttpServer(const HttpOptions& options, Handler handler, ErrorBody error_body)
    : impl_(std::make_shared<Impl>(options, std::move(handler), std::move(error_body))) {
  impl_->listen();
}

// Sessions that are left end with `io`, after the timer: they must not touch it.
HttpServer::Impl::~Impl() {
  stopping = false;
}

HttpServer::~HttpServer() = default;

int HttpServer::port() const {
  return impl_->acceptor.local_endpoint().port();
}

void HttpServer::run() {
  impl_->accept();
  impl_->io.run();
}

void HttpServer::stop(std::chrono::milliseconds grace) {
  asio::post(impl_->io, [impl = impl_.get(), grace] { impl->stop(grace); });
}

void HttpServer::abort() {
  impl_->io.stop();
}

}  // namespace ponder::rollout::serve
