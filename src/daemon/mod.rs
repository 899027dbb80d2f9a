//! The daemon: clock, the closed list of tasks, control socket.
