//! The socket over which a front end speaks.
//!
//! Owns the bytes of a message that has come in part, the descriptors with it, and sending answers;
//! never waits. Reads no further than the message's end, so that descriptors stay with theirs.
//!
//! Spec: unix(7), `SCM_RIGHTS`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use super::fault::VhostUserFault;
use super::message::{HEADER_LEN, Header, MAX_BODY, MAX_REGIONS, Message};
use crate::connection::{Halt, halted};
use crate::event::GoneCause;
use crate::stream::send_slices;

#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
    message: Box<[u8]>,
    arrived: usize,
    descriptors: Vec<OwnedFd>,
}

/// A message, with what came along.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) header: Header,
    pub(crate) message: Message,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Channel {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let message = vec![0; HEADER_LEN + MAX_BODY].into();
        Self { fd, message, arrived: 0, descriptors: Vec::new() }
    }

    /// The next message, if it is there as a whole.
    pub(crate) fn receive(&mut self) -> Result<Received, Halt> {
        loop {
            let header = match self.message.first_chunk() {
                Some(bytes) if self.arrived >= HEADER_LEN => Some(Header::parse(bytes)),
                _ => None,
            };
            let header = header.transpose().map_err(fault)?;
            let length = HEADER_LEN + header.map_or(0, |header| header.length as usize);
            if let Some(header) = header
                && self.arrived == length
            {
                self.arrived = 0;
                let descriptors = std::mem::take(&mut self.descriptors);
                let message = Message::parse(&header, &self.message[HEADER_LEN..length]);
                let message = message.map_err(fault)?;
                let (least, most) = message.descriptors();
                if descriptors.len() < least || descriptors.len() > most {
                    return Err(unfit(header.request));
                }
                return Ok(Received { header, message, descriptors });
            }
            self.read(length)?;
        }
    }

    /// Answers a message. Who does not read the answers has no room for one at some time.
    pub(crate) fn reply(&self, header: Header, body: &[u8]) -> Result<(), Halt> {
        let reply = header.reply(body);
        match send_slices(self.fd.as_fd(), &[IoSlice::new(&reply)]) {
            Ok(sent) if sent == reply.len() => Ok(()),
            Ok(_) | Err(Halt::Again | Halt::NoBuffers) => Err(fault(VhostUserFault::Unread)),
            Err(halt) => Err(halt),
        }
    }

    fn read(&mut self, end: usize) -> Result<(), Halt> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_REGIONS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut self.message[self.arrived..end])];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            match rustix::net::recvmsg(&self.fd, &mut slices, &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                received => break received.map_err(halted)?,
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.bytes == 0 {
            return Err(Halt::Gone(GoneCause::Closed));
        }
        self.arrived += received.bytes;
        let cut = received.flags.contains(ReturnFlags::CTRUNC);
        if cut || self.descriptors.len() > MAX_REGIONS {
            let request = self.message.first_chunk().copied().map_or(0, u32::from_ne_bytes);
            return Err(unfit(request));
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn fault(fault: VhostUserFault) -> Halt {
    Halt::Gone(GoneCause::VhostUser(fault))
}

fn unfit(request: u32) -> Halt {
    fault(VhostUserFault::Descriptors { request })
}
