//! One pollable descriptor for sockets that come and go.
//!
//! Owns an epoll of the link's own and a timer in it; never waits. The epoll is what the event
//! loop polls, and it is never asked what is ready: whoever owns it tries everything after each
//! edge, which costs one call that says "again" where asking would cost one as well.
//!
//! Three facts make this right with an edge-triggered loop outside (epoll(7); `fs/eventpoll.c`):
//! - An event on a socket inside wakes the epoll outside whether or not that socket is still on
//!   the ready list inside, so that nobody has to empty the list.
//! - `EPOLL_CTL_MOD` does not: what has room at that moment and is on the list causes no edge.
//!   After [`await_room`](Watch::await_room) the call that had no room is therefore tried again.
//! - An epoll descriptor is reported as readable, never as writable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

#[derive(Debug)]
pub(crate) struct Watch {
    epoll: OwnedFd,
    timer: OwnedFd,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let watch = Self { epoll, timer };
        watch.add(watch.timer.as_fd())?;
        Ok(watch)
    }

    /// Watches for arrivals.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(0), ARRIVALS)?)
    }

    /// Watches for arrivals and room. The caller tries once more whatever had no room.
    pub(crate) fn await_room(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let both = ARRIVALS | EventFlags::OUT;
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(0), both)?)
    }

    /// Watches for arrivals only: while there is room, every frame the guest takes would be an
    /// edge.
    pub(crate) fn forget_room(&self, fd: BorrowedFd<'_>) {
        // Fails for want of memory only, and then there are more edges than needed.
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(0), ARRIVALS);
    }

    /// Before a descriptor is closed: closing is not enough where another process holds the same
    /// socket, and its events would go on to come.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Causes one edge when `delay` is over, in place of the one asked for before.
    pub(crate) fn wake_after(&self, delay: Duration) {
        let at = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            // Zero would mean never.
            it_value: delay
                .max(Duration::from_nanos(1))
                .try_into()
                .unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 }),
        };
        // A timer of our own and a time in range: this cannot fail.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &at);
    }

    /// Whether the delay is over; says so once.
    pub(crate) fn is_due(&self) -> bool {
        rustix::io::read(&self.timer, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

const ARRIVALS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
