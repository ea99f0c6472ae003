//! The socket between this process and the guest's init: what is said, and how it is spelled.
//!
//! One `SOCK_SEQPACKET` pair for each guest; its closing on either side is how the other learns
//! of a death. Never acts on a message. Spec: unix(7), cmsg(3).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The longest text a message carries; longer ones are cut.
const MAX_TEXT: usize = 1024;

/// Descriptors that come with one message at most: the TAP and the network namespace.
const MAX_FDS: usize = 2;

/// What this process says to init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToInit {
    /// Run the command, in the terminal's foreground or not.
    Start { foreground: bool },
    /// Send the command a signal.
    Signal(i32),
    /// Send the command's whole process group a signal.
    SignalGroup(i32),
    /// Continue the stopped command, in the terminal's foreground or not.
    Resume { foreground: bool },
}

/// What init (or, before there is one, the process that makes it) says to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromInit {
    /// Init's process id, as seen from here.
    Born(i32),
    /// Something less than wanted, which the guest can live with.
    Warning { step: Step, errno: i32, detail: String },
    /// Something the guest cannot live with. Nothing comes after it.
    Failed { step: Step, errno: i32, detail: String },
    /// Everything is set up; the TAP and the network namespace come with it.
    Ready,
    /// The command was executed.
    Started,
    /// The command could not be executed.
    NotExecuted { step: Step, errno: i32 },
    /// A signal stopped the command.
    Stopped { signal: i32, has_terminal: bool },
    /// The command ended by itself.
    Exited { code: i32, has_terminal: bool },
    /// A signal ended the command.
    Killed { signal: i32, has_terminal: bool },
}

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The step of making a guest that something went wrong in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Step { $($(#[$doc])* $name,)* }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// What was being done, as the middle of a sentence.
            pub fn describe(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The step a number (`as u8`) stands for.
            pub(crate) fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

steps! {
    /// Forking the first process.
    Fork = "starting the guest's first process",
    /// Closing what was inherited (close_range(2), Linux 5.9).
    CloseInherited = "closing inherited files",
    /// Making the user namespace.
    UserNamespace = "making a user namespace",
    /// Mapping our own user and group into it.
    IdMap = "mapping our user and group into the user namespace",
    /// Making the network, mount and process namespaces.
    Namespaces = "making the guest's namespaces",
    /// Starting the guest's init.
    Init = "starting the guest's init",
    /// Cutting the mounts off from the host's.
    Propagation = "making the guest's mounts private",
    /// Mounting a `/proc` that shows the guest's processes.
    Proc = "mounting the guest's own /proc",
    /// Setting the host name.
    Hostname = "setting the guest's host name",
    /// Writing below `/proc/sys/net`.
    Sysctl = "setting the guest's network parameters",
    /// Opening `/dev/net/tun`.
    TunOpen = "opening /dev/net/tun",
    /// Making the TAP device.
    TapCreate = "making the guest's network device",
    /// Bringing up loopback and TAP.
    Link = "bringing up the guest's network devices",
    /// Setting addresses.
    Address = "setting the guest's addresses",
    /// Setting routes.
    Route = "setting the guest's routes",
    /// Setting the gateway's neighbour entries.
    Neighbour = "setting the gateway's hardware address",
    /// Putting the guest's own resolver file in place.
    Resolver = "putting the guest's resolv.conf in place",
    /// Covering directories that are not for the guest.
    Hide = "hiding directories of the host",
    /// Handing over what was made.
    HandOver = "handing over the guest's network device",
    /// Changing to the command's working directory.
    WorkingDirectory = "changing to the command's working directory",
    /// Giving the command the terminal.
    Terminal = "giving the command the terminal",
    /// Executing the command.
    Execute = "executing the command",
}

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What arrived.
#[derive(Debug)]
pub(crate) enum Arrival<T> {
    /// A message, with the descriptors that came with it.
    Message(T, Vec<OwnedFd>),
    /// Nothing yet.
    Nothing,
    /// The other side is gone.
    Closed,
}

impl Channel {
    /// A connected pair.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(above_stdio(ours)?), Self(above_stdio(theirs)?)))
    }

    /// Says something to init.
    pub(crate) fn tell(&self, message: ToInit) -> io::Result<()> {
        let (tag, value) = match message {
            ToInit::Start { foreground } => (0, i32::from(foreground)),
            ToInit::Signal(signal) => (1, signal),
            ToInit::SignalGroup(signal) => (2, signal),
            ToInit::Resume { foreground } => (3, i32::from(foreground)),
        };
        self.send(tag, value, 0, "", &[])
    }

    /// Says something to the process that made the guest.
    pub(crate) fn report(&self, message: &FromInit, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let (tag, value, extra, text) = match message {
            FromInit::Born(pid) => (0, *pid, 0, ""),
            FromInit::Warning { step, errno, detail } => (1, *errno, *step as u8, detail.as_str()),
            FromInit::Failed { step, errno, detail } => (2, *errno, *step as u8, detail.as_str()),
            FromInit::Ready => (3, 0, 0, ""),
            FromInit::Started => (4, 0, 0, ""),
            FromInit::NotExecuted { step, errno } => (5, *errno, *step as u8, ""),
            FromInit::Stopped { signal, has_terminal } => (6, *signal, u8::from(*has_terminal), ""),
            FromInit::Exited { code, has_terminal } => (7, *code, u8::from(*has_terminal), ""),
            FromInit::Killed { signal, has_terminal } => (8, *signal, u8::from(*has_terminal), ""),
        };
        self.send(tag, value, extra, text, fds)
    }

    /// What init hears.
    pub(crate) fn hear(&self, wait: bool) -> io::Result<Arrival<ToInit>> {
        self.receive(wait, |tag, value, _, _| {
            Some(match tag {
                0 => ToInit::Start { foreground: value != 0 },
                1 => ToInit::Signal(value),
                2 => ToInit::SignalGroup(value),
                3 => ToInit::Resume { foreground: value != 0 },
                _ => return None,
            })
        })
    }

    /// What init, or the process that makes it, reported.
    pub(crate) fn next_report(&self, wait: bool) -> io::Result<Arrival<FromInit>> {
        self.receive(wait, |tag, value, extra, text| {
            let step = || Step::from_number(extra);
            let has_terminal = extra != 0;
            Some(match tag {
                0 => FromInit::Born(value),
                1 => FromInit::Warning { step: step()?, errno: value, detail: text.to_owned() },
                2 => FromInit::Failed { step: step()?, errno: value, detail: text.to_owned() },
                3 => FromInit::Ready,
                4 => FromInit::Started,
                5 => FromInit::NotExecuted { step: step()?, errno: value },
                6 => FromInit::Stopped { signal: value, has_terminal },
                7 => FromInit::Exited { code: value, has_terminal },
                8 => FromInit::Killed { signal: value, has_terminal },
                _ => return None,
            })
        })
    }

    fn send(
        &self,
        tag: u8,
        value: i32,
        extra: u8,
        text: &str,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let [a, b, c, d] = value.to_ne_bytes();
        let head = [tag, extra, a, b, c, d];
        let text = &text.as_bytes()[..text.len().min(MAX_TEXT)];
        let parts = [IoSlice::new(&head), IoSlice::new(text)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::INVAL.into());
        }
        loop {
            match rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive<T>(
        &self,
        wait: bool,
        parse: impl FnOnce(u8, i32, u8, &str) -> Option<T>,
    ) -> io::Result<Arrival<T>> {
        let mut bytes = [0_u8; 6 + MAX_TEXT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        flags.set(RecvFlags::DONTWAIT, !wait);
        let length = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.0, &mut parts, &mut control, flags) {
                Ok(message) => break message.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Arrival::Nothing),
                Err(Errno::CONNRESET) => return Ok(Arrival::Closed),
                Err(error) => return Err(error.into()),
            }
        };
        if length == 0 {
            return Ok(Arrival::Closed);
        }
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        let garbled = || io::Error::from(Errno::BADMSG);
        let (head, text) = bytes[..length].split_at_checked(6).ok_or_else(garbled)?;
        let value = i32::from_ne_bytes([head[2], head[3], head[4], head[5]]);
        let message = parse(head[0], value, head[1], &String::from_utf8_lossy(text));
        message.map(|message| Arrival::Message(message, fds)).ok_or_else(garbled)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Keeps a descriptor off 0 to 2, where the command would inherit it if they were closed.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let (ours, init) = Channel::pair().unwrap();
        for message in [
            ToInit::Start { foreground: true },
            ToInit::Signal(15),
            ToInit::SignalGroup(2),
            ToInit::Resume { foreground: false },
        ] {
            ours.tell(message).unwrap();
            let Arrival::Message(heard, _) = init.hear(true).unwrap() else { panic!("no message") };
            assert_eq!(heard, message);
        }
        let mut reports = vec![
            FromInit::Born(77),
            FromInit::Ready,
            FromInit::Started,
            FromInit::Stopped { signal: 20, has_terminal: true },
            FromInit::Exited { code: 3, has_terminal: false },
            FromInit::Killed { signal: 9, has_terminal: true },
        ];
        for &step in Step::ALL {
            reports.push(FromInit::Failed { step, errno: 1, detail: "eth0".into() });
            reports.push(FromInit::Warning { step, errno: 1, detail: String::new() });
            reports.push(FromInit::NotExecuted { step, errno: 2 });
        }
        for message in reports {
            init.report(&message, &[]).unwrap();
            let arrival = ours.next_report(true).unwrap();
            let Arrival::Message(heard, _) = arrival else { panic!("no message") };
            assert_eq!(heard, message);
        }
    }

    #[test]
    fn descriptors_travel_and_an_end_is_noticed() {
        let (ours, init) = Channel::pair().unwrap();
        assert!(matches!(ours.next_report(false).unwrap(), Arrival::Nothing));
        init.report(&FromInit::Ready, &[ours.as_fd(), init.as_fd()]).unwrap();
        let Arrival::Message(FromInit::Ready, fds) = ours.next_report(true).unwrap() else {
            panic!("not ready");
        };
        assert_eq!(fds.len(), 2);
        drop(fds);
        drop(init);
        assert!(matches!(ours.next_report(true).unwrap(), Arrival::Closed));
        assert!(ours.tell(ToInit::Signal(1)).is_err());
    }
}
