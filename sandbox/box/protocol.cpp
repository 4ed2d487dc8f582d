#include "sandbox/box/protocol.h"

#include <utility>

#include "sandbox/box/wire.h"

namespace ponder::sandbox {

std::string BoxSetup::encode() const {
  WireWriter out;
  out.number(drop_root);
  out.texts(readonly_paths);
  out.texts(file_names);
  out.texts(cgroup_dirs);
  out.text(filter);
  return out.bytes();
}

bool BoxSetup::decode(std::string_view bytes, BoxSetup& out) {
  WireReader in(bytes);
  out.drop_root = in.number() != 0;
  out.readonly_paths = in.texts();
  out.file_names = in.texts();
  out.cgroup_dirs = in.texts();
  out.filter = in.text();
  return in.ok();
}

namespace {
template <typename Spec, typename Function>
void each_number(Spec& spec, Function function) {
  for (auto* field : {&spec.num_extra, &spec.num_cgroups, &spec.collect_bytes_max, &spec.cpu_s,
                      &spec.memory_bytes, &spec.pids, &spec.file_bytes, &spec.disk_bytes,
                      &spec.inodes, &spec.open_files, &spec.stack_bytes})
    function(*field);
}
}  // namespace

std::string RunSpec::encode() const {
  WireWriter out;
  out.number(static_cast<uint64_t>(kind));
  out.texts(argv);
  out.texts(env);
  out.number(has_binary);
  out.texts(file_names);
  out.text(collect);
  out.number(watch);
  each_number(*this, [&](uint64_t field) { out.number(field); });
  return out.bytes();
}

bool RunSpec::decode(std::string_view bytes, RunSpec& out) {
  WireReader in(bytes);
  out.kind = static_cast<RunKind>(in.number());
  out.argv = in.texts();
  out.env = in.texts();
  out.has_binary = in.number() != 0;
  out.file_names = in.texts();
  out.collect = in.text();
  out.watch = in.number() != 0;
  each_number(out, [&](uint64_t& field) { field = in.number(); });
  return in.ok();
}

std::string Status::encode(std::string storage) const {
  WireWriter out(std::move(storage));
  out.number(static_cast<uint64_t>(kind));
  out.number(value);
  out.number(detail);
  out.text(text);
  out.number(peak);
  return out.take();
}

bool Status::decode(std::string_view bytes, Status& out) {
  WireReader in(bytes);
  out.kind = static_cast<StatusKind>(in.number());
  out.value = in.number();
  out.detail = in.number();
  out.text = in.text();
  out.peak = in.number();
  return in.ok();
}

}  // namespace ponder::sandbox
