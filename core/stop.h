// Ctrl-C and SIGTERM as a question the training loop asks between steps, so that a step is finished
// and saved.
#pragma once

namespace ponder::core {

// From here on, blocked before or not, the first SIGINT or SIGTERM only sets the flag; one that
// comes more than a second later ends the process at once with its default action (launchers repeat
// a signal that the terminal has sent already). Safe to call more than once.
void catch_stop_signals();

// True once a stop signal has arrived.
bool stop_requested();

// The signal's number; 0 where none has arrived.
int stop_signal();

}  // namespace ponder::core
