//! The program as an operator uses it: its output, its exit codes, and the daemon itself.

mod program;
mod run;
mod verbs;
