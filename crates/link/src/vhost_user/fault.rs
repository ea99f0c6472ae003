//! What a front end or its guest can do wrong.
//!
//! Owns the faults as types and as text; each ends the connection.

use std::fmt;
use std::io;

/// Why a front end's connection was closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum VhostUserFault {
    /// What it sends is no message of vhost-user, version 1.
    NoMessage {
        /// Its first four bytes, where they read as text.
        text: Option<[u8; 4]>,
    },
    /// A message that is unknown, or goes with a feature that was not offered.
    Unknown {
        /// The message's number.
        request: u32,
    },
    /// A message whose length is not that of its kind.
    Length {
        /// The message's number.
        request: u32,
        /// Its length.
        length: u32,
    },
    /// A message with more descriptors, or fewer, than its kind has, or of an unfit kind.
    Descriptors {
        /// The message's number.
        request: u32,
    },
    /// It does not read its answers.
    Unread,
    /// It chose features that were not offered.
    Features(u64),
    /// Its memory cannot be used.
    Memory(MemoryFault),
    /// A ring is not what it must be.
    Ring {
        /// Which: two for each pair of queues, of which the second has frames from the guest.
        index: u16,
        /// In what way.
        fault: RingFault,
    },
}

/// What is wrong with a front end's memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MemoryFault {
    /// More regions than there may be.
    TooMany,
    /// A region without a byte, or one that wraps around.
    Range,
    /// Two regions overlap.
    Overlap,
    /// The descriptor is no regular file.
    NoFile,
    /// A region goes beyond the end of its file.
    BeyondFile,
    /// The file may be made shorter at any time, and that was not to be accepted.
    Unsealed,
    /// It cannot be mapped.
    Unmappable(io::ErrorKind),
}

/// What is wrong with a ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RingFault {
    /// There is no ring of that number.
    Missing,
    /// Its size is no power of two between 1 and 32,768.
    Size,
    /// Its parts are not aligned, or not within the memory.
    Misplaced,
    /// It has no kick, so that it would have to be asked all the time.
    NoKick,
    /// More descriptors are available than it has.
    Index,
    /// A descriptor that does not exist.
    Descriptor,
    /// A chain of descriptors that is a loop, or longer than any driver's.
    Chain,
    /// A table of indirect descriptors inside another, or of an impossible length.
    Indirect,
    /// A buffer outside the memory.
    Buffer,
}

impl fmt::Display for VhostUserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMessage { text } => {
                f.write_str("it does not speak vhost-user")?;
                match text {
                    Some(text) => write!(f, " (it begins with \"{}\": text?)", text.escape_ascii()),
                    None => Ok(()),
                }
            }
            Self::Unknown { request } => write!(f, "a message that was not offered: {request}"),
            Self::Length { request, length } => {
                write!(f, "message {request} with a length of {length}")
            }
            Self::Descriptors { request } => write!(f, "message {request} with unfit descriptors"),
            Self::Unread => f.write_str("it does not read the answers"),
            Self::Features(bits) => write!(f, "it chose features not offered: {bits:#x}"),
            Self::Memory(fault) => write!(f, "its memory: {fault}"),
            Self::Ring { index, fault } => write!(f, "its ring {index}: {fault}"),
        }
    }
}

impl fmt::Display for MemoryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "too many regions",
            Self::Range => "a region of an impossible length",
            Self::Overlap => "regions overlap",
            Self::NoFile => "a region is no file",
            Self::BeyondFile => "a region goes beyond the end of its file",
            Self::Unsealed => "a file is not sealed against being shortened",
            Self::Unmappable(kind) => return write!(f, "a region cannot be mapped: {kind}"),
        })
    }
}

impl fmt::Display for RingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is none of that number",
            Self::Size => "its size is no power of two up to 32768",
            Self::Misplaced => "it is not aligned, or not within the memory",
            Self::NoKick => "it has no kick",
            Self::Index => "more descriptors are available than it has",
            Self::Descriptor => "a descriptor that does not exist",
            Self::Chain => "a chain of descriptors without an end",
            Self::Indirect => "an impossible table of indirect descriptors",
            Self::Buffer => "a buffer outside the memory",
        })
    }
}

impl From<MemoryFault> for VhostUserFault {
    fn from(fault: MemoryFault) -> Self {
        Self::Memory(fault)
    }
}
