//! A process that is out of descriptors, in a process of its own: the limit is the whole one's.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;

use portreeve_link::{SocketOptions, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Shell, Told, frame, place};

#[test]
fn a_guest_that_cannot_be_accepted_is_accepted_when_there_are_descriptors() {
    let (_folder, path) = place();
    let mut shell = Shell::new(stream::listen(&path, &SocketOptions::default()).unwrap());
    let mut guest = UnixStream::connect(&path).unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(1), maximum: before.maximum }).unwrap();
    shell.silent_now();
    setrlimit(Resource::Nofile, before).unwrap();
    // The edge for the connection is long taken: the link makes another.
    assert_eq!(shell.next(), Told::Arrived);
    guest.write_all(&[0, 0, 0, 20]).unwrap();
    guest.write_all(&frame(1, 20)).unwrap();
    assert_eq!(shell.frame(), frame(1, 20));
}
