#include "sandbox/language.h"

#ifndef TOML_HEADER_ONLY
#define TOML_HEADER_ONLY 0
#endif
#include <cstdlib>

#include <toml++/toml.h>
#include <unistd.h>

#include "core/error.h"
#include "core/spelling.h"

namespace ponder::sandbox {

namespace {

std::string first_present(const char* variable, std::initializer_list<const char*> usual) {
  if (const char* chosen = std::getenv(variable); chosen != nullptr && *chosen != '\0')
    return chosen;
  for (const char* path : usual)
    if (access(path, X_OK) == 0) return path;
  return *usual.begin();
}

[[noreturn]] void complain(const std::filesystem::path& file, const toml::source_region& at,
                           const std::string& what) {
  core::throw_user("{}:{}:{}: {}", file.string(), at.begin.line, at.begin.column, what);
}

std::vector<std::string> words(const std::filesystem::path& file, const toml::node& node,
                               const std::string& key) {
  std::vector<std::string> out;
  const toml::array* array = node.as_array();
  if (array == nullptr)
    complain(file, node.source(),
             key + " must be a list of words, e.g. [\"/usr/bin/gcc\", \"main.c\"]");
  for (const auto& item : *array) {
    if (!item.is_string()) complain(file, item.source(), key + " must contain text only");
    out.push_back(item.value_or(std::string()));
  }
  return out;
}

Language read_language(const std::filesystem::path& file, const toml::table& table) {
  Language language;
  for (const auto& [key_node, value] : table) {
    const std::string key(key_node.str());
    if (key == "name" || key == "source") {
      if (!value.is_string()) complain(file, value.source(), key + " must be text");
      (key == "name" ? language.name : language.source) = value.value_or(std::string());
    } else if (key == "compile" || key == "run" || key == "env") {
      (key == "compile" ? language.compile
       : key == "run"   ? language.run
                        : language.env) = words(file, value, key);
    } else {
      complain(file, key_node.source(),
               "unknown key '" + key + "'" +
                   core::suggestion(key, {"name", "source", "compile", "run", "env"}));
    }
  }
  if (language.name.empty()) complain(file, table.source(), "a language needs a name");
  if (language.source.empty() || language.source.find('/') != std::string::npos ||
      language.source[0] == '.')
    complain(file, table.source(), "source must be a plain file name, e.g. \"main.c\"");
  if (language.compile.empty() && language.run.empty())
    complain(file, table.source(), "a language needs compile or run");
  for (const auto* command : {&language.compile, &language.run})
    if (!command->empty() && command->front()[0] != '/')
      complain(file, table.source(), "'" + command->front() + "' must be an absolute path");
  return language;
}

}  // namespace

Language python_language() {
  const std::string python =
      first_present("PONDER_PYTHON", {"/usr/bin/python3", "/usr/local/bin/python3"});
  // The same hashes in every run, so that the same program prints the same sets.
  return {"python",
          "main.py",
          {},
          {python, "/tmp/box/main.py"},
          {"PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1"}};
}

Language cpp_language() {
  const std::string compiler =
      first_present("PONDER_CXX", {"/usr/bin/g++", "/usr/bin/c++", "/usr/local/bin/g++"});
  return {"cpp",
          "main.cpp",
          {compiler, "-std=gnu++17", "-O2", "-pipe", "-fmax-errors=20", "-o", "main", "main.cpp"},
          {},
          {}};
}

std::vector<Language> read_languages(const std::filesystem::path& file) {
  toml::table root;
  try {
    root = toml::parse_file(file.string());
  } catch (const toml::parse_error& error) {
    complain(file, error.source(), std::string(error.description()));
  }
  std::vector<Language> languages;
  for (const auto& [key, value] : root) {
    const toml::array* array = value.as_array();
    if (key.str() != "language" || array == nullptr)
      complain(file, key.source(),
               "unknown key '" + std::string(key.str()) + "' (expected [[language]] tables)");
    for (const auto& item : *array) {
      const toml::table* table = item.as_table();
      if (table == nullptr) complain(file, item.source(), "expected a [[language]] table");
      languages.push_back(read_language(file, *table));
    }
  }
  return languages;
}

}  // namespace ponder::sandbox
