// Who this process is among a run's workers, from the variables that launchers set. Knows the
// launchers' words; opens no connection.
#pragma once

#include <cstdint>
#include <string>

namespace ponder::distributed {

// One worker's place.
struct Worker {
  int rank = 0;
  int world_size = 1;
  int local_rank = 0;                     // among the workers of this machine: its GPU
  std::string master_addr = "127.0.0.1";  // where rank 0 listens
  uint16_t master_port = 29500;
  bool launcher_holds_store = false;  // the launcher already serves the store on master_port
  int restart = 0;                    // how often the launcher has started the job anew
  std::string launcher = "none";      // who set the variables, for messages
};

// Reads, first that is there: RANK and WORLD_SIZE with MASTER_ADDR, MASTER_PORT, LOCAL_RANK
// (torchrun, `--workers`); SLURM_PROCID and SLURM_NTASKS with SLURM_LOCALID, inside a job step
// (srun); OMPI_COMM_WORLD_RANK and _SIZE or PMI_RANK and PMI_SIZE (mpirun). Slurm's and mpirun's
// rank 0 is found by MASTER_ADDR where that is set, else by Slurm's node list; the port by
// MASTER_PORT, else by the job's id. None of them: one worker. Throws UserError naming the variable
// that is missing, not a number or out of range; also MASTER_ADDR where mpirun's workers are on
// several machines.
Worker worker_from_environment();

}  // namespace ponder::distributed
