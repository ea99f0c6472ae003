//! Links over datagrams: who the guest is, `VFKT`, full queues, restarts.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::Duration;

use portreeve_link::{DatagramLink, GoneCause, Link, LinkCause, SocketOptions, datagram};
use support::{HEADER, Shell, Told, frame, kind, place, with_header};

fn listening() -> (tempfile::TempDir, std::path::PathBuf, Shell<DatagramLink>) {
    let (folder, path) = place();
    let link = datagram::listen(&path, &SocketOptions::default()).unwrap();
    (folder, path, Shell::new(link))
}

/// As vfkit and libkrun do: bound to a path of its own, and connected.
fn guest(own: &Path, path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(own).unwrap();
    socket.connect(path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn receive(guest: &UnixDatagram) -> Vec<u8> {
    let mut buf = vec![0; 70_000];
    let length = guest.recv(&mut buf).unwrap();
    buf.truncate(length);
    buf
}

#[test]
fn halves_of_a_pair_pass_frames_of_every_length() {
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut shell = Shell::new(datagram::from_fd(ours.into(), &SocketOptions::default()).unwrap());
    for length in [1, 14, 60, 1514, 65_550, 65_593] {
        guest.send(&frame(length, length)).unwrap();
        let Told::Frame(bytes) = shell.next() else { panic!("a frame is due") };
        assert_eq!(bytes[..HEADER], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[HEADER..], frame(length, length));
        shell.send(&frame(length, length));
        assert_eq!(receive(&guest), frame(length, length));
    }
}

#[test]
fn the_guest_is_learnt_from_its_first_datagram() {
    let (folder, path, mut shell) = listening();
    shell.silent();
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::NotConnected);
    let guest = guest(&folder.path().join("guest"), &path);
    guest.send(&frame(1, 60)).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(1, 60));
    shell.send(&frame(2, 70));
    assert_eq!(receive(&guest), frame(2, 70));
    shell.silent();
}

#[test]
fn the_magic_is_consumed() {
    let (folder, path, mut shell) = listening();
    let guest = guest(&folder.path().join("guest"), &path);
    guest.send(b"VFKT").unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    shell.silent();
    shell.send(&frame(2, 70));
    assert_eq!(receive(&guest), frame(2, 70));
    guest.send(&frame(1, 60)).unwrap();
    assert_eq!(shell.frame(), frame(1, 60));
    assert_eq!(shell.link.discarded(), 0);
}

#[test]
fn magic_again_means_a_restart() {
    let (folder, path, mut shell) = listening();
    let own = folder.path().join("guest");
    let first = guest(&own, &path);
    first.send(b"VFKT").unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    drop(first);
    std::fs::remove_file(&own).unwrap();
    let second = guest(&own, &path);
    second.send(b"VFKT").unwrap();
    second.send(&frame(1, 60)).unwrap();
    assert_eq!(shell.next(), Told::Gone(GoneCause::Restarted));
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(1, 60));
}

#[test]
fn a_stranger_takes_the_guests_place_only_when_it_is_empty() {
    let (folder, path, mut shell) = listening();
    let first = guest(&folder.path().join("first"), &path);
    first.send(&frame(1, 60)).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(1, 60));
    let second = guest(&folder.path().join("second"), &path);
    second.send(&frame(2, 60)).unwrap();
    shell.silent();
    assert_eq!(shell.link.discarded(), 1);
    drop(first);
    second.send(&frame(3, 60)).unwrap();
    assert_eq!(shell.next(), Told::Gone(GoneCause::Refused));
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(3, 60));
    shell.send(&frame(4, 60));
    assert_eq!(receive(&second), frame(4, 60));
}

#[test]
fn a_guest_that_refuses_is_gone_and_what_it_left_makes_it_no_guest_again() {
    let (folder, path, mut shell) = listening();
    let own = folder.path().join("guest");
    let first = guest(&own, &path);
    first.send(&frame(1, 60)).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(1, 60));
    first.send(&frame(2, 60)).unwrap();
    drop(first);
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::ConnectionReset);
    assert_eq!(shell.next(), Told::Gone(GoneCause::Refused));
    shell.silent();
    std::fs::remove_file(&own).unwrap();
    let second = guest(&own, &path);
    second.send(&frame(3, 60)).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(3, 60));
}

#[test]
fn who_has_no_address_is_no_guest() {
    let (_folder, path, mut shell) = listening();
    let nameless = UnixDatagram::unbound().unwrap();
    nameless.send_to(&frame(1, 60), &path).unwrap();
    shell.silent();
    assert_eq!(shell.link.discarded(), 1);
}

#[test]
fn what_cannot_be_a_frame_is_discarded_and_the_next_is_received() {
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut shell = Shell::new(datagram::from_fd(ours.into(), &SocketOptions::default()).unwrap());
    guest.send(&[]).unwrap();
    guest.send(&frame(1, 65_594)).unwrap();
    guest.send(&frame(2, 60)).unwrap();
    assert_eq!(shell.frame(), frame(2, 60));
    assert_eq!(shell.link.discarded(), 2);
}

#[test]
fn a_flood_of_what_is_no_frame_leaves_the_caller_its_turn() {
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut shell = Shell::new(datagram::from_fd(ours.into(), &SocketOptions::default()).unwrap());
    for _ in 0..100 {
        guest.send(&[]).unwrap();
    }
    guest.send(&frame(2, 60)).unwrap();
    assert_eq!(kind(shell.link.receive(&mut [0; 100])), ErrorKind::WouldBlock);
    assert_eq!(shell.link.discarded(), 64);
    assert_eq!(shell.frame(), frame(2, 60));
    assert_eq!(shell.link.discarded(), 100);
}

/// Fills the guest's queue, then takes from it: every frame arrives, and edges tell of room.
fn pushes_back(shell: &mut Shell<DatagramLink>, guest: UnixDatagram) {
    let taken = shell.fill(&frame(5, 1514));
    assert!(taken >= 1);
    let reader = thread::spawn(move || {
        for _ in 0..taken {
            assert_eq!(receive(&guest), frame(5, 1514));
        }
        for number in 0..3000 {
            assert_eq!(receive(&guest), frame(number, 600), "{number}");
        }
    });
    for number in 0..3000 {
        shell.send(&frame(number, 600));
    }
    reader.join().unwrap();
}

#[test]
fn a_full_pair_pushes_back() {
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut shell = Shell::new(datagram::from_fd(ours.into(), &SocketOptions::default()).unwrap());
    pushes_back(&mut shell, guest);
}

#[test]
fn a_full_guest_that_is_connected_pushes_back() {
    let (folder, path, mut shell) = listening();
    let guest = guest(&folder.path().join("guest"), &path);
    guest.send(b"VFKT").unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    pushes_back(&mut shell, guest);
}

#[test]
fn a_full_guest_that_is_not_connected_pushes_back() {
    let (folder, path, mut shell) = listening();
    let guest = UnixDatagram::bind(folder.path().join("guest")).unwrap();
    guest.send_to(&frame(1, 60), &path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(1, 60));
    pushes_back(&mut shell, guest);
}

#[test]
fn room_in_a_queue_that_others_filled_is_noticed() {
    let (folder, path, mut shell) = listening();
    let own = folder.path().join("guest");
    let guest = UnixDatagram::bind(&own).unwrap();
    guest.send_to(b"VFKT", &path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    let mut filled = 0;
    while other.send_to(&[9; 20], &own).is_ok() {
        filled += 1;
    }
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::WouldBlock);
    for _ in 0..filled {
        receive(&guest);
    }
    shell.send(&frame(1, 60));
    assert_eq!(receive(&guest), frame(1, 60));
}

/// As `qemu -netdev dgram,local.path=…,remote.path=…`.
#[test]
fn a_configured_guest_may_come_later_and_come_again() {
    let (folder, path) = place();
    let own = folder.path().join("qemu");
    let link = datagram::connect(&path, &own, &SocketOptions::default()).unwrap();
    let mut shell = Shell::new(link);
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::NotConnected);
    for number in 0..3 {
        let qemu = UnixDatagram::bind(&own).unwrap();
        if number == 1 {
            // The link speaks first.
            shell.send(&frame(number, 80));
            assert_eq!(shell.next(), Told::Arrived);
        } else {
            qemu.send_to(&frame(number, 60), &path).unwrap();
            assert_eq!(shell.next(), Told::Arrived);
            assert_eq!(shell.frame(), frame(number, 60));
            shell.send(&frame(number, 80));
        }
        assert_eq!(receive(&qemu), frame(number, 80));
        drop(qemu);
        assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::ConnectionReset);
        assert_eq!(shell.next(), Told::Gone(GoneCause::Refused));
        std::fs::remove_file(&own).unwrap();
    }
}

#[test]
fn a_pair_whose_other_half_is_closed_is_at_its_end() {
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut link = datagram::from_fd(ours.into(), &SocketOptions::default()).unwrap();
    drop(guest);
    assert_eq!(kind(link.send(&with_header(&frame(1, 60)))), ErrorKind::BrokenPipe);
    assert_eq!(kind(link.receive(&mut [0; 100])), ErrorKind::BrokenPipe);
}

#[test]
fn paths_are_ours_alone_and_go_with_the_link() {
    let (_folder, path, shell) = listening();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = datagram::listen(&path, &SocketOptions::default()).unwrap_err();
    assert_eq!(error.cause(), LinkCause::InUse);
    drop(shell);
    assert!(!path.exists());
    // Left behind by a process that died.
    drop(UnixDatagram::bind(&path).unwrap());
    assert!(path.exists());
    let again = datagram::listen(&path, &SocketOptions::default()).unwrap();
    assert_eq!(again.path(), Some(&*path));
}
