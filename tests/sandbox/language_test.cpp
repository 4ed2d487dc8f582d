#include "sandbox/language.h"

#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "sandbox/sandbox.h"

namespace ponder::sandbox {
namespace {

namespace fs = std::filesystem;

class LanguageFile : public testing::Test {
 protected:
  fs::path write(const std::string& text) {
    std::ofstream(path_) << text;
    return path_;
  }
  std::string error_of(const std::string& text) {
    try {
      read_languages(write(text));
    } catch (const core::UserError& error) {
      return error.what();
    }
    return "";
  }
  void TearDown() override { fs::remove(path_); }
  fs::path path_ =
      fs::temp_directory_path() / ("ponder_language_" + std::to_string(getpid()) + ".toml");
};

TEST_F(LanguageFile, DescribesAShell) {
  const auto languages = read_languages(
      write("[[language]]\nname = 'sh'\nsource = 'main.sh'\nrun = ['/bin/sh', 'main.sh']\n"));
  ASSERT_EQ(languages.size(), 1U);
  Options options;
  options.slots = 1;
  options.languages = languages;
  Sandbox sandbox(options);
  Request request;
  request.language = "sh";
  request.code = "read x; echo $((x + 1))";
  request.tests = {{"41\n", "42\n"}};
  EXPECT_TRUE(sandbox.run(request).passed);
}

TEST_F(LanguageFile, DescribesACompiler) {
  if (access("/usr/bin/gcc", X_OK) != 0) GTEST_SKIP() << "no /usr/bin/gcc";
  Options options;
  options.slots = 1;
  options.languages =
      read_languages(write("[[language]]\nname = 'c'\nsource = 'main.c'\ncompile = "
                           "['/usr/bin/gcc', '-o', 'main', 'main.c']\n"));
  Sandbox sandbox(options);
  Request request;
  request.language = "c";
  request.code = "#include <stdio.h>\nint main(void) { puts(\"42\"); }";
  request.tests = {{"", "42"}};
  EXPECT_TRUE(sandbox.run(request).passed);
}

TEST_F(LanguageFile, NamesPlaceAndRemedy) {
  const std::pair<const char*, const char*> kCases[] = {
      {"[[language]]\nsource = 'a'\nrun = ['/bin/sh']\n", "needs a name"},
      {"[[language]]\nname = 'a'\nrun = ['/bin/sh']\n", "source"},
      {"[[language]]\nname = 'a'\nsource = '../x'\nrun = ['/bin/sh']\n", "plain file name"},
      {"[[language]]\nname = 'a'\nsource = 'x'\n", "compile or run"},
      {"[[language]]\nname = 'a'\nsource = 'x'\nrun = ['sh']\n", "absolute"},
      {"[[language]]\nname = 'a'\nsource = 'x'\nrun = 'sh'\n", "list of words"},
      {"[[language]]\nname = 'a'\nsuorce = 'x'\n", "did you mean 'source'"},
      {"[[language]\n", ":1:"},
      {"language = 3\n", "[[language]]"},
  };
  for (const auto& [text, part] : kCases)
    EXPECT_NE(error_of(text).find(part), std::string::npos) << text << error_of(text);
}

TEST(Language, UnknownNameGetsTheNearest) {
  Options options;
  options.slots = 1;
  Sandbox sandbox(options);
  Request request;
  request.language = "pyhton";
  try {
    sandbox.run(request);
    FAIL();
  } catch (const core::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'python'"), std::string::npos);
  }
}

// What check_language says of an interpreter or compiler at `path`; "" where it works.
std::string complaint_of(Language language, const std::string& path, bool warm) {
  (language.compile.empty() ? language.run : language.compile).front() = path;
  Options options;
  options.slots = 1;
  options.warm = warm;
  options.languages = {language};
  Sandbox sandbox(options);
  try {
    sandbox.check_language(language.name);
  } catch (const core::UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Language, AMissingOrBrokenOneIsTheUsersFaultAndIsNamed) {
  for (const bool warm : {false, true}) {
    for (const char* path : {"/usr/bin/no-such-program", "/usr/bin/false", "/usr/bin/true",
                             "/usr/share/common-licenses/GPL-3"}) {
      for (const Language& language : {python_language(), cpp_language()}) {
        SCOPED_TRACE(language.name + " at " + path);
        const std::string complaint = complaint_of(language, path, warm);
        EXPECT_NE(complaint.find(path), std::string::npos) << complaint;
        EXPECT_NE(complaint.find("PONDER_PYTHON, PONDER_CXX"), std::string::npos) << complaint;
        EXPECT_EQ(complaint.find('\n'), std::string::npos) << complaint;
      }
    }
    EXPECT_EQ(complaint_of(python_language(), python_language().run.front(), warm), "");
    EXPECT_EQ(complaint_of(cpp_language(), cpp_language().compile.front(), warm), "");
  }
}

TEST(Language, ABrokenOneLeavesTheOthersAlone) {
  Language python = python_language();
  python.run[0] = "/usr/bin/no-such-python";
  Options options;
  options.slots = 1;
  options.languages = {python};
  options.warm = false;
  Sandbox sandbox(options);
  EXPECT_THROW(sandbox.run(Request{}), core::UserError);
  EXPECT_NO_THROW(sandbox.check_language("cpp"));
  EXPECT_THROW(sandbox.check_language("pyhton"), core::UserError);
}

}  // namespace
}  // namespace ponder::sandbox
