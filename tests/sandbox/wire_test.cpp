#include "sandbox/box/wire.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "sandbox/box/protocol.h"
#include "sandbox/memory_file.h"

namespace ponder::sandbox {
namespace {

TEST(Wire, RunSpecSurvivesTheTrip) {
  RunSpec spec;
  spec.kind = RunKind::kScript;
  spec.argv = {"a", std::string("b\0c", 3), ""};
  spec.file_names = {"main.py"};
  spec.watch = true;
  spec.stack_bytes = 7;
  RunSpec back;
  ASSERT_TRUE(RunSpec::decode(spec.encode(), back));
  EXPECT_EQ(back.argv, spec.argv);
  EXPECT_EQ(back.file_names, spec.file_names);
  EXPECT_EQ(back.stack_bytes, 7U);
  EXPECT_TRUE(back.watch);
  EXPECT_EQ(back.kind, RunKind::kScript);
}

TEST(Wire, EveryTruncationIsRefused) {
  BoxSetup setup;
  setup.readonly_paths = {"/usr", "/lib"};
  setup.filter = "12345678";
  const std::string bytes = setup.encode();
  for (size_t size = 0; size < bytes.size(); ++size) {
    BoxSetup back;
    EXPECT_FALSE(BoxSetup::decode(std::string_view(bytes).substr(0, size), back)) << size;
  }
}

TEST(Wire, ALengthBeyondTheMessageIsRefused) {
  WireWriter writer;
  writer.number(~0ULL);
  WireReader reader(writer.bytes());
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(Wire, DescriptorsTravelWithTheMessage) {
  const SocketPair pair = make_socket_pair();
  const Fd file = sealed_file("test", "content");
  ASSERT_TRUE(send_message(pair.ours.get(), "hello", {file.get()}));
  std::string bytes;
  std::vector<int> fds;
  ASSERT_EQ(receive_message(pair.theirs.get(), bytes, fds), 5);
  ASSERT_EQ(fds.size(), 1U);
  const Fd received(fds[0]);
  EXPECT_EQ(content_of(received), "content");
  EXPECT_LT(write(received.get(), "x", 1), 0) << "a sealed file was written to";
}

}  // namespace
}  // namespace ponder::sandbox
