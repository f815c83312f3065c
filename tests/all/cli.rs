//! The command line, from outside: exit codes, output, help, pipes.
