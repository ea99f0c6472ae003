//! Fuzz targets: each takes any bytes and panics on a violation.
//!
//! Owns what the targets of `fuzz/` call and what the corpus test replays, so that both are the
//! same code. `model.rs` compares whole lives of connections with a simple model, `frames.rs`,
//! `dhcp.rs` and `tcp_front.rs` feed the engine what no guest should send, `spec.rs` the grammar of
//! publish specifications.

mod dhcp;
mod frames;
mod input;
mod model;
mod spec;
mod tcp_front;

pub use dhcp::fuzz_dhcp;
pub use frames::fuzz_frames;
pub use input::Input;
pub use model::run_model;
pub use spec::fuzz_spec;
pub use tcp_front::fuzz_tcp_front;
