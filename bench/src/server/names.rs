//! A name server that knows every name: it answers questions for IPv4 addresses with one address
//! that may be kept for long, and all others with nothing. Spec: RFC 1035 §4.

use std::net::{Ipv4Addr, UdpSocket};

use crate::{
    socket::send_batch,
    sys::{BATCH, Inbox},
};

const HEADER: usize = 12;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const TYPE_A: [u8; 2] = [0, 1];

/// Answers for ever.
pub(super) fn serve(socket: &UdpSocket) {
    let mut inbox = Inbox::new();
    let mut answers = Vec::with_capacity(BATCH);
    loop {
        if inbox.receive(socket).is_err() {
            continue;
        }
        answers.clear();
        answers
            .extend(inbox.datagrams().filter_map(|(client, query)| Some((client, answer(query)?))));
        let mut rest = &answers[..];
        while !rest.is_empty() {
            let batch = rest.iter().map(|(client, answer)| (Some(*client), &answer[..]));
            let sent = send_batch(socket, batch).unwrap_or(1).max(1);
            rest = &rest[sent.min(rest.len())..];
        }
    }
}

/// The answer to a query with one question; `None` for anything else.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    if query.len() < HEADER || query[2] & 0x80 != 0 || query[4..6] != [0, 1] {
        return None;
    }
    let mut end = HEADER;
    loop {
        match usize::from(*query.get(end)?) {
            0 => break,
            length @ 1..=63 => end += 1 + length,
            _ => return None,
        }
    }
    let question = query.get(HEADER..end + 5)?;
    let found = question[question.len() - 4..][..2] == TYPE_A;
    let mut answer = Vec::with_capacity(HEADER + question.len() + 16);
    answer.extend_from_slice(&query[..2]);
    // A response, authoritative, recursion as desired and available.
    answer.extend_from_slice(&[0x84 | query[2] & 1, 0x80, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend_from_slice(question);
    if found {
        answer.extend_from_slice(&[0xc0, HEADER as u8]);
        answer.extend_from_slice(&TYPE_A);
        answer.extend_from_slice(&[0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        answer.extend_from_slice(&ADDRESS.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_and_other_bytes_are_not() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03abc\x04test\0\0\x01\0\x01";
        let answer = answer(query).expect("a question");
        assert_eq!(answer[..8], *b"\x12\x34\x85\x80\0\x01\0\x01");
        assert_eq!(answer[12..26], query[12..26]);
        assert_eq!(answer[answer.len() - 4..], [198, 18, 0, 2]);
        assert_eq!(super::answer(&query[..20]), None);
        assert_eq!(super::answer(b""), None);
    }
}
