//! A typed client of the control API, and where the sockets of running engines are.

#![forbid(unsafe_code)]

pub mod instance;
