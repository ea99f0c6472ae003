//! What can become of a guest while its link lives on.
//!
//! Owns the events and the reasons for a guest's end, as types and as text; decides none of them.

use std::fmt;
use std::io;

use crate::vhost_user::VhostUserFault;

/// A change of the guest at the other end of a link. See [`Link`](crate::Link) for when to ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// A guest is there, and the frames that follow are its own. A link that was made with a guest
    /// at the other end does not announce that one.
    GuestArrived,
    /// The guest is no longer there; another may come.
    GuestGone(GoneCause),
}

/// Why a guest is no longer there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum GoneCause {
    /// It closed the connection between two frames.
    Closed,
    /// It closed the connection inside a frame, whose rest is lost.
    ClosedMidFrame,
    /// What it sent is not the framing of this link: the link closed the connection.
    Framing(FramingFault),
    /// It closed its socket: datagrams to it are refused.
    Refused,
    /// It introduced itself once more, from the same address: its VMM was started anew.
    Restarted,
    /// What it said over vhost-user, or what its guest did to a ring, is not what it must be: the
    /// link closed the connection.
    VhostUser(VhostUserFault),
    /// The socket failed.
    Socket(io::ErrorKind),
}

/// How a byte stream is not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FramingFault {
    /// A frame of no bytes was announced.
    Empty,
    /// A frame longer than any packet was announced or sent.
    Oversized {
        /// Its length.
        length: u32,
        /// The longest this link takes.
        limit: u32,
        /// The four bytes of the length, where they read as text: someone speaks another protocol.
        text: Option<[u8; 4]>,
    },
    /// The connection does not begin with the request it has to begin with.
    NoPreamble,
    /// The request at the connection's beginning does not end.
    EndlessPreamble,
}

impl fmt::Display for LinkEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GuestArrived => f.write_str("a guest has arrived"),
            Self::GuestGone(cause) => write!(f, "the guest is gone: {cause}"),
        }
    }
}

impl fmt::Display for GoneCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it closed the connection"),
            Self::ClosedMidFrame => f.write_str("it closed the connection inside a frame"),
            Self::Framing(fault) => write!(f, "{fault}; the connection was closed"),
            Self::VhostUser(fault) => write!(f, "{fault}; the connection was closed"),
            Self::Refused => f.write_str("it closed its socket"),
            Self::Restarted => f.write_str("it was started anew"),
            // What Linux says of a unix socket whose other end was closed, or killed, in the midst.
            Self::Socket(io::ErrorKind::ConnectionReset) => {
                f.write_str("it closed the connection and left frames unread")
            }
            Self::Socket(kind) => write!(f, "its socket failed: {kind}"),
        }
    }
}

impl fmt::Display for FramingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a frame of length 0"),
            Self::Oversized { length, limit, text } => {
                write!(f, "a frame of length {length}, where {limit} is the most")?;
                match text {
                    Some(text) => {
                        write!(f, " (its length reads \"{}\": text?)", text.escape_ascii())
                    }
                    None => Ok(()),
                }
            }
            Self::NoPreamble => f.write_str("it did not begin with \"POST /connect\""),
            Self::EndlessPreamble => f.write_str("its request has no end"),
        }
    }
}
