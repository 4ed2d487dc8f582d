#include "distributed/launch.h"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "core/error.h"

namespace ponder::distributed {
namespace {

using core::throw_user;

std::optional<std::string> text_of(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

int parse(std::string_view name, const std::string& text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw_user("the environment variable {} is '{}', expected a whole number from {} to {}", name,
               text, low, high);
  }
  return value;
}

constexpr int kMany = std::numeric_limits<int>::max();

std::optional<int> number(const char* name, int low, int high = kMany) {
  const auto text = text_of(name);
  if (!text) return std::nullopt;
  return parse(name, *text, low, high);
}

int required(const char* name, const char* beside, int low, int high = kMany) {
  const auto value = number(name, low, high);
  if (!value) throw_user("{} is set but {} is not: a launcher sets both", beside, name);
  return *value;
}

// The first host of Slurm's compact lists: "node[3-5,9],x" -> "node3", "a,b" -> "a".
std::string first_host(const std::string& list) {
  const size_t end = list.find_first_of(",[");
  std::string host = list.substr(0, end);
  if (end == std::string::npos || list[end] == ',') return host;
  const size_t number_end = list.find_first_of(",-]", end + 1);
  return host + list.substr(end + 1, number_end - end - 1);
}

// Jobs that share a machine meet on different ports.
uint16_t port_of_job(int job) {
  return static_cast<uint16_t>(20000 + job % 20000);
}

struct Variables {
  const char* launcher;
  const char* rank;
  const char* size;
  const char* local_rank;
};

Worker read(const Variables& names) {
  Worker worker;
  worker.launcher = names.launcher;
  worker.world_size = required(names.size, names.rank, 1);
  worker.rank = required(names.rank, names.size, 0, worker.world_size - 1);
  worker.local_rank = number(names.local_rank, 0).value_or(worker.rank);
  if (const auto address = text_of("MASTER_ADDR")) worker.master_addr = *address;
  if (const auto port = number("MASTER_PORT", 1, 65535))
    worker.master_port = static_cast<uint16_t>(*port);
  return worker;
}

Worker from_torchrun() {
  Worker worker = read({"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"});
  if (worker.world_size > 1 && (!text_of("MASTER_ADDR") || !text_of("MASTER_PORT"))) {
    throw_user(
        "RANK and WORLD_SIZE are set but {} is not: a launcher sets it to where rank 0 listens",
        text_of("MASTER_ADDR") ? "MASTER_PORT" : "MASTER_ADDR");
  }
  if (const auto own = text_of("PONDER_LAUNCHER")) worker.launcher = *own;
  worker.launcher_holds_store = text_of("TORCHELASTIC_USE_AGENT_STORE") == "True";
  worker.restart = number("TORCHELASTIC_RESTART_COUNT", 0).value_or(0);
  return worker;
}

Worker from_slurm() {
  Worker worker = read({"srun", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"});
  if (!text_of("MASTER_ADDR")) {
    if (const auto nodes = text_of("SLURM_STEP_NODELIST")) worker.master_addr = first_host(*nodes);
  }
  if (!text_of("MASTER_PORT"))
    worker.master_port = port_of_job(number("SLURM_JOB_ID", 0).value_or(0));
  worker.restart = number("SLURM_RESTART_COUNT", 0).value_or(0);
  return worker;
}

// mpirun names no machine: without MASTER_ADDR rank 0 is looked for on this one. `local_size`: the
// variable with the number of this machine's workers; where it is not there, a local rank that is
// not the rank tells that others are elsewhere.
Worker from_mpirun(const Variables& names, const char* local_size) {
  Worker worker = read(names);
  const auto here = number(local_size, 1);
  const bool all_here = here ? *here == worker.world_size : worker.local_rank == worker.rank;
  if (all_here || text_of("MASTER_ADDR")) return worker;
  throw_user(
      "rank {} of {} was started by mpirun on several machines, and nothing says on which rank 0 "
      "listens: give it by mpirun -x MASTER_ADDR=HOST",
      worker.rank, worker.world_size);
}

}  // namespace

Worker worker_from_environment() {
  if (text_of("RANK") || text_of("WORLD_SIZE")) return from_torchrun();
  // A batch script has SLURM_PROCID too, but only a step started by srun has SLURM_STEP_NODELIST
  // and more tasks than the script itself.
  if (text_of("SLURM_STEP_NODELIST") && text_of("SLURM_PROCID") && text_of("SLURM_NTASKS"))
    return from_slurm();
  if (text_of("OMPI_COMM_WORLD_RANK")) {
    return from_mpirun(
        {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
        "OMPI_COMM_WORLD_LOCAL_SIZE");
  }
  if (text_of("PMI_RANK"))
    return from_mpirun({"mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"}, "MPI_LOCALNRANKS");
  return {};
}

}  // namespace ponder::distributed
