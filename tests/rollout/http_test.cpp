// The HTTP server alone, and clients that close when nobody expects it.
#include "rollout/serve/http.h"

#include <atomic>
#include <boost/asio.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace ponder::rollout::serve {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

constexpr const char* kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

// A server in a thread of its own; `failed` says whether run() has thrown.
class Running {
 public:
  explicit Running(Handler handler)
      : server_({.port = 0}, std::move(handler),
                [](int, const std::string& message) { return message; }),
        thread_([this] {
          try {
            server_.run();
          } catch (const std::exception& error) {
            failed = error.what();
          }
        }) {}
  ~Running() {
    server_.stop(std::chrono::milliseconds(300));
    thread_.join();
    EXPECT_EQ(failed, "");
  }
  int port() const { return server_.port(); }

  std::string failed;

 private:
  HttpServer server_;
  std::thread thread_;
};

class Client {
 public:
  explicit Client(int port) : socket_(io_) {
    socket_.connect({asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)});
  }
  void send(const std::string& bytes) { asio::write(socket_, asio::buffer(bytes)); }
  void end_sending() { socket_.shutdown(tcp::socket::shutdown_send); }
  // Until `what` has come, or the end.
  std::string read_until(const std::string& what) {
    std::string out;
    char piece[4096];
    boost::system::error_code error;
    while (out.find(what) == std::string::npos) {
      const size_t size = socket_.read_some(asio::buffer(piece), error);
      if (error) break;
      out.append(piece, size);
    }
    return out;
  }

 private:
  asio::io_context io_;
  tcp::socket socket_;
};

void stream(const HttpRequest&, const std::shared_ptr<Reply>& reply) {
  reply->begin_events();
  reply->send_event("one");
  reply->send_event("[DONE]");
  reply->end_events();
}

void answer(const HttpRequest&, const std::shared_ptr<Reply>& reply) {
  reply->send(200, "{}");
}

TEST(HttpServer, LivesWhenClientsCloseAsSoonAsTheyHaveReadEnough) {
  const Running server(stream);
  for (int i = 0; i < 1500; ++i) {
    Client client(server.port());
    client.send(kGet);
    ASSERT_NE(client.read_until("[DONE]").find("[DONE]"), std::string::npos) << i;
  }
}

TEST(HttpServer, LivesWhenClientsCloseAtOnce) {
  const Running server(answer);
  for (int i = 0; i < 1500; ++i) {
    Client client(server.port());
    client.send(kGet);
  }
  Client last(server.port());
  last.send(kGet);
  EXPECT_NE(last.read_until("{}").find("200 OK"), std::string::npos);
}

TEST(HttpServer, AnswersAtOnceWhereTheClientHasClosedItsSendingHalf) {
  const Running server(answer);
  for (int i = 0; i < 1500; ++i) {
    Client client(server.port());
    client.send(kGet);
    client.end_sending();
    ASSERT_NE(client.read_until("{}").find("200 OK"), std::string::npos) << i;
  }
}

TEST(HttpServer, AClientThatGoesTakesItsRequestWithIt) {
  std::atomic<int> gone = 0;
  std::vector<std::shared_ptr<Reply>> waiting;  // touched by the server's thread alone
  const Running server([&](const HttpRequest&, const std::shared_ptr<Reply>& reply) {
    reply->on_gone([&] { ++gone; });
    waiting.push_back(reply);
  });
  for (int i = 0; i < 20; ++i) {
    Client client(server.port());
    client.send(kGet);
  }
  for (int i = 0; i < 500 && gone < 20; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(gone, 20);
}

TEST(HttpServer, AHandlerThatFailsEndsItsConnectionAlone) {
  const Running server([](const HttpRequest& request, const std::shared_ptr<Reply>& reply) {
    if (request.path == "/bad") throw std::runtime_error("told by the test");
    reply->send(200, "{}");
  });
  Client bad(server.port());
  bad.send("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(bad.read_until("\r\n\r\n"), "");
  Client good(server.port());
  good.send(kGet);
  EXPECT_NE(good.read_until("{}").find("200 OK"), std::string::npos);
}

}  // namespace
}  // namespace ponder::rollout::serve
