//! What a frame costs in a guest's memory: between a link and a thread that is a driver always
//! ready, with rings and buffers as a Linux guest has them.
//!
//! `cargo bench -p portreeve-link --bench vhost_user`. Prints; judges nothing. "of its own time" is
//! by the processor time of the link's thread, which tells more where the machine is shared; it
//! holds what the link does while it finds nothing to do.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark on a terminal")]

#[path = "../tests/support/front_end.rs"]
mod front_end;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use front_end::{DATA, FrontEnd, Order, Queue, entry, feature};
use portreeve_link::{Link, MAX_FRAME_LEN, VhostUserLink, VhostUserOptions, vhost_user};
use rustix::time::{ClockId, clock_gettime};
use support::Shell;

const HEADER: usize = 12;
const RING: u16 = 256;
const PAGE: u32 = 4096;

fn device() -> (Shell<VhostUserLink>, FrontEnd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let link = vhost_user::from_fd(ours.into(), &VhostUserOptions::default()).unwrap();
    let (mut shell, mut front) = (Shell::new(link), FrontEnd::over(theirs));
    front.set_up(&mut shell, Order::Qemu, feature::LINUX, 2, RING);
    (shell, front)
}

/// Runs a driver that makes every chain available again as soon as it is given back.
fn drive(mut queue: Queue, stop: Arc<AtomicBool>) -> thread::JoinHandle<Queue> {
    queue.refuse_calls();
    queue.publish();
    queue.kick();
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let mut any = false;
            while let Some((head, _)) = queue.take() {
                queue.make_available(head);
                any = true;
            }
            if any {
                queue.publish();
                queue.kick();
            } else {
                std::hint::spin_loop();
            }
        }
        queue
    })
}

/// Chains of a frame of that length, in pages, behind tables of their own.
fn fill_from_guest(front: &mut FrontEnd, length: usize) {
    let total = (HEADER + length) as u32;
    let memory = front.memory.clone();
    let queue = front.ring_from_guest(0);
    for head in 0..RING {
        let table = DATA + (24 << 20) + u64::from(head) * 512;
        // As many frames as there are of different pages, over and over.
        let at = DATA + u64::from(head % 64) * 0x2_0000;
        let pages = total.div_ceil(PAGE);
        for page in 0..pages {
            let more = u16::from(page + 1 < pages);
            let bytes = PAGE.min(total - page * PAGE);
            let address = at + u64::from(page * PAGE);
            let descriptor = entry(address, bytes, more, page as u16 + 1);
            memory.write(table + 16 * u64::from(page), &descriptor);
        }
        queue.describe(head, table, 16 * pages, 4, 0);
        queue.make_available(head);
    }
}

fn fill_to_guest(front: &mut FrontEnd) {
    let queue = front.ring_to_guest(0);
    for head in 0..RING {
        queue.describe(head, DATA + u64::from(head) * u64::from(PAGE), PAGE, 2, 0);
        queue.make_available(head);
    }
}

fn measure(
    what: &str,
    length: usize,
    shell: &mut Shell<VhostUserLink>,
    mut each: impl FnMut(&mut VhostUserLink) -> std::io::Result<()>,
) {
    let own = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let (mut count, mut rests, began, before) = (0u64, 0u64, Instant::now(), own());
    while began.elapsed() < Duration::from_secs(2) {
        for _ in 0..256 {
            match each(&mut shell.link) {
                Ok(()) => count += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    rests += 1;
                    shell.link.flush();
                    shell.edge(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
        shell.link.flush();
    }
    let spent = own() - before;
    let print = |when: &str, time: Duration| {
        let rate = count as f64 / time.as_secs_f64();
        let gigabits = rate * length as f64 * 8.0 / 1e9;
        println!(
            "{what:<26} {length:6} B, {when:<16} {:8.3} Mpps, {gigabits:7.2} Gbit/s, one rest in {} frames",
            rate / 1e6,
            count / rests.max(1),
        );
    };
    print("as it went:", began.elapsed());
    print("of its own time:", spent);
}

fn main() {
    for length in [64, 1514, 65_550] {
        let (mut shell, mut front) = device();
        fill_from_guest(&mut front, length);
        let stop = Arc::new(AtomicBool::new(false));
        let driver = drive(front.queues.pop().unwrap(), Arc::clone(&stop));
        let mut buf = vec![0; MAX_FRAME_LEN];
        measure("vhost-user, from the guest", length, &mut shell, |link| {
            link.receive(&mut buf).map(|got| assert_eq!(got, HEADER + length))
        });
        stop.store(true, Ordering::Relaxed);
        driver.join().unwrap();

        let (mut shell, mut front) = device();
        fill_to_guest(&mut front);
        let stop = Arc::new(AtomicBool::new(false));
        let driver = drive(front.queues.swap_remove(0), Arc::clone(&stop));
        let frame = vec![0; HEADER + length];
        measure("vhost-user, to the guest", length, &mut shell, |link| link.send(&frame));
        stop.store(true, Ordering::Relaxed);
        driver.join().unwrap();
    }
}
