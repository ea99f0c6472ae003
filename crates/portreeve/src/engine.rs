//! A running engine: its handle and its thread.

use std::ops::Deref;
use std::thread::JoinHandle;

use crate::builder::EngineBuilder;
use crate::handle::Handle;
use crate::watch::Watcher;

/// The network of one guest, running on a thread of its own.
///
/// All orders go through the [`Handle`] that it dereferences to; clones of that may be given to
/// other threads. Dropping the engine stops it: open connections are reset on both sides, every
/// port is free again and the thread has ended when `drop` returns. To let bytes under way arrive
/// first, call [`Handle::drain`] before.
pub struct Engine {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    /// Ends when the loop has ended: it may wait for it.
    _watcher: Watcher,
}

impl Engine {
    /// Begins to put an engine together.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    pub(crate) fn new(handle: Handle, thread: JoinHandle<()>, watcher: Watcher) -> Self {
        Self { handle, thread: Some(thread), _watcher: watcher }
    }

    /// A handle for another thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops the engine; the same as dropping it.
    pub fn stop(self) {}
}

impl Deref for Engine {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.order_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread panicked");
        }
    }
}
