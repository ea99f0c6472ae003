//! Messages of a front end.
//!
//! Owns their form: header, body, how many descriptors come along. Front ends differ in the order
//! in which they speak, and each order is one: what a message means now is for `session.rs`.
//!
//! Spec: `docs/interop/vhost-user.rst` of QEMU. Integers are in the host's byte order.

use super::fault::VhostUserFault;

/// Length of a message's header.
pub(crate) const HEADER_LEN: usize = 12;
/// The most regions of memory there may be.
pub(crate) const MAX_REGIONS: usize = 32;
/// The longest body: a table of memory.
pub(crate) const MAX_BODY: usize = 8 + REGION_LEN * MAX_REGIONS;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) request: u32,
    pub(crate) wants_reply: bool,
    pub(crate) length: u32,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, VhostUserFault> {
        let [request, flags, length] = [0, 4, 8].map(|at| word(bytes, at).unwrap_or_default());
        let version = flags & VERSION_MASK == VERSION && flags & FLAG_REPLY == 0;
        if !version {
            let text = bytes.first_chunk::<4>().copied();
            let readable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
            let text = text.filter(|text| text.iter().all(readable));
            return Err(VhostUserFault::NoMessage { text });
        }
        if length as usize > MAX_BODY {
            return Err(VhostUserFault::Length { request, length });
        }
        Ok(Self { request, wants_reply: flags & FLAG_NEED_REPLY != 0, length })
    }

    /// The answer to a message, whole.
    pub(crate) fn reply(self, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap_or_default();
        let words = [self.request, VERSION | FLAG_REPLY, length].map(u32::to_ne_bytes);
        [words.as_flattened(), body].concat()
    }
}

/// A region of the guest's memory: where the guest has it, where the front end has it, and where it
/// is in the file that came along.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Region {
    pub(crate) guest: u64,
    pub(crate) length: u64,
    pub(crate) user: u64,
    pub(crate) offset: u64,
}

/// Where the parts of a ring are, as addresses of the front end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RingAddresses {
    pub(crate) descriptors: u64,
    pub(crate) used: u64,
    pub(crate) available: u64,
}

/// What a front end says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Message {
    GetFeatures,
    SetFeatures(u64),
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueCount,
    GetMaxRegions,
    SetMemory(Vec<Region>),
    AddMemory(Region),
    RemoveMemory(Region),
    SetRingSize {
        index: u32,
        size: u32,
    },
    SetRingAddresses {
        index: u32,
        addresses: RingAddresses,
    },
    SetRingBase {
        index: u32,
        base: u32,
    },
    GetRingBase {
        index: u32,
    },
    EnableRing {
        index: u32,
        enable: bool,
    },
    /// Whether a descriptor comes along.
    SetKick {
        index: u32,
        given: bool,
    },
    SetCall {
        index: u32,
        given: bool,
    },
    SetError {
        index: u32,
        given: bool,
    },
    SetMtu(u64),
    SetBackEndChannel,
    ResetOwner,
    /// Known, and nothing to do.
    Nothing,
}

impl Message {
    pub(crate) fn parse(header: &Header, body: &[u8]) -> Result<Self, VhostUserFault> {
        let request = header.request;
        let fault = || VhostUserFault::Length { request, length: header.length };
        let exactly = |length| if body.len() == length { Ok(()) } else { Err(fault()) };
        let number = || exactly(8).and_then(|()| long(body, 0).ok_or_else(fault));
        let pair = || {
            exactly(8)?;
            word(body, 0).zip(word(body, 4)).ok_or_else(fault)
        };
        let file = || number().map(|word| ((word & RING_MASK) as u32, word & NO_FILE == 0));
        let single = || {
            exactly(8 + REGION_LEN)?;
            region(body, 8).ok_or_else(fault)
        };
        Ok(match request {
            request::GET_FEATURES => exactly(0).map(|()| Self::GetFeatures)?,
            request::SET_FEATURES => Self::SetFeatures(number()?),
            request::SET_OWNER => exactly(0).map(|()| Self::Nothing)?,
            request::RESET_OWNER => exactly(0).map(|()| Self::ResetOwner)?,
            request::SET_MEM_TABLE => Self::SetMemory(regions(body).ok_or_else(fault)?),
            // Logging is not offered, and some front ends ask for it nevertheless.
            request::SET_LOG_BASE | request::SET_LOG_FD => Self::Nothing,
            request::SET_VRING_NUM => {
                let (index, size) = pair()?;
                Self::SetRingSize { index, size }
            }
            request::SET_VRING_ADDR => {
                exactly(40)?;
                let index = word(body, 0).ok_or_else(fault)?;
                let at = |at| long(body, at).ok_or_else(fault);
                let addresses =
                    RingAddresses { descriptors: at(8)?, used: at(16)?, available: at(24)? };
                Self::SetRingAddresses { index, addresses }
            }
            request::SET_VRING_BASE => {
                let (index, base) = pair()?;
                Self::SetRingBase { index, base }
            }
            request::GET_VRING_BASE => Self::GetRingBase { index: pair()?.0 },
            request::SET_VRING_KICK => {
                let (index, given) = file()?;
                Self::SetKick { index, given }
            }
            request::SET_VRING_CALL => {
                let (index, given) = file()?;
                Self::SetCall { index, given }
            }
            request::SET_VRING_ERR => {
                let (index, given) = file()?;
                Self::SetError { index, given }
            }
            request::GET_PROTOCOL_FEATURES => exactly(0).map(|()| Self::GetProtocolFeatures)?,
            request::SET_PROTOCOL_FEATURES => Self::SetProtocolFeatures(number()?),
            request::GET_QUEUE_NUM => exactly(0).map(|()| Self::GetQueueCount)?,
            request::SET_VRING_ENABLE => {
                let (index, enable) = pair()?;
                Self::EnableRing { index, enable: enable != 0 }
            }
            request::NET_SET_MTU => Self::SetMtu(number()?),
            request::SET_BACKEND_REQ_FD => exactly(0).map(|()| Self::SetBackEndChannel)?,
            request::GET_MAX_MEM_SLOTS => exactly(0).map(|()| Self::GetMaxRegions)?,
            request::ADD_MEM_REG => Self::AddMemory(single()?),
            request::REM_MEM_REG => Self::RemoveMemory(single()?),
            _ => return Err(VhostUserFault::Unknown { request }),
        })
    }

    /// How many descriptors come along: at least, at most.
    pub(crate) fn descriptors(&self) -> (usize, usize) {
        match self {
            Self::SetMemory(regions) => (regions.len(), regions.len()),
            Self::SetKick { given, .. }
            | Self::SetCall { given, .. }
            | Self::SetError { given, .. } => (usize::from(*given), usize::from(*given)),
            Self::AddMemory(_) | Self::SetBackEndChannel => (1, 1),
            // Nothing needs it, and QEMU sends one.
            Self::RemoveMemory(_) | Self::Nothing => (0, 1),
            _ => (0, 0),
        }
    }
}

/// A table may be longer than its regions: User-Mode Linux always sends room for two.
fn regions(body: &[u8]) -> Option<Vec<Region>> {
    let count = word(body, 0)? as usize;
    (count <= MAX_REGIONS)
        .then(|| (0..count).map(|at| region(body, 8 + at * REGION_LEN)))?
        .collect()
}

fn region(body: &[u8], at: usize) -> Option<Region> {
    Some(Region {
        guest: long(body, at)?,
        length: long(body, at + 8)?,
        user: long(body, at + 16)?,
        offset: long(body, at + 24)?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

mod request {
    pub(super) const GET_FEATURES: u32 = 1;
    pub(super) const SET_FEATURES: u32 = 2;
    pub(super) const SET_OWNER: u32 = 3;
    pub(super) const RESET_OWNER: u32 = 4;
    pub(super) const SET_MEM_TABLE: u32 = 5;
    pub(super) const SET_LOG_BASE: u32 = 6;
    pub(super) const SET_LOG_FD: u32 = 7;
    pub(super) const SET_VRING_NUM: u32 = 8;
    pub(super) const SET_VRING_ADDR: u32 = 9;
    pub(super) const SET_VRING_BASE: u32 = 10;
    pub(super) const GET_VRING_BASE: u32 = 11;
    pub(super) const SET_VRING_KICK: u32 = 12;
    pub(super) const SET_VRING_CALL: u32 = 13;
    pub(super) const SET_VRING_ERR: u32 = 14;
    pub(super) const GET_PROTOCOL_FEATURES: u32 = 15;
    pub(super) const SET_PROTOCOL_FEATURES: u32 = 16;
    pub(super) const GET_QUEUE_NUM: u32 = 17;
    pub(super) const SET_VRING_ENABLE: u32 = 18;
    pub(super) const NET_SET_MTU: u32 = 20;
    pub(super) const SET_BACKEND_REQ_FD: u32 = 21;
    pub(super) const GET_MAX_MEM_SLOTS: u32 = 36;
    pub(super) const ADD_MEM_REG: u32 = 37;
    pub(super) const REM_MEM_REG: u32 = 38;
}

const REGION_LEN: usize = 32;
const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const FLAG_REPLY: u32 = 1 << 2;
const FLAG_NEED_REPLY: u32 = 1 << 3;
const RING_MASK: u64 = 0xff;
/// A kick, call or error without a descriptor.
const NO_FILE: u64 = 1 << 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(words: [u32; 3]) -> Result<Header, VhostUserFault> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Header::parse(bytes.first_chunk().unwrap())
    }

    #[test]
    fn a_header_tells_a_wrong_peer() {
        assert_eq!(header([1, 9, 8]), Ok(Header { request: 1, wants_reply: true, length: 8 }));
        assert_eq!(header([1, 2, 0]), Err(VhostUserFault::NoMessage { text: None }));
        assert_eq!(header([1, 5, 0]), Err(VhostUserFault::NoMessage { text: None }));
        let length = MAX_BODY as u32 + 1;
        assert_eq!(header([5, 1, length]), Err(VhostUserFault::Length { request: 5, length }));
        assert_eq!(
            Header::parse(b"GET / HTTP/1").unwrap_err().to_string(),
            "it does not speak vhost-user (it begins with \"GET \": text?)"
        );
    }

    #[test]
    fn a_table_may_have_room_behind_its_regions_but_not_less() {
        let body = |count: u64, length| {
            let mut body = count.to_ne_bytes().to_vec();
            body.extend((1..=8u64).flat_map(u64::to_ne_bytes));
            body.truncate(length);
            let header = Header { request: 5, wants_reply: false, length: body.len() as u32 };
            Message::parse(&header, &body)
        };
        let one = Region { guest: 1, length: 2, user: 3, offset: 4 };
        let two = Region { guest: 5, length: 6, user: 7, offset: 8 };
        assert_eq!(body(1, 72), Ok(Message::SetMemory(vec![one])));
        assert_eq!(body(1, 40), Ok(Message::SetMemory(vec![one])));
        assert_eq!(body(2, 72), Ok(Message::SetMemory(vec![one, two])));
        assert_eq!(body(0, 8), Ok(Message::SetMemory(vec![])));
        assert!(body(2, 71).is_err() && body(3, 72).is_err() && body(0, 3).is_err());
        assert!(body(u64::MAX, 72).is_err());
    }

    #[test]
    fn lengths_are_those_of_the_kind() {
        for request in (0..64).filter(|request| ![5, 6, 7].contains(request)) {
            let fits = |length: usize| {
                let header = Header { request, wants_reply: false, length: length as u32 };
                Message::parse(&header, &vec![0; length]).is_ok()
            };
            assert!((0..=MAX_BODY).filter(|length| fits(*length)).count() <= 1, "{request}");
        }
    }
}
