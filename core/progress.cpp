#include "core/progress.h"

#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <sys/ioctl.h>

namespace ponder::core {
namespace {

constexpr double kMinRedrawInterval_s = 0.1;
constexpr int kFallbackColumns = 80;  // where the terminal does not tell its width

double steady_now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int columns_of(std::FILE* out) {
  winsize size{};
  if (::ioctl(::fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kFallbackColumns;
  return size.ws_col;
}

bool starts_code_point(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
}

bool is_control(char byte) {
  return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f;
}

// The bytes of the first `columns` code points of `text`.
size_t bytes_of_columns(std::string_view text, int columns) {
  int seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (starts_code_point(text[i]) && seen++ == columns) return i;
  }
  return text.size();
}

// Two or three digits for a person's eye: 2.5e-04, 0.012, 0.83, 25.1, 1204.
std::string short_number(double value) {
  const double size = std::fabs(value);
  if (size == 0) return "0";
  if (size < 1e-3) return fmt::format("{:.1e}", value);
  if (size < 0.1) return fmt::format("{:.3f}", value);
  if (size < 10) return fmt::format("{:.2f}", value);
  return size < 1000 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

}  // namespace

std::string format_step(const StepLine& line) {
  std::string text = fmt::format("step {}", line.step);
  if (line.num_steps > 0) text += fmt::format("/{}", line.num_steps);
  const auto add = [&text](std::string_view before, const std::optional<double>& value,
                           auto&& format, std::string_view after = "") {
    if (value && std::isfinite(*value))
      text += fmt::format(" · {}{}{}", before, format(*value), after);
  };
  const auto percent = [](double share) { return fmt::format("{:.0f}", 100 * share); };
  const auto tenths = [](double value) { return fmt::format("{:.1f}", value); };
  add("loss ", line.loss, short_number);
  add("reward ", line.reward, short_number);
  add("accuracy ", line.accuracy, percent, " %");
  add("length ", line.mean_length, tenths);
  add("KL ", line.kl, short_number);
  add("entropy ", line.entropy, short_number);
  add("", line.tokens_per_s, format_count, " tok/s");
  add("ETA ", line.eta_s, format_duration);
  return text;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return "?";
  const auto total = static_cast<int64_t>(std::llround(seconds));
  const int64_t days = total / 86400;
  const int64_t hours = total / 3600 % 24;
  const int64_t minutes = total / 60 % 60;
  if (days > 0) return fmt::format("{} d {:02}:{:02}:{:02}", days, hours, minutes, total % 60);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

std::string format_count(double value) {
  constexpr std::pair<double, const char*> kUnits[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  // From where rounding to whole units would print 1000 of the smaller one.
  for (const auto& [unit, name] : kUnits) {
    if (value < 0.9995 * unit) continue;
    const double in_units = value / unit;
    return in_units < 9.95 ? fmt::format("{:.1f}{}", in_units, name)
                           : fmt::format("{:.0f}{}", in_units, name);
  }
  return fmt::format("{:.0f}", value);
}

std::string fit_line(std::string_view text, int columns) {
  if (columns <= 0) return "";
  std::string fitted(text);
  const size_t fits = bytes_of_columns(text, columns);
  if (fits < text.size())
    fitted = std::string(text.substr(0, bytes_of_columns(text, columns - 1))) + "…";
  for (char& byte : fitted) {
    if (is_control(byte)) byte = ' ';
  }
  return fitted;
}

Progress::Progress(std::FILE* out, bool is_terminal, Clock clock)
    : out_(out), is_terminal_(is_terminal), clock_(clock ? std::move(clock) : steady_now_s) {}

Progress::~Progress() {
  finish();
}

void Progress::step(std::string_view line) {
  if (is_terminal_) {
    update(line);
  } else {
    print(line);
  }
}

void Progress::update(std::string_view line) {
  if (!is_terminal_) return;
  live_ = line;
  const double now_s = clock_();
  if (drawn_at_s_ >= 0 && now_s - drawn_at_s_ < kMinRedrawInterval_s) return;
  drawn_at_s_ = now_s;
  draw();
}

void Progress::print(std::string_view line) {
  clear();
  std::fwrite(line.data(), 1, line.size(), out_);
  std::fputc('\n', out_);
  draw();
}

void Progress::finish() {
  if (!live_.empty()) {
    draw();
    std::fputc('\n', out_);
  }
  live_.clear();
  is_on_screen_ = false;
  std::fflush(out_);
}

void Progress::draw() {
  if (!live_.empty()) {
    // One column stays free: in the last one some terminals wrap before the carriage return.
    const std::string text = fit_line(live_, columns_of(out_) - 1);
    std::fputs(("\r" + text + "\x1b[K").c_str(), out_);
    is_on_screen_ = true;
  }
  std::fflush(out_);
}

void Progress::clear() {
  if (is_on_screen_) std::fputs("\r\x1b[K", out_);
  is_on_screen_ = false;
}

}  // namespace ponder::core
