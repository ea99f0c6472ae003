//! A live view of an engine in the terminal.

#![forbid(unsafe_code)]
