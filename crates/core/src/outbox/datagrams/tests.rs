//! Which datagrams leave together, which never do, and what the link is told of them.

use std::net::SocketAddr;

use portreeve_wire::packet::IpPacket;

use super::*;

const ALL: LinkOffloads = LinkOffloads { checksum: true, tso4: true, tso6: true, uso: true };

struct Queue {
    datagrams: Datagrams,
    spare: Spare,
}

impl Queue {
    fn new(mtu: u16, link: LinkOffloads) -> Self {
        Self { datagrams: Datagrams::new(mtu, link, 1 << 22, 1), spare: Spare::default() }
    }

    fn udp(&mut self, key: &FlowKey, payload: &[u8]) {
        assert!(self.datagrams.udp(key, [&[], payload], &mut self.spare));
    }

    /// Queues datagrams of these lengths and says how many bytes of payload each packet has.
    fn lengths(&mut self, key: &FlowKey, lengths: &[usize]) -> Vec<(usize, u16)> {
        for length in lengths {
            self.udp(key, &vec![7; *length]);
        }
        self.drain()
            .iter()
            .map(|(ip, written, _)| (ip.payload.len() - UDP_HEADER_LEN, written.offload.gso_size))
            .collect()
    }

    fn drain(&mut self) -> Vec<(IpPacket, Written, Vec<u8>)> {
        let mut out = Vec::new();
        let mut packet = vec![0xee; 65_535];
        while let Some(written) = self.datagrams.poll(&mut packet, &mut self.spare) {
            let packet = packet[..written.length].to_vec();
            let parsed = if written.v6 { IpPacket::parse_v6 } else { IpPacket::parse_v4 };
            out.push((parsed(&packet).unwrap(), written, packet));
        }
        assert!(self.datagrams.is_empty());
        assert_eq!(self.datagrams.room(), 1 << 22);
        out
    }
}

fn flow(v6: bool, guest_port: u16, remote_port: u16) -> FlowKey {
    let (guest, remote) = if v6 { ("fd00::2", "2001:db8::7") } else { ("10.0.2.15", "192.0.2.7") };
    FlowKey::udp(
        SocketAddr::new(guest.parse().unwrap(), guest_port),
        SocketAddr::new(remote.parse().unwrap(), remote_port),
    )
}

fn lengths(v6: bool, mtu: u16, link: LinkOffloads, lengths: &[usize]) -> Vec<(usize, u16)> {
    Queue::new(mtu, link).lengths(&flow(v6, 53, 4000), lengths)
}

#[test]
fn neighbours_of_equal_length_leave_as_one_frame() {
    for (v6, upper) in [(false, 20), (true, 40)] {
        let mut queue = Queue::new(1500, ALL);
        let key = flow(v6, 53, 4000);
        for payload in [b"one", b"two", b"six"] {
            queue.udp(&key, payload);
        }
        let frames = queue.drain();
        let [(ip, written, packet)] = frames.as_slice() else { panic!("{} frames", frames.len()) };
        assert_eq!((ip.source, ip.destination), (key.remote.ip(), key.guest.ip()));
        assert_eq!((ip.protocol, ip.payload.clone()), (Protocol::UDP, upper..upper + 17));
        assert_eq!(&packet[upper + 8..], b"onetwosix");
        assert_eq!(packet[upper..upper + 6], [0x0f, 0xa0, 0, 53, 0, 17]);
        let pseudo = checksum::pseudo_header(ip.source, ip.destination, Protocol::UDP, 17);
        assert_eq!(packet[upper + 6..upper + 8], checksum::fold(pseudo).to_be_bytes());
        let said = VirtioNetHdr {
            needs_csum: true,
            csum_start: 14 + upper as u16,
            csum_offset: 6,
            gso: GsoType::UdpL4,
            gso_size: 3,
            hdr_len: 14 + upper as u16 + 8,
            ..VirtioNetHdr::default()
        };
        assert_eq!(written.offload, said);
    }
}

#[test]
fn only_the_last_may_be_shorter_and_none_empty_or_longer() {
    for v6 in [false, true] {
        let given = |list| lengths(v6, 1500, ALL, list);
        assert_eq!(given(&[64, 64, 10, 64, 64]), [(138, 64), (128, 64)]);
        assert_eq!(given(&[64, 65, 65]), [(64, 0), (130, 65)]);
        assert_eq!(given(&[64, 64, 0, 64]), [(128, 64), (0, 0), (64, 0)]);
        assert_eq!(given(&[0, 0]), [(0, 0), (0, 0)]);
        assert_eq!(given(&[1, 1, 1]), [(3, 1)]);
        assert_eq!(given(&[5, 4, 3, 2]), [(9, 5), (5, 3)]);
    }
}

#[test]
fn a_frame_holds_at_most_64_datagrams_and_65535_bytes() {
    for (v6, headers) in [(false, 28), (true, 48)] {
        assert_eq!(lengths(v6, 1500, ALL, &[10; 130]), [(640, 10), (640, 10), (20, 10)]);
        let largest = 1500 - headers;
        let fitting = (65_535 - headers) / largest;
        let given = lengths(v6, 1500, ALL, &[largest; 64]);
        assert_eq!(given[0], (fitting * largest, largest as u16));
        let sum: usize = given.iter().map(|(length, _)| length).sum();
        assert_eq!(sum, 64 * largest);
        // To the byte: seven of 8,000 and a last one that fills the packet, or does not fit.
        let rest = 65_535 - headers - 8 * 8000;
        let exact = [8000, 8000, 8000, 8000, 8000, 8000, 8000, 8000, rest];
        assert_eq!(lengths(v6, 9000, ALL, &exact), [(65_535 - headers, 8000)]);
        let mut over = exact;
        over[8] += 1;
        assert_eq!(lengths(v6, 9000, ALL, &over), [(64_000, 8000), (rest + 1, 0)]);
    }
}

#[test]
fn what_needs_fragments_travels_alone_and_with_a_complete_checksum() {
    for (v6, largest) in [(false, 1472), (true, 1452)] {
        assert_eq!(lengths(v6, 1500, ALL, &[largest; 2]), [(2 * largest, largest as u16)]);
        let mut queue = Queue::new(1500, ALL);
        let key = flow(v6, 53, 4000);
        for _ in 0..2 {
            queue.udp(&key, &vec![7; largest + 1]);
        }
        let frames = queue.drain();
        assert_eq!(frames.len(), 4);
        let mut whole = Vec::new();
        for (ip, written, packet) in &frames[..2] {
            assert!(ip.fragment.is_some() && written.offload == VirtioNetHdr::default());
            whole.extend_from_slice(&packet[ip.payload.clone()]);
        }
        assert!(checksum::verify(key.remote.ip(), key.guest.ip(), Protocol::UDP, &whole));
    }
}

#[test]
fn other_flows_and_other_protocols_are_not_joined_and_keep_their_place() {
    let mut queue = Queue::new(1500, ALL);
    let (ours, guest_port, remote_port) =
        (flow(false, 53, 4000), flow(false, 54, 4000), flow(false, 53, 4001));
    for (nth, key) in [ours, ours, guest_port, ours, remote_port, remote_port].iter().enumerate() {
        queue.udp(key, &[nth as u8; 2]);
    }
    let (source, destination) = (ours.remote.ip(), ours.guest.ip());
    // Looks like a datagram of the flow, were it not for the protocol.
    let echo = [0x0f, 0xa1, 0, 53, 0, 10, 0, 0, 9, 9];
    for _ in 0..2 {
        queue.datagrams.message(source, destination, Protocol::ICMP, echo.to_vec());
    }
    queue.datagrams.message(source, destination, Protocol::ICMP, vec![1; 4]);
    let payloads: Vec<Vec<u8>> = queue
        .drain()
        .iter()
        .map(|(_, _, packet)| packet[28.min(packet.len())..].to_vec())
        .collect();
    let expected: [&[u8]; 7] =
        [&[0, 0, 1, 1], &[2, 2], &[3, 3], &[4, 4, 5, 5], &[9, 9], &[9, 9], &[]];
    assert_eq!(payloads, expected);
}

#[test]
fn a_link_is_given_only_what_it_offers() {
    let checksum_only = LinkOffloads { checksum: true, ..LinkOffloads::NONE };
    let uso_only = LinkOffloads { uso: true, ..LinkOffloads::NONE };
    for v6 in [false, true] {
        for (link, partial) in
            [(LinkOffloads::NONE, false), (uso_only, false), (checksum_only, true)]
        {
            let mut queue = Queue::new(1500, link);
            for _ in 0..2 {
                queue.udp(&flow(v6, 53, 4000), b"alone");
            }
            let frames = queue.drain();
            assert_eq!(frames.len(), 2);
            for (ip, written, packet) in frames {
                let upper = &packet[ip.payload.clone()];
                assert_eq!(written.offload.gso, GsoType::None);
                assert_eq!(written.offload.needs_csum, partial);
                let complete = checksum::verify(ip.source, ip.destination, Protocol::UDP, upper);
                assert_eq!(complete, !partial);
            }
        }
    }
}
