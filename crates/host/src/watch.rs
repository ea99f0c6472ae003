//! Noticing that the host's network has changed: its addresses and routes, and which name
//! servers it asks.
//!
//! Owns the descriptors that tell and the merging of bursts into one answer; reads neither
//! addresses nor configurations. The only file of this crate that blocks: it is for a thread of
//! its own.
//!
//! Spec: rtnetlink(7), netlink(7), inotify(7), eventfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::error::HostError;

mod file;

use file::FileWatch;

/// What has changed since the last time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HostChange {
    /// Addresses, routes or interfaces: [`interface_addresses`](crate::interface_addresses) and
    /// [`has_default_route`](crate::has_default_route) may answer otherwise now.
    pub addresses: bool,
    /// The file watched: [`resolver_config`](crate::resolver_config) may.
    pub resolver: bool,
    /// Someone has called [`HostWaker::wake`].
    pub woken: bool,
}

/// Watches the host's network, of the namespace of the thread that made it.
#[derive(Debug)]
pub struct HostWatch {
    routes: OwnedFd,
    file: FileWatch,
    wake: Arc<OwnedFd>,
}

/// Interrupts [`HostWatch::wait`] from another thread.
#[derive(Clone, Debug)]
pub struct HostWaker(Arc<OwnedFd>);

impl HostWatch {
    /// Begins to watch: changes from now on are told. The file need not exist, nor its directory.
    ///
    /// # Errors
    /// Which call failed: no descriptors, or no more inotify instances for this user
    /// (`fs.inotify.max_user_instances`).
    pub fn new(resolv_conf: impl Into<PathBuf>) -> Result<Self, HostError> {
        let path = resolv_conf.into();
        let name = path.display().to_string();
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let wake = rustix::event::eventfd(0, flags)
            .map_err(|errno| HostError::new("eventfd", "the watch of the host", errno))?;
        let routes =
            route_socket().map_err(|errno| HostError::new("socket", "NETLINK_ROUTE", errno))?;
        let file = FileWatch::new(path).map_err(|errno| HostError::new("inotify", name, errno))?;
        Ok(Self { routes, file, wake: Arc::new(wake) })
    }

    /// What interrupts [`wait`](Self::wait). A wake when nobody waits ends the next wait.
    pub fn waker(&self) -> HostWaker {
        HostWaker(Arc::clone(&self.wake))
    }

    /// Waits until something has changed, for `timeout` at most (without an end if absent), and
    /// returns all that has changed; nothing, when the time was up. A burst of changes is waited
    /// for up to 50 ms and told as one.
    ///
    /// What is told had happened before it returned: who reads the configuration afterwards
    /// misses nothing, for later changes are told by the next wait.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or the file not be watched any longer
    /// (`fs.inotify.max_user_watches`): this watch may be deaf from then on, so make a new one.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<HostChange> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut change = HostChange::default();
        while change == HostChange::default() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !self.ready(left)? {
                return Ok(change);
            }
            self.collect(&mut change)?;
        }
        let end = Instant::now() + BURST;
        while !change.woken && Instant::now() < end && self.ready(Some(QUIET))? {
            self.collect(&mut change)?;
        }
        Ok(change)
    }

    fn ready(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [self.routes.as_fd(), self.file.as_fd(), self.wake.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(count) => Ok(count > 0),
            // The caller looks, finds nothing and waits for the rest of its time.
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    fn collect(&mut self, change: &mut HostChange) -> io::Result<()> {
        change.addresses |= drain_routes(self.routes.as_fd())?;
        change.resolver |= self.file.changed()?;
        change.woken |= retry_on_intr(|| rustix::io::read(&self.wake, &mut [0; 8])).is_ok();
        Ok(())
    }
}

impl HostWaker {
    /// Ends the present or the next [`HostWatch::wait`], which says so in its answer.
    pub fn wake(&self) {
        // It fails only when 2^64 - 2 wakes wait already.
        let _ = retry_on_intr(|| rustix::io::write(&self.0, &1u64.to_ne_bytes()));
    }
}

fn route_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let kind = SocketType::RAW;
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, None)?;
    // No protocol is NETLINK_ROUTE. Links too: an interface that goes down takes its IPv4 routes
    // along without a word.
    let groups = libc::RTMGRP_LINK
        | libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV6_ROUTE;
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups.cast_unsigned()))?;
    Ok(fd)
}

/// Takes all messages and returns whether there were any. What they say is not read: whoever
/// cares asks for the whole state, which is not outdated by the time it is read.
fn drain_routes(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut seen = false;
    loop {
        match rustix::net::recv(fd, &mut [0u8; 512], RecvFlags::DONTWAIT) {
            Ok(_) => seen = true,
            // netlink(7): messages were lost, which is a change as well.
            Err(Errno::NOBUFS) => seen = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(seen),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A burst is over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);
/// Longer than this nobody is kept waiting for its end.
const BURST: Duration = Duration::from_millis(50);
