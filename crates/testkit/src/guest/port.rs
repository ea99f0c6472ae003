//! What the ports of a guest do: listen, refuse or say nothing.

use std::time::Duration;

use crate::app::App;

/// What a guest's port does with a SYN.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// Accepts.
    Listen(Listener),
    /// Answers with a reset.
    Refuse,
    /// Says nothing.
    Silent,
}

/// A listening port.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Bytes of the receive buffer.
    pub receive_buffer: usize,
    /// Bytes of the send buffer.
    pub send_buffer: usize,
    /// How long the SYN waits for its answer.
    pub delay: Duration,
    /// What the application does.
    pub app: App,
}

impl Listener {
    /// A listener with buffers of 64 KiB.
    pub const fn new(app: App) -> Self {
        Self { receive_buffer: 65_536, send_buffer: 65_536, delay: Duration::ZERO, app }
    }
}
