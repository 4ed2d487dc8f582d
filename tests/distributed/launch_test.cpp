// The variables as torchrun 2.11, srun 22.05 and Open MPI 4 set them (their manuals).
#include "distributed/launch.h"

#include <cstdlib>
#include <map>

#include <gmock/gmock.h>

#include "core/error.h"

namespace ponder::distributed {
namespace {

using ::testing::HasSubstr;

Worker read(const std::map<std::string, std::string>& variables) {
  for (const char* name : {"RANK",
                           "WORLD_SIZE",
                           "LOCAL_RANK",
                           "MASTER_ADDR",
                           "MASTER_PORT",
                           "SLURM_PROCID",
                           "SLURM_NTASKS",
                           "SLURM_LOCALID",
                           "SLURM_STEP_NODELIST",
                           "SLURM_JOB_ID",
                           "SLURM_RESTART_COUNT",
                           "OMPI_COMM_WORLD_RANK",
                           "OMPI_COMM_WORLD_SIZE",
                           "OMPI_COMM_WORLD_LOCAL_RANK",
                           "OMPI_COMM_WORLD_LOCAL_SIZE",
                           "PMI_RANK",
                           "PMI_SIZE",
                           "MPI_LOCALRANKID",
                           "MPI_LOCALNRANKS",
                           "TORCHELASTIC_USE_AGENT_STORE",
                           "TORCHELASTIC_RESTART_COUNT"})
    ::unsetenv(name);
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  return worker_from_environment();
}

std::string error_of(const std::map<std::string, std::string>& variables) {
  try {
    read(variables);
  } catch (const core::UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Launch, WithoutVariablesOneWorker) {
  const Worker worker = read({});
  EXPECT_EQ(worker.rank, 0);
  EXPECT_EQ(worker.world_size, 1);
}

TEST(Launch, Torchrun) {
  const Worker worker = read({{"RANK", "3"},
                              {"WORLD_SIZE", "4"},
                              {"LOCAL_RANK", "1"},
                              {"MASTER_ADDR", "10.0.0.7"},
                              {"MASTER_PORT", "29501"},
                              {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                              {"TORCHELASTIC_RESTART_COUNT", "2"}});
  EXPECT_EQ(worker.rank, 3);
  EXPECT_EQ(worker.world_size, 4);
  EXPECT_EQ(worker.local_rank, 1);
  EXPECT_EQ(worker.master_addr, "10.0.0.7");
  EXPECT_EQ(worker.master_port, 29501);
  EXPECT_TRUE(worker.launcher_holds_store);
  EXPECT_EQ(worker.restart, 2);
}

TEST(Launch, SrunFindsTheFirstNodeOfItsList) {
  std::map<std::string, std::string> variables = {{"SLURM_PROCID", "1"},
                                                  {"SLURM_NTASKS", "2"},
                                                  {"SLURM_LOCALID", "0"},
                                                  {"SLURM_JOB_ID", "42"},
                                                  {"SLURM_STEP_NODELIST", "gpu[03-05,9],x1"}};
  EXPECT_EQ(read(variables).master_addr, "gpu03");
  const uint16_t port = read(variables).master_port;
  variables["SLURM_STEP_NODELIST"] = "a,b";
  EXPECT_EQ(read(variables).master_addr, "a");
  EXPECT_EQ(read(variables).master_port, port);
  variables["SLURM_JOB_ID"] = "43";
  EXPECT_NE(read(variables).master_port, port);
}

TEST(Launch, ABatchScriptOutsideAStepIsOneWorker) {
  EXPECT_EQ(read({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}).world_size, 1);
}

TEST(Launch, Mpirun) {
  const Worker worker = read({{"OMPI_COMM_WORLD_RANK", "1"},
                              {"OMPI_COMM_WORLD_SIZE", "2"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}});
  EXPECT_EQ(worker.rank, 1);
  EXPECT_EQ(worker.world_size, 2);
}

TEST(Launch, MpirunOnSeveralMachinesNeedsAnAddress) {
  std::map<std::string, std::string> variables = {{"OMPI_COMM_WORLD_RANK", "1"},
                                                  {"OMPI_COMM_WORLD_SIZE", "2"},
                                                  {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}};
  EXPECT_THAT(error_of(variables), HasSubstr("mpirun -x MASTER_ADDR="));
  variables["MASTER_ADDR"] = "10.0.0.7";
  EXPECT_EQ(read(variables).master_addr, "10.0.0.7");
  // Rank 0 is at home, and knows by the number of its machine's workers.
  variables = {{"OMPI_COMM_WORLD_RANK", "0"},
               {"OMPI_COMM_WORLD_SIZE", "2"},
               {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
               {"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}};
  EXPECT_THAT(error_of(variables), HasSubstr("mpirun -x MASTER_ADDR="));
  variables["OMPI_COMM_WORLD_LOCAL_SIZE"] = "2";
  EXPECT_EQ(read(variables).world_size, 2);
  EXPECT_THAT(error_of({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "0"}}),
              HasSubstr("mpirun -x MASTER_ADDR="));
}

TEST(Launch, WrongVariablesAreNamed) {
  EXPECT_THAT(error_of({{"RANK", "1"}}), HasSubstr("WORLD_SIZE is not"));
  EXPECT_THAT(error_of({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), HasSubstr("RANK is 'x'"));
  EXPECT_THAT(error_of({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), HasSubstr("from 0 to 1"));
  EXPECT_THAT(error_of({{"RANK", "0"}, {"WORLD_SIZE", "0"}}), HasSubstr("WORLD_SIZE is '0'"));
  EXPECT_THAT(error_of({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}}),
              HasSubstr("MASTER_PORT"));
  EXPECT_THAT(
      error_of(
          {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "70000"}}),
      HasSubstr("MASTER_PORT is '70000'"));
}

}  // namespace
}  // namespace ponder::distributed
