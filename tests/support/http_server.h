// A small HTTP server on a loopback port that answers POSTs as a test says, one thread a
// connection.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <list>
#include <string>
#include <thread>
#include <utility>

namespace ponder::test {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;
using HttpResponse = boost::beast::http::response<boost::beast::http::string_body>;

class HttpServer {
 public:
  using Answer = std::function<void(const HttpRequest&, HttpResponse&)>;

  // `answer` is called by several threads at once; a response is 200 and empty unless it says else.
  explicit HttpServer(Answer answer)
      : answer_(std::move(answer)),
        acceptor_(context_, {boost::asio::ip::address_v4::loopback(), 0}) {
    thread_ = std::thread([this] { accept(); });
  }
  ~HttpServer() {
    stopping_ = true;
    boost::asio::ip::tcp::socket last(context_);  // wakes accept()
    boost::system::error_code ignored;
    last.connect(acceptor_.local_endpoint(), ignored);
    last.close(ignored);
    thread_.join();
    for (std::thread& connection : connections_) connection.join();
  }
  int port() const { return acceptor_.local_endpoint().port(); }

 private:
  void accept() {
    while (true) {
      boost::asio::ip::tcp::socket socket(context_);
      boost::system::error_code error;
      acceptor_.accept(socket, error);
      if (stopping_) return;
      if (!error)
        connections_.emplace_back([this, s = std::move(socket)]() mutable { serve(std::move(s)); });
    }
  }

  void serve(boost::asio::ip::tcp::socket socket) {
    namespace http = boost::beast::http;
    boost::beast::flat_buffer buffer;
    boost::system::error_code error;
    HttpRequest request;
    http::read(socket, buffer, request, error);
    if (error) return;
    HttpResponse response{http::status::ok, request.version()};
    answer_(request, response);
    response.keep_alive(false);
    response.prepare_payload();
    http::write(socket, response, error);
    socket.shutdown(boost::asio::ip::tcp::socket::shutdown_both, error);
  }

  Answer answer_;
  std::atomic<bool> stopping_ = false;
  boost::asio::io_context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::list<std::thread> connections_;  // touched by thread_ alone until it has ended
  std::thread thread_;
};

}  // namespace ponder::test
