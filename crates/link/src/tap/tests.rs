//! TAPs against the kernel's stack, each in a network namespace of its own.

use super::*;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::MAX_FRAME_LEN;
use crate::sys::test_interface::{
    delete, hardware_address, in_fresh_namespace, set_down, set_up, skip,
};

const KERNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NEIGHBOUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ETHERTYPE_ARP: [u8; 2] = [8, 6];
const ETHERTYPE_IPV4: [u8; 2] = [8, 0];

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(|_| ()).expect_err("an error is due").kind()
}

/// A TAP whose interface is up and has an address, unless this machine has no TAP at all.
fn kernel_guest(test: impl FnOnce(Tap) + Send + 'static) {
    in_fresh_namespace(|| {
        if let Some(tap) = available(Tap::create(None, &TapOptions::default())) {
            set_up(tap.name(), KERNEL).unwrap();
            test(tap);
        }
    });
}

fn available(result: Result<Tap, TapError>) -> Option<Tap> {
    match result {
        Ok(tap) => Some(tap),
        Err(error)
            if matches!(error.cause(), TapCause::DeviceMissing | TapCause::DeviceForbidden) =>
        {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error} ({})", error.help().unwrap_or_default()),
    }
}

/// The next frame with this Ethernet type, within ten seconds; others (the kernel's own
/// multicast) are passed over.
fn next_frame(tap: &mut Tap, ethertype: [u8; 2]) -> (VirtioNetHdr, Vec<u8>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut buf = vec![0; MAX_FRAME_LEN];
    loop {
        match tap.receive(&mut buf) {
            Ok(length) => {
                let header = VirtioNetHdr::parse(&buf).expect("a header that can be read");
                let frame = &buf[VIRTIO_NET_HDR_LEN..length];
                if frame[12..14] == ethertype {
                    return (header, frame.to_vec());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "no frame of type {ethertype:?}");
                let fd = tap.event_fd();
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&second)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn framed(header: VirtioNetHdr, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; VIRTIO_NET_HDR_LEN];
    header.emit(&mut bytes);
    bytes.extend_from_slice(frame);
    bytes
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// An IPv4 frame from the neighbour to the kernel with a UDP datagram whose checksum field holds
/// what `checksum` makes of the pseudo-header's sum and the datagram.
fn udp_frame(
    to: [u8; 6],
    port: u16,
    payload: &[u8],
    checksum: impl Fn(u32, &[u8]) -> u16,
) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut udp = Vec::new();
    udp.extend(4000u16.to_be_bytes());
    udp.extend(port.to_be_bytes());
    udp.extend(length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let pseudo = sum(&NEIGHBOUR.octets()) + sum(&KERNEL.octets()) + 17 + u32::from(length);
    let value = checksum(pseudo, &udp);
    udp[6..8].copy_from_slice(&value.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + length).to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    ip.extend(NEIGHBOUR.octets());
    ip.extend(KERNEL.octets());
    let header_sum = !fold(sum(&ip));
    ip[10..12].copy_from_slice(&header_sum.to_be_bytes());
    let mut frame = Vec::new();
    frame.extend(to);
    frame.extend(NEIGHBOUR_MAC);
    frame.extend(ETHERTYPE_IPV4);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// Answers the kernel's ARP request for the neighbour.
fn answer_arp(tap: &mut Tap) {
    let (_, request) = next_frame(tap, ETHERTYPE_ARP);
    assert_eq!(request[20..22], [0, 1], "a request");
    assert_eq!(request[38..42], NEIGHBOUR.octets(), "for the neighbour");
    let mut reply = request.clone();
    reply[..6].copy_from_slice(&request[6..12]);
    reply[6..12].copy_from_slice(&NEIGHBOUR_MAC);
    reply[20..22].copy_from_slice(&[0, 2]);
    reply[22..28].copy_from_slice(&NEIGHBOUR_MAC);
    reply[28..32].copy_from_slice(&NEIGHBOUR.octets());
    reply[32..42].copy_from_slice(&request[22..32]);
    tap.send(&framed(VirtioNetHdr::default(), &reply)).unwrap();
}

#[test]
fn frames_cross_and_checksums_are_left_to_us() {
    kernel_guest(|mut tap| {
        assert!(tap.capabilities().checksum_offload && tap.capabilities().tso6);
        let socket = UdpSocket::bind((KERNEL, 0)).unwrap();
        socket.send_to(b"to the guest's neighbour", (NEIGHBOUR, 4000)).unwrap();
        answer_arp(&mut tap);
        let (header, frame) = next_frame(&mut tap, ETHERTYPE_IPV4);
        assert!(frame.ends_with(b"to the guest's neighbour"));
        assert_eq!(frame[..6], NEIGHBOUR_MAC);
        assert!(header.needs_csum, "{header:?}");
        assert_eq!((header.csum_start, header.csum_offset), (34, 6), "little endian");
        assert_eq!(kind(tap.receive(&mut [0; 100])), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn partial_checksums_and_super_segments_are_finished_by_the_kernel() {
    kernel_guest(|mut tap| {
        let socket = UdpSocket::bind((KERNEL, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mac = hardware_address(tap.name()).unwrap();
        let mut buf = [0; 2048];

        let wrong = udp_frame(mac, port, b"wrong", |_, _| 0x1234);
        tap.send(&framed(VirtioNetHdr::default(), &wrong)).unwrap();
        let complete = udp_frame(mac, port, b"complete", |pseudo, udp| !fold(pseudo + sum(udp)));
        tap.send(&framed(VirtioNetHdr::default(), &complete)).unwrap();
        let length = socket.recv(&mut buf).unwrap();
        assert_eq!(&buf[..length], b"complete", "the wrong checksum was dropped");

        let partial = udp_frame(mac, port, b"partial", |pseudo, _| fold(pseudo));
        let header = VirtioNetHdr {
            needs_csum: true,
            csum_start: 34,
            csum_offset: 6,
            ..VirtioNetHdr::default()
        };
        tap.send(&framed(header, &partial)).unwrap();
        let length = socket.recv(&mut buf).unwrap();
        assert_eq!(&buf[..length], b"partial");

        if !tap.capabilities().uso {
            skip("the kernel has no USO: super-segments are not tried");
            return;
        }
        let payload: Vec<u8> = (0..4000).map(|at: u32| at.to_le_bytes()[0]).collect();
        let train = udp_frame(mac, port, &payload, |pseudo, _| fold(pseudo));
        let gso = VirtioNetHdr { gso: GsoType::UdpL4, gso_size: 1000, hdr_len: 42, ..header };
        tap.send(&framed(gso, &train)).unwrap();
        for piece in payload.chunks(1000) {
            let length = socket.recv(&mut buf).unwrap();
            assert_eq!(&buf[..length], piece);
        }
    });
}

#[test]
fn a_taken_over_queue_works_with_and_without_header() {
    in_fresh_namespace(|| {
        let Some(made) = available(Tap::create(Some("given0"), &TapOptions::default())) else {
            return;
        };
        let tap = Tap::from_fd(made.into_fd()).unwrap().with_mtu(9000);
        assert_eq!(tap.name(), "given0");
        assert!(tap.capabilities().tso4);
        assert_eq!(tap.capabilities().mtu, 9000);

        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let bare = rustix::fs::open(DEVICE, flags, Mode::empty()).unwrap();
        tun::set_interface(bare.as_fd(), "bare0", libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
        let mut tap = Tap::from_fd(bare).unwrap();
        assert!(!tap.capabilities().checksum_offload && !tap.capabilities().tso4);
        set_up(tap.name(), KERNEL).unwrap();
        let socket = UdpSocket::bind((KERNEL, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.send_to(b"outward", (NEIGHBOUR, 4000)).unwrap();
        answer_arp(&mut tap);
        let (header, frame) = next_frame(&mut tap, ETHERTYPE_IPV4);
        assert_eq!(header, VirtioNetHdr::default());
        assert!(frame.ends_with(b"outward"));
        let pseudo = sum(&frame[26..34]) + 17 + u32::try_from(frame.len() - 34).unwrap();
        assert_eq!(fold(pseudo + sum(&frame[34..])), 0xffff, "the checksum is complete");

        let mac = hardware_address(tap.name()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let inward = udp_frame(mac, port, b"inward", |pseudo, udp| !fold(pseudo + sum(udp)));
        tap.send(&framed(VirtioNetHdr::default(), &inward)).unwrap();
        let mut buf = [0; 100];
        let length = socket.recv(&mut buf).unwrap();
        assert_eq!(&buf[..length], b"inward");
        let unfinished = VirtioNetHdr { needs_csum: true, ..VirtioNetHdr::default() };
        assert_eq!(kind(tap.send(&framed(unfinished, &inward))), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn malformed_frames_are_refused_and_the_link_lives() {
    kernel_guest(|mut tap| {
        assert_eq!(kind(tap.send(&[])), io::ErrorKind::InvalidInput);
        assert_eq!(kind(tap.send(&[0; 25])), io::ErrorKind::InvalidInput);
        let unknown = [&[0, 3][..], &[0; 100]].concat();
        assert_eq!(kind(tap.send(&unknown)), io::ErrorKind::InvalidInput);
        let beyond =
            VirtioNetHdr { needs_csum: true, csum_start: 60_000, ..VirtioNetHdr::default() };
        assert_eq!(kind(tap.send(&framed(beyond, &[0; 60]))), io::ErrorKind::InvalidInput);
        assert_eq!(kind(tap.receive(&mut [0; 25])), io::ErrorKind::InvalidInput);
        tap.send(&framed(VirtioNetHdr::default(), &[0; 60])).unwrap();
    });
}

#[test]
fn an_interface_set_down_says_so_and_comes_back() {
    kernel_guest(|mut tap| {
        let frame = framed(VirtioNetHdr::default(), &[0; 60]);
        set_down(tap.name()).unwrap();
        assert_eq!(kind(tap.send(&frame)), io::ErrorKind::NetworkDown);
        set_up(tap.name(), KERNEL).unwrap();
        tap.send(&frame).unwrap();
    });
}

#[test]
fn a_deleted_interface_breaks_the_link() {
    kernel_guest(|mut tap| {
        delete(tap.name()).unwrap();
        let fd = tap.event_fd();
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        let woken = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit));
        assert_eq!(woken, Ok(1));
        assert_eq!(kind(tap.receive(&mut [0; 2000])), io::ErrorKind::BrokenPipe);
        let frame = framed(VirtioNetHdr::default(), &[0; 60]);
        assert_eq!(kind(tap.send(&frame)), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_name_in_use_and_a_name_too_long_are_told_apart() {
    in_fresh_namespace(|| {
        let Some(first) = available(Tap::create(Some("pr-test0"), &TapOptions::default())) else {
            return;
        };
        assert_eq!(first.name(), "pr-test0");
        let busy = Tap::create(Some("pr-test0"), &TapOptions::default()).unwrap_err();
        assert_eq!(busy.cause(), TapCause::Busy);
        assert_eq!(busy.operation(), "TUNSETIFF");
        assert!(busy.help().is_some());
        for name in ["sixteen-bytes-16", "a/b", "lo"] {
            let bad = Tap::create(Some(name), &TapOptions::default()).unwrap_err();
            assert_eq!(bad.cause(), TapCause::BadName, "{name}");
        }
        drop(first);
        Tap::create(Some("pr-test0"), &TapOptions::default()).unwrap();
    });
}

#[test]
fn several_queues_join_one_interface() {
    in_fresh_namespace(|| {
        let options = TapOptions { multi_queue: true, ..TapOptions::default() };
        let Some(first) = available(Tap::create(Some("queues0"), &options)) else { return };
        let second = Tap::create(Some("queues0"), &options).unwrap();
        assert_eq!(first.name(), second.name());
        let single = Tap::create(Some("queues0"), &TapOptions::default()).unwrap_err();
        assert_eq!(single.cause(), TapCause::BadName);
    });
}

#[test]
fn offloads_can_be_left_out() {
    in_fresh_namespace(|| {
        let options = TapOptions { offloads: false, mtu: 1400, ..TapOptions::default() };
        let Some(mut tap) = available(Tap::create(None, &options)) else { return };
        assert_eq!(tap.capabilities(), finished_only(1400));
        let super_segment =
            VirtioNetHdr { gso: GsoType::Tcp4, gso_size: 1000, ..VirtioNetHdr::default() };
        let refused = tap.send(&framed(super_segment, &[0; 4000]));
        assert_eq!(kind(refused), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn what_is_no_attached_tap_is_refused() {
    let file = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let error = Tap::from_fd(file.unwrap()).unwrap_err();
    assert_eq!(error.cause(), TapCause::NotATap);
    assert_eq!(error.operation(), "TUNGETIFF");

    in_fresh_namespace(|| {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let Ok(unattached) = rustix::fs::open(DEVICE, flags, Mode::empty()) else {
            skip("no /dev/net/tun");
            return;
        };
        let error = Tap::from_fd(unattached).unwrap_err();
        assert_eq!(error.cause(), TapCause::NotATap);

        let layer3 = rustix::fs::open(DEVICE, flags, Mode::empty()).unwrap();
        tun::set_interface(layer3.as_fd(), "", libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
        assert_eq!(Tap::from_fd(layer3).unwrap_err().cause(), TapCause::NotATap);

        let informed = rustix::fs::open(DEVICE, flags, Mode::empty()).unwrap();
        tun::set_interface(informed.as_fd(), "", libc::IFF_TAP).unwrap();
        let error = Tap::from_fd(informed).unwrap_err();
        assert_eq!(error.cause(), TapCause::PacketInformation);
    });
}
