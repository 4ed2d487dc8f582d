#include "core/recipe.h"

#include <fmt/ranges.h>
#define TOML_HEADER_ONLY 0
#define TOML_IMPLEMENTATION
#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include <toml++/toml.h>

#include "core/error.h"
#include "core/file.h"
#include "core/spelling.h"

namespace ponder::core {
namespace {

std::string dotted(const std::vector<std::string>& path, std::string_view key) {
  std::string out;
  for (const std::string& part : path) out += part + ".";
  return out + std::string(key);
}

const char* type_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "the string";
    case toml::node_type::integer:
      return "the integer";
    case toml::node_type::floating_point:
      return "the number";
    case toml::node_type::boolean:
      return "the boolean";
    case toml::node_type::array:
      return "the list";
    case toml::node_type::table:
      return "a table";
    default:
      return "the date";
  }
}

// Numbers are written so that reading them gives the same bits and they stay numbers ("1.0", not
// "1").
std::string number_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string text_of(const toml::node& node) {
  if (node.is_floating_point()) return number_text(node.value<double>().value());
  std::ostringstream out;
  out << toml::node_view<const toml::node>(node);
  return out.str();
}

std::string found(const toml::node& node) {
  return node.is_table() ? type_of(node) : fmt::format("{} {}", type_of(node), text_of(node));
}

std::string string_text(const std::string& value) {
  std::ostringstream out;
  out << toml::value<std::string>(value);
  return out.str();
}

}  // namespace

struct Recipe::Impl {
  std::string name;
  toml::table root;
  std::set<std::string> overridden;  // dotted keys that came from the command line
};

namespace {

// Reads the values that bind() names out of a table; collects every problem.
class Reader : public Binder {
 public:
  Reader(const toml::table& root, std::string name, const std::set<std::string>& overridden)
      : name_(std::move(name)), overridden_(overridden) {
    tables_.push_back(&root);
    known_.emplace_back();
  }

  void field(const char* key, bool& value, const char*) override {
    if (const toml::node* node = find(key)) take<bool>(key, *node, value, "true or false");
  }

  void field(const char* key, int64_t& value, const char*, Range range) override {
    const toml::node* node = find(key);
    if (node == nullptr || !take<int64_t>(key, *node, value, "an integer")) return;
    check_range(key, *node, static_cast<double>(value), range);
  }

  void field(const char* key, double& value, const char*, Range range) override {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_number()) return wrong_type(key, *node, "a number");
    value = node->value<double>().value();
    check_range(key, *node, value, range);
  }

  void field(const char* key, std::optional<double>& value, const char* doc, Range range) override {
    double number = value.value_or(0);
    const toml::node* node = find(key);
    if (node == nullptr) return;
    field(key, number, doc, range);
    value = number;
  }

  void field(const char* key, std::string& value, const char*) override {
    if (const toml::node* node = find(key)) take<std::string>(key, *node, value, "a string");
  }

  void field(const char* key, std::vector<std::string>& value, const char*) override {
    take_list<std::string>(key, value, "a list of strings");
  }

  void field(const char* key, std::vector<double>& value, const char*) override {
    take_list<double>(key, value, "a list of numbers");
  }

  void problem(const std::string& key, const toml::node& node, const std::string& message) {
    problem_at(dotted(path_, key), node, message);
  }

  void problem_at(const std::string& path, const toml::node& node, const std::string& message) {
    if (overridden_.count(path) > 0) {
      problems_.push_back(fmt::format("command line: {}: {}", path, message));
    } else {
      const auto& begin = node.source().begin;
      problems_.push_back(
          fmt::format("{}:{}:{}: {}: {}", name_, begin.line, begin.column, path, message));
    }
  }

  void finish() {
    note_unknown();
    for (const Unknown& unknown : unknown_)
      problem_at(unknown.path, *unknown.node, "unknown key" + remedy_for(unknown));
    if (!problems_.empty()) throw UserError(fmt::format("{}", fmt::join(problems_, "\n")));
  }

 protected:
  void name_field(const char* key, std::string& name, const std::vector<std::string>& known,
                  const char*) override {
    const toml::node* node = find(key);
    std::string chosen = name;
    if (node == nullptr || !take<std::string>(key, *node, chosen, "a string")) return;
    if (std::find(known.begin(), known.end(), chosen) == known.end()) {
      return problem(key, *node,
                     fmt::format("unknown name '{}'{}", chosen, suggestion(chosen, known)));
    }
    name = chosen;
  }

  void enter(const char* key) override {
    const toml::node* node = find(key);
    if (node != nullptr && !node->is_table()) wrong_type(key, *node, "a table");
    tables_.push_back(node != nullptr ? node->as_table() : nullptr);
    known_.emplace_back();
    path_.emplace_back(key);
  }

  void leave() override {
    note_unknown();
    tables_.pop_back();
    known_.pop_back();
    path_.pop_back();
  }

 private:
  const toml::node* find(const char* key) {
    known_.back().emplace_back(key);
    known_paths_.push_back(dotted(path_, key));
    return tables_.back() == nullptr ? nullptr : tables_.back()->get(key);
  }

  template <typename T>
  bool take(const char* key, const toml::node& node, T& value, const char* expected) {
    if (const auto* typed = node.as<T>()) {
      value = typed->get();
      return true;
    }
    wrong_type(key, node, expected);
    return false;
  }

  template <typename T>
  void take_list(const char* key, std::vector<T>& value, const char* expected) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const toml::array* list = node->as_array();
    if (list == nullptr) return wrong_type(key, *node, expected);
    std::vector<T> items;
    for (const toml::node& item : *list) {
      const bool fits = std::is_same_v<T, double> ? item.is_number() : item.is_string();
      if (!fits) return wrong_type(key, item, expected);
      items.push_back(item.value<T>().value());
    }
    value = std::move(items);
  }

  void wrong_type(const char* key, const toml::node& node, const char* expected) {
    problem(key, node, fmt::format("expected {}, found {}", expected, found(node)));
  }

  void check_range(const char* key, const toml::node& node, double value, Range range) {
    if (std::isfinite(value) && value >= range.low && value <= range.high) return;
    std::string expected = fmt::format("from {} to {}", range.low, range.high);
    if (std::isinf(range.high)) expected = fmt::format("at least {}", range.low);
    if (std::isinf(range.low)) expected = fmt::format("at most {}", range.high);
    if (std::isinf(range.low) && std::isinf(range.high)) expected = "that is finite";
    problem(key, node, fmt::format("expected a value {}, found {}", expected, text_of(node)));
  }

  struct Unknown {
    std::string path, key;
    const toml::node* node;
    std::vector<std::string> known;  // in its table
  };

  void note_unknown() {
    if (tables_.back() == nullptr) return;
    for (const auto& [key, node] : *tables_.back()) {
      const std::string name(key.str());
      if (std::find(known_.back().begin(), known_.back().end(), name) != known_.back().end())
        continue;
      unknown_.push_back({dotted(path_, name), name, &node, known_.back()});
    }
  }

  // A key that stands in another table is meant before one that is spelt alike.
  std::string remedy_for(const Unknown& unknown) const {
    for (const std::string& path : known_paths_) {
      if (path.ends_with("." + unknown.key) || path == unknown.key)
        return fmt::format(", did you mean '{}'?", path);
    }
    return suggestion(unknown.key, unknown.known);
  }

  std::string name_;
  const std::set<std::string>& overridden_;
  std::vector<const toml::table*>
      tables_;  // the current table last; null where the recipe leaves it out
  std::vector<std::vector<std::string>> known_;
  std::vector<std::string> path_;
  std::vector<std::string> known_paths_;
  std::vector<Unknown> unknown_;
  std::vector<std::string> problems_;
};

// Writes "key = value  # doc" lines, a "[table]" head for each sub-table. A table's own keys come
// before its sub-tables, in whatever order bind() names them: TOML has no way back to a table.
class Writer : public Binder {
 public:
  void field(const char* key, bool& value, const char* doc) override {
    line(key, value ? "true" : "false", doc);
  }
  void field(const char* key, int64_t& value, const char* doc, Range) override {
    line(key, std::to_string(value), doc);
  }
  void field(const char* key, double& value, const char* doc, Range) override {
    line(key, number_text(value), doc);
  }
  void field(const char* key, std::optional<double>& value, const char* doc, Range) override {
    if (value) return line(key, number_text(*value), doc);
    add(fmt::format("# {} is unset: {}\n", key, doc));
  }
  void field(const char* key, std::string& value, const char* doc) override {
    line(key, string_text(value), doc);
  }
  void field(const char* key, std::vector<std::string>& value, const char* doc) override {
    std::vector<std::string> items;
    for (const std::string& item : value) items.push_back(string_text(item));
    line(key, fmt::format("[{}]", fmt::join(items, ", ")), doc);
  }
  void field(const char* key, std::vector<double>& value, const char* doc) override {
    std::vector<std::string> items;
    for (const double item : value) items.push_back(number_text(item));
    line(key, fmt::format("[{}]", fmt::join(items, ", ")), doc);
  }
  std::string text() const { return fmt::format("{}", fmt::join(sections_, "")); }

 protected:
  void name_field(const char* key, std::string& name, const std::vector<std::string>& known,
                  const char* doc) override {
    line(key, string_text(name), fmt::format("{} ({})", doc, fmt::join(known, ", ")));
  }
  void enter(const char* key) override {
    path_.emplace_back(key);
    open_.push_back(sections_.size());
    sections_.push_back(fmt::format("\n[{}]\n", fmt::join(path_, ".")));
  }
  void leave() override {
    path_.pop_back();
    open_.pop_back();
  }

 private:
  void line(const char* key, const std::string& value, const std::string& doc) {
    add(fmt::format("{} = {}  # {}\n", key, value, doc));
  }
  void add(const std::string& text) { sections_[open_.back()] += text; }

  std::vector<std::string> sections_ = {""};  // one a table, in the order of their heads
  std::vector<size_t> open_ = {0};            // the tables around the current one, outermost first
  std::vector<std::string> path_;
};

toml::table parse(std::string_view text, std::string_view name) {
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    const auto& begin = error.source().begin;
    throw_user("{}:{}:{}: {}", name, begin.line, begin.column, error.description());
  }
}

// Puts the value of "a.b=value" into the table; the value is TOML, or a bare word taken as a
// string.
void apply_override(toml::table& root, const std::string& word, std::set<std::string>& overridden) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0 || word.find('\n') != std::string::npos) {
    throw_user("command line: expected key=value, found '{}'", word);
  }
  const std::string path = word.substr(0, equals), text = word.substr(equals + 1);
  toml::table parsed;
  try {
    parsed = toml::parse("value = " + text, std::string_view("command line"));
  } catch (const toml::parse_error&) {
    parsed.insert("value", text);
  }
  toml::table* table = &root;
  std::stringstream parts(path);
  std::string part, last;
  std::getline(parts, last, '.');
  while (std::getline(parts, part, '.')) {
    toml::node* inner = table->get(last);
    if (inner == nullptr) inner = &table->insert(last, toml::table{}).first->second;
    table = inner->as_table();
    if (table == nullptr)
      throw_user("command line: {}: '{}' is no table in the recipe", word, last);
    last = part;
  }
  table->insert_or_assign(last, *parsed.get("value"));
  // Problems of a key name its table too, where the table itself came from the command line.
  for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) {
    if (!root.at_path(path.substr(0, dot)).node()->source().begin)
      overridden.insert(path.substr(0, dot));
  }
  overridden.insert(path);
}

void flatten_into(const toml::table& table, const std::string& prefix,
                  std::map<std::string, std::string>& out) {
  for (const auto& [key, node] : table) {
    const std::string path = prefix + std::string(key.str());
    if (const toml::table* inner = node.as_table()) {
      flatten_into(*inner, path + ".", out);
    } else {
      out[path] = text_of(node);
    }
  }
}

}  // namespace

Recipe::Recipe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Recipe::~Recipe() = default;
Recipe::Recipe(Recipe&&) noexcept = default;
Recipe& Recipe::operator=(Recipe&&) noexcept = default;

Recipe Recipe::from_file(const std::filesystem::path& path,
                         const std::vector<std::string>& overrides) {
  return from_text(read_file(path, "recipe"), path.string(), overrides);
}

Recipe Recipe::from_text(std::string_view text, std::string_view name,
                         const std::vector<std::string>& overrides) {
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  impl->root = parse(text, name);
  for (const std::string& word : overrides) apply_override(impl->root, word, impl->overridden);
  return Recipe(std::move(impl));
}

std::string Recipe::peek(std::string_view key) const {
  const toml::node* node = impl_->root.get(key);
  if (node == nullptr) return "";
  if (node->is_string()) return node->as_string()->get();
  const auto& begin = node->source().begin;
  throw_user("{}:{}:{}: {}: expected a string, found {}", impl_->name, begin.line, begin.column,
             key, found(*node));
}

std::unique_ptr<Binder> Recipe::reader() const {
  return std::make_unique<Reader>(impl_->root, impl_->name, impl_->overridden);
}

void Recipe::finish(Binder& binder) const {
  static_cast<Reader&>(binder).finish();
}

RecipeWriter::RecipeWriter() : binder_(std::make_unique<Writer>()) {}

std::string RecipeWriter::text() const {
  return static_cast<const Writer&>(*binder_).text();
}

std::map<std::string, std::string> flatten_recipe(std::string_view text, std::string_view name) {
  std::map<std::string, std::string> out;
  flatten_into(parse(text, name), "", out);
  return out;
}

}  // namespace ponder::core
