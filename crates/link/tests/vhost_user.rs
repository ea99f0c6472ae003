//! vhost-user, against a front end of our own that speaks in the order of each that exists, with
//! what QEMU's and Linux' drivers choose and with what older ones do.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[path = "support/front_end.rs"]
mod front_end;
mod support;

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use front_end::{DATA, FrontEnd, Memory, Order, feature, pair, request};
use portreeve_link::{GoneCause, Link, VhostUserLink, VhostUserOptions, vhost_user};
use portreeve_wire::{GsoType, VirtioNetHdr, checksum};
use proptest::prelude::*;
use support::{HEADER, Shell, Told, frame, kind, place, with_header};

const ORDERS: [Order; 3] = [Order::Qemu, Order::Dpdk, Order::Uml];

/// A front end that is connected and has said nothing.
fn connected(options: &VhostUserOptions) -> (Shell<VhostUserLink>, FrontEnd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let link = vhost_user::from_fd(ours.into(), options).unwrap();
    (Shell::new(link), FrontEnd::over(theirs))
}

/// A device that runs, with one pair of rings.
fn running(order: Order, features: u64, size: u16) -> (Shell<VhostUserLink>, FrontEnd) {
    let (mut shell, mut front) = connected(&VhostUserOptions::default());
    front.set_up(&mut shell, order, features, 2, size);
    (shell, front)
}

fn to_guest(shell: &mut Shell<VhostUserLink>, bytes: &[u8]) {
    shell.link.send(bytes).unwrap();
    shell.link.flush();
}

#[test]
fn frames_go_both_ways_whatever_the_order_and_the_features() {
    let legacy = feature::PROTOCOL;
    let v1 = feature::PROTOCOL | feature::VERSION_1;
    for order in ORDERS {
        for features in [feature::LINUX, v1, v1 | feature::EVENT_IDX, legacy] {
            let (mut shell, mut front) = running(order, features, 64);
            front.refill(0, 4096);
            for number in 0..200 {
                let length = 60 + number * 7;
                front.send(0, &frame(number, length), 512);
                assert_eq!(shell.frame(), frame(number, length));
                let chain = front.ring_from_guest(0).take().expect("it is given back at once");
                assert_eq!(chain.1, 0);
                to_guest(&mut shell, &with_header(&frame(number, length)));
                let got = front.receive(0, 4096).expect("it is shown at once");
                assert_eq!(got[front.header_len()..], frame(number, length));
                front.refill(0, 4096);
            }
            shell.silent_now();
        }
    }
}

#[test]
fn a_front_end_may_also_have_no_features_of_the_protocol() {
    let (mut shell, mut front) = connected(&VhostUserOptions::default());
    front.features = feature::VERSION_1;
    front.set_up(&mut shell, Order::Dpdk, feature::VERSION_1, 2, 16);
    front.send(0, &frame(1, 100), 4096);
    assert_eq!(shell.frame(), frame(1, 100));
    // Asked for once it is enabled, and only then.
    front.say(request::SET_VRING_ENABLE, &pair(0, 0), &[]);
    shell.edge(Duration::from_secs(5));
    shell.drain();
    front.refill(0, 4096);
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 100)))), ErrorKind::NotConnected);
}

/// The largest frame there is, over buffers of a page, and in pieces as a driver has them.
#[test]
fn super_segments_are_spread_over_buffers_and_gathered() {
    let (mut shell, mut front) = running(Order::Qemu, feature::LINUX, 128);
    front.refill(0, 4096);
    let (large, header) = tcp4(65_000, 1448);
    to_guest(&mut shell, &large);
    let got = front.receive(0, 4096).unwrap();
    assert_eq!(got.len(), large.len());
    assert_eq!(u16::from_le_bytes([got[10], got[11]]), large.len().div_ceil(4096) as u16);
    assert_eq!(got[..10], large[..10], "{header:?}");
    assert_eq!(got[12..], large[12..]);
    front.refill(0, 4096);

    for piece in [4096, 1500, 65_550] {
        front.send(0, &frame(9, 65_550), piece);
        assert_eq!(shell.frame(), frame(9, 65_550));
        front.ring_from_guest(0).take().unwrap();
    }
    // Longer than any frame: given back, and counted.
    front.send(0, &frame(1, 70_000), 4096);
    front.send(0, &[], 4096);
    front.send(0, &frame(2, 60), 4096);
    assert_eq!(shell.frame(), frame(2, 60));
    assert_eq!(shell.link.discarded(), 2);
}

/// What a driver without MRG_RXBUF makes available: chains that hold the largest frame.
#[test]
fn a_frame_goes_into_one_chain_where_buffers_are_not_merged() {
    let features = feature::LINUX & !feature::MRG_RXBUF;
    let (mut shell, mut front) = running(Order::Qemu, features, 64);
    let queue = front.ring_to_guest(0);
    let chain = |number: u64| {
        let at = DATA + (number << 17);
        [(at, 12, true), (at + 12, 40_000, true), (at + 40_012, 30_000, true)]
    };
    queue.offer(&[(DATA + (9 << 17), 100, true)]);
    queue.offer(&chain(0));
    queue.publish();
    let (large, _) = tcp4(65_000, 1448);
    assert_eq!(kind(shell.link.send(&large)), ErrorKind::InvalidInput, "too long for the first");
    to_guest(&mut shell, &with_header(&frame(1, 60)));
    to_guest(&mut shell, &large);
    let queue = front.ring_to_guest(0);
    assert_eq!(queue.take().unwrap().1, 72);
    assert_eq!(queue.take().unwrap().1 as usize, large.len());
    let got = front.memory.read(DATA, large.len());
    assert_eq!(got[12..], large[12..]);
    assert_eq!(got[10..12], [1, 0]);
}

/// The caller never has to know what the guest takes.
#[test]
fn a_guest_that_takes_nothing_unfinished_gets_it_cut_and_summed() {
    let features = feature::PROTOCOL | feature::VERSION_1;
    for (large, header) in [tcp4(5000, 1000), tcp6(5001, 1000), udp4(3500, 1000), udp6(4000, 1000)]
    {
        let (mut shell, mut front) = running(Order::Dpdk, features, 4);
        front.refill(0, 4096);
        let tcp = header.gso != GsoType::UdpL4;
        let fixed = usize::from(header.csum_start) + if tcp { 20 } else { 8 };
        let payload = &large[HEADER + fixed..];
        to_guest(&mut shell, &large);
        let (mut got, mut number) = (Vec::new(), 0);
        while got.len() < payload.len() {
            let Some(piece) = front.receive(0, 4096) else {
                // A ring of four has no room for all: the rest follows when it has.
                assert_eq!(kind(shell.link.send(&large)), ErrorKind::WouldBlock);
                front.refill(0, 4096);
                assert!(shell.edge(Duration::from_secs(5)), "room is an edge");
                shell.drain();
                continue;
            };
            assert_eq!(piece[..10], [0; 10]);
            let content = &piece[HEADER..];
            check(content, &header);
            if tcp {
                let last = got.len() + content.len() - fixed == payload.len();
                let flags = content[usize::from(header.csum_start) + 13];
                assert_eq!(flags & 0x09, if last { 0x09 } else { 0 }, "FIN and PSH are the last's");
                assert_eq!(flags & 0x80, if number == 0 { 0x80 } else { 0 }, "CWR is the first's");
            }
            got.extend_from_slice(&content[fixed..]);
            number += 1;
        }
        assert_eq!(got, payload);
        assert_eq!(number, payload.len().div_ceil(1000));
    }
}

/// Lengths and checksums of a piece.
fn check(content: &[u8], header: &VirtioNetHdr) {
    let transport = usize::from(header.csum_start);
    let word = |at: usize| usize::from(u16::from_be_bytes([content[at], content[at + 1]]));
    let (source, destination, protocol) = if content[12] == 8 {
        assert_eq!(checksum::finish(checksum::sum(&content[14..transport])), 0, "IP header");
        assert_eq!(word(16), content.len() - 14);
        let at = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&content[at..at + 4]).unwrap());
        (at(26), at(30), content[23])
    } else {
        assert_eq!(word(18), content.len() - 54);
        let at = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&content[at..at + 16]).unwrap());
        (at(22), at(38), content[20])
    };
    assert!(checksum::verify(source, destination, protocol, &content[transport..]));
    if protocol == 17 {
        assert_eq!(word(transport + 4), content.len() - transport);
    }
}

fn tcp4(length: usize, size: u16) -> (Vec<u8>, VirtioNetHdr) {
    large(false, true, length, size)
}

fn tcp6(length: usize, size: u16) -> (Vec<u8>, VirtioNetHdr) {
    large(true, true, length, size)
}

fn udp4(length: usize, size: u16) -> (Vec<u8>, VirtioNetHdr) {
    large(false, false, length, size)
}

fn udp6(length: usize, size: u16) -> (Vec<u8>, VirtioNetHdr) {
    large(true, false, length, size)
}

/// A super-segment as the engine makes it.
fn large(ipv6: bool, tcp: bool, length: usize, size: u16) -> (Vec<u8>, VirtioNetHdr) {
    let (ip, fixed) = (if ipv6 { 40 } else { 20 }, if tcp { 20 } else { 8 });
    let transport = 14 + ip;
    let mut frame = frame(3, transport + fixed + length);
    let gso = match (tcp, ipv6) {
        (true, false) => GsoType::Tcp4,
        (true, true) => GsoType::Tcp6,
        (false, _) => GsoType::UdpL4,
    };
    let header = VirtioNetHdr {
        needs_csum: true,
        gso,
        hdr_len: (transport + fixed) as u16,
        gso_size: size,
        csum_start: transport as u16,
        csum_offset: if tcp { 16 } else { 6 },
        ..VirtioNetHdr::default()
    };
    let protocol = if tcp { 6 } else { 17 };
    if ipv6 {
        frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        frame[20] = protocol;
    } else {
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[20..22].fill(0);
        frame[23] = protocol;
    }
    if tcp {
        frame[transport + 12] = 0x50;
        // CWR, ACK, PSH, FIN.
        frame[transport + 13] = 0x99;
    }
    let mut bytes = with_header(&frame);
    header.emit(&mut bytes);
    (bytes, header)
}

#[test]
fn nobody_is_told_of_what_he_knows() {
    for event_idx in [true, false] {
        let features = feature::LINUX & if event_idx { !0 } else { !feature::EVENT_IDX };
        let (mut shell, mut front) = running(Order::Qemu, features, 128);
        front.ring_from_guest(0).refuse_calls();
        front.ring_to_guest(0).refuse_calls();
        front.refill(0, 4096);
        shell.silent();
        front.ring_from_guest(0).calls();
        front.ring_to_guest(0).calls();

        // From the guest: the first kick is wanted, and no other until the link has come to rest.
        assert!(front.send(0, &frame(0, 60), 4096));
        let mut buf = [0; 4096];
        assert!(shell.edge(Duration::from_secs(5)));
        assert_eq!(shell.link.receive(&mut buf).unwrap(), HEADER + 60);
        for number in 1..100 {
            assert!(!front.send(0, &frame(number, 60), 4096), "it is looking anyway");
            assert_eq!(shell.link.receive(&mut buf).unwrap(), HEADER + 60);
            while front.ring_from_guest(0).take().is_some() {}
        }
        assert_eq!(kind(shell.link.receive(&mut buf)), ErrorKind::WouldBlock);
        while front.ring_from_guest(0).take().is_some() {}
        assert!(front.send(0, &frame(0, 60), 4096), "it rests");
        assert!(shell.edge(Duration::from_secs(5)));
        shell.drain();
        shell.frame();
        // The event index of a fresh ring asks for the first one.
        assert_eq!(front.ring_from_guest(0).calls(), u64::from(event_idx));

        // To the guest: it is called when it asked for it, once for a batch.
        let call_after = |front: &mut FrontEnd, more| front.ring_to_guest(0).ask_for_calls(more);
        call_after(&mut front, 1);
        shell.link.flush();
        for number in 0..8 {
            shell.link.send(&with_header(&frame(number, 60))).unwrap();
        }
        shell.link.flush();
        assert_eq!(front.ring_to_guest(0).calls(), 1);
        if event_idx {
            call_after(&mut front, 12);
        } else {
            front.ring_to_guest(0).refuse_calls();
        }
        for number in 8..11 {
            to_guest(&mut shell, &with_header(&frame(number, 60)));
        }
        assert_eq!(front.ring_to_guest(0).calls(), 0);
        if event_idx {
            to_guest(&mut shell, &with_header(&frame(11, 60)));
            assert_eq!(front.ring_to_guest(0).calls(), 1);
        }
    }
}

#[test]
fn a_ring_without_room_pushes_back_and_room_is_an_edge() {
    for features in [feature::LINUX, feature::LINUX & !feature::EVENT_IDX] {
        let (mut shell, mut front) = running(Order::Qemu, features, 16);
        shell.silent();
        assert_eq!(shell.fill(&frame(1, 60)), 0, "there are no buffers");
        front.refill(0, 4096);
        assert!(shell.edge(Duration::from_secs(5)));
        shell.drain();
        assert_eq!(shell.fill(&frame(1, 60)), 16);
        // Sixteen more pages, of which a large one takes all.
        while front.receive(0, 4096).is_some() {}
        front.refill(0, 4096);
        assert!(shell.edge(Duration::from_secs(5)));
        let (large, _) = tcp4(60_000, 1448);
        to_guest(&mut shell, &large);
        assert_eq!(front.receive(0, 4096).unwrap().len(), large.len());
        assert!(!shell.edge_without_room());
        // One that all the buffers together do not hold is refused, and the next one is not.
        front.refill(0, 1024);
        assert_eq!(kind(shell.link.send(&large)), ErrorKind::InvalidInput);
        to_guest(&mut shell, &with_header(&frame(1, 60)));
    }
}

/// What happens when a guest is rebooted, or its machine paused: the rings stop, and go on elsewhere
/// or where they stopped.
#[test]
fn rings_stop_and_go_on() {
    for order in ORDERS {
        let (mut shell, mut front) = running(order, feature::LINUX, 64);
        front.refill(0, 4096);
        for number in 0..5 {
            front.send(0, &frame(number, 60), 4096);
            assert_eq!(shell.frame(), frame(number, 60));
            to_guest(&mut shell, &with_header(&frame(number, 60)));
            front.receive(0, 4096).unwrap();
            front.ring_from_guest(0).take().unwrap();
        }
        // Without a flush: what a stop leaves behind is nevertheless told.
        shell.link.send(&with_header(&frame(5, 60))).unwrap();
        assert_eq!(front.stop(&mut shell, 0), 6);
        assert_eq!(front.receive(0, 4096).unwrap()[HEADER..], frame(5, 60));
        assert_eq!(front.stop(&mut shell, 1), 5);
        assert_eq!(front.stop(&mut shell, 1), 5, "a second stop tells the same");
        assert_eq!(kind(shell.link.send(&with_header(&frame(6, 60)))), ErrorKind::NotConnected);
        front.send(0, &frame(7, 60), 4096);
        shell.silent();

        // Paused: it goes on, with what was made available meanwhile.
        for queue in &mut front.queues {
            let base = if queue.index == 0 { 6u32 } else { 5 };
            let index = queue.index;
            let bodies = [(request::SET_VRING_NUM, 64), (request::SET_VRING_BASE, base)];
            for (request, value) in bodies {
                let header = [request, 1, 8].map(u32::to_ne_bytes);
                let message = [header.as_flattened(), &pair(index, value)].concat();
                rustix::io::write(&front.socket, &message).unwrap();
            }
        }
        for queue in &front.queues {
            front.say(request::SET_VRING_ADDR, &queue.addresses(), &[]);
            front.say_file(request::SET_VRING_KICK, queue.index, Some(queue.kick.as_fd()));
        }
        assert_eq!(shell.frame(), frame(7, 60));
        to_guest(&mut shell, &with_header(&frame(8, 60)));
        assert_eq!(front.receive(0, 4096).unwrap()[HEADER..], frame(8, 60));

        // Rebooted: fresh rings, other features.
        front.stop(&mut shell, 0);
        front.stop(&mut shell, 1);
        front.set_up(&mut shell, order, feature::PROTOCOL | feature::VERSION_1, 2, 32);
        front.refill(0, 4096);
        front.send(0, &frame(9, 60), 4096);
        assert_eq!(shell.frame(), frame(9, 60));
        to_guest(&mut shell, &with_header(&frame(10, 60)));
        assert_eq!(front.receive(0, 4096).unwrap()[HEADER..], frame(10, 60));
        shell.silent();
    }
}

#[test]
fn a_front_end_that_goes_is_followed_by_the_next() {
    let (_folder, path) = place();
    let mut shell = Shell::new(vhost_user::listen(&path, &VhostUserOptions::default()).unwrap());
    assert_eq!(shell.link.path(), Some(&*path));
    for order in ORDERS {
        assert!(!shell.link.has_guest());
        let mut front = FrontEnd::connect(&path);
        assert_eq!(shell.next(), Told::Arrived);
        assert!(shell.link.has_guest());
        front.set_up(&mut shell, order, feature::LINUX, 2, 64);
        front.refill(0, 4096);
        front.send(0, &frame(1, 60), 4096);
        assert_eq!(shell.frame(), frame(1, 60));
        to_guest(&mut shell, &with_header(&frame(2, 60)));
        assert_eq!(front.receive(0, 4096).unwrap()[HEADER..], frame(2, 60));
        // Its kick lives on elsewhere, and is none of the link's any more.
        let kick = front.ring_from_guest(0).kick.try_clone().unwrap();
        drop(front);
        assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
        assert_eq!(kind(shell.link.send(&with_header(&frame(2, 60)))), ErrorKind::NotConnected);
        shell.silent();
        rustix::io::write(&kick, &1u64.to_ne_bytes()).unwrap();
        assert!(!shell.edge(Duration::from_millis(30)));
    }
}

#[test]
fn a_link_that_connects_finds_its_front_end_again() {
    let (_folder, path) = place();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let options =
        VhostUserOptions { reconnect: Some(Duration::from_millis(5)), ..Default::default() };
    let mut shell = Shell::new(vhost_user::connect(&path, &options).unwrap());
    for turn in 0..3 {
        if turn > 0 {
            assert_eq!(shell.next(), Told::Arrived);
        }
        let mut front = FrontEnd::over(listener.accept().unwrap().0);
        front.set_up(&mut shell, Order::Qemu, feature::LINUX, 2, 64);
        front.send(0, &frame(turn, 60), 4096);
        assert_eq!(shell.frame(), frame(turn, 60));
        drop(front);
        assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
    }
    let error = vhost_user::from_fd(
        std::os::unix::net::UnixDatagram::pair().unwrap().0.into(),
        &VhostUserOptions::default(),
    );
    assert!(error.unwrap_err().to_string().contains("wrong type"));
}

#[test]
fn answers_come_on_the_queue_that_asked() {
    let options = VhostUserOptions { queue_pairs: 4, ..Default::default() };
    let (mut shell, mut front) = connected(&options);
    let features = feature::LINUX | feature::MQ;
    front.set_up(&mut shell, Order::Qemu, features, 4, 64);
    front.refill(0, 4096);
    front.refill(1, 4096);
    // Only what one pair offers is offered to whoever has no control queue.
    let (mut other, front_of_one) = connected(&VhostUserOptions::default());
    assert_eq!(front_of_one.ask(&mut other, request::GET_FEATURES, &[]) & feature::MQ, 0);

    let flow = |guest: bool, port: u16| {
        let (bytes, header) = udp4(100, 1000);
        let mut frame = bytes[HEADER..].to_vec();
        let (guest_address, host_address) = ([10, 0, 0, 2], [10, 0, 0, 1]);
        let at = usize::from(header.csum_start);
        let (source, destination) =
            if guest { (guest_address, host_address) } else { (host_address, guest_address) };
        frame[26..30].copy_from_slice(&source);
        frame[30..34].copy_from_slice(&destination);
        let ports = if guest { [port, 53] } else { [53, port] };
        frame[at..at + 4].copy_from_slice(ports.map(u16::to_be_bytes).as_flattened());
        frame
    };
    for port in [1000, 2000, 3000] {
        for queue in [1, 0] {
            front.send(queue, &flow(true, port), 4096);
            shell.frame();
            to_guest(&mut shell, &with_header(&flow(false, port)));
            assert_eq!(front.receive(queue, 4096).unwrap()[HEADER..], flow(false, port));
            assert!(front.receive(1 - queue, 4096).is_none());
        }
    }
    // A queue that is disabled is emptied, and gets nothing.
    front.send(1, &flow(true, 1000), 4096);
    shell.frame();
    front.say(request::SET_VRING_ENABLE, &pair(2, 0), &[]);
    front.say(request::SET_VRING_ENABLE, &pair(3, 0), &[]);
    shell.silent();
    front.send(1, &flow(true, 1000), 4096);
    shell.silent();
    while front.ring_from_guest(1).take().is_some() {}
    to_guest(&mut shell, &with_header(&flow(false, 1000)));
    assert_eq!(front.receive(0, 4096).unwrap()[HEADER..], flow(false, 1000));
}

/// A queue that is never empty leaves the others their turn.
#[test]
fn every_queue_is_served() {
    let options = VhostUserOptions { queue_pairs: 2, ..Default::default() };
    let (mut shell, mut front) = connected(&options);
    front.set_up(&mut shell, Order::Qemu, feature::LINUX | feature::MQ, 4, 64);
    let mut buf = [0; 4096];
    // What is taken is shown to be so in batches: there are never too few descriptors.
    for number in 0..30 {
        front.send(0, &frame(number, 60), 4096);
    }
    front.send(1, &frame(99, 61), 4096);
    let mut before = 0;
    while shell.link.receive(&mut buf).unwrap() != HEADER + 61 {
        before += 1;
        front.ring_from_guest(0).take();
        front.send(0, &frame(before, 60), 4096);
        assert!(before < 64, "the other queue is not looked at");
    }
}

#[test]
fn memory_comes_and_goes_while_rings_run() {
    let (mut shell, mut front) = running(Order::Qemu, feature::LINUX, 64);
    let more = Memory::new(false);
    let region = [0x8000_0000u64, 1 << 20, 0x1000_0000, 0];
    let body: Vec<u8> =
        std::iter::once(&0).chain(&region).flat_map(|word| word.to_ne_bytes()).collect();
    let ack = |front: &FrontEnd, shell: &mut _, request, files: &[_]| {
        front.ask_with(shell, request, 1 | 8, &body, files)
    };
    // QEMU 7.2 says so once for each pair of queues.
    for _ in 0..2 {
        assert_eq!(ack(&front, &mut shell, request::ADD_MEM_REG, &[more.file.as_fd()]), 0);
    }
    more.write(0x1000, &[&[0; HEADER][..], &frame(1, 60)].concat());
    let queue = front.ring_from_guest(0);
    queue.offer(&[(0x8000_1000, 72, false)]);
    queue.publish();
    queue.kick();
    assert_eq!(shell.frame(), frame(1, 60));
    for _ in 0..2 {
        assert_eq!(ack(&front, &mut shell, request::REM_MEM_REG, &[more.file.as_fd()]), 0);
    }
    // The same memory at another of the guest's addresses, as QEMU has it while a BIOS runs.
    let [_, data] = Memory::regions();
    let alias: Vec<u8> = [0, 0xc000_0000, data[1], data[2], data[3]]
        .iter()
        .flat_map(|word: &u64| word.to_ne_bytes())
        .collect();
    let file = front.memory.file.clone();
    assert_eq!(front.ask_with(&mut shell, request::ADD_MEM_REG, 9, &alias, &[file.as_fd()]), 0);
    // The table as a whole, sent anew: the rings are found again.
    front.share(false);
    front.refill(0, 4096);
    shell.silent();
    to_guest(&mut shell, &with_header(&frame(2, 60)));
    assert_eq!(front.receive(0, 4096).unwrap()[HEADER..], frame(2, 60));
}

#[test]
fn an_mtu_that_is_too_small_is_refused() {
    let (mut shell, front) = running(Order::Qemu, feature::LINUX, 64);
    for (mtu, refused) in [(1500u64, 0), (9000, 0), (1280, 1)] {
        let answer = front.ask_with(&mut shell, request::NET_SET_MTU, 9, &mtu.to_ne_bytes(), &[]);
        assert_eq!(answer, refused, "{mtu}");
    }
    assert_eq!(shell.link.capabilities().mtu, 1500);
}

/// An answer is wanted only where that was agreed.
#[test]
fn nothing_is_acknowledged_unasked() {
    let (mut shell, front) = connected(&VhostUserOptions::default());
    front.say_with(request::SET_OWNER, 9, &[], &[]);
    assert!(front.ask(&mut shell, request::GET_FEATURES, &[]) & feature::VERSION_1 != 0);
    front.socket.set_nonblocking(true).unwrap();
    assert!((&front.socket).read(&mut [0; 1]).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    FromGuest(usize, usize),
    ToGuest(usize),
    Refill,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let length =
        || prop_oneof![14usize..200, 1400usize..1600, 4000usize..5000, 60_000usize..65_550];
    prop_oneof![
        6 => (length(), prop_oneof![50usize..100, 1000usize..5000]).prop_map(|(length, piece)| {
            // As many descriptors as an indirect table of the front end has.
            Step::FromGuest(length, piece.max(length / 100))
        }),
        6 => length().prop_map(Step::ToGuest),
        3 => Just(Step::Refill),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    /// Whatever is sent arrives, in order and as it was, whatever the rings are like.
    #[test]
    fn frames_survive_any_ring(
        steps in prop::collection::vec(step(), 1..120),
        features in prop_oneof![
            Just(feature::LINUX),
            Just(feature::LINUX & !feature::EVENT_IDX),
            Just(feature::LINUX & !feature::INDIRECT),
        ],
        size in prop_oneof![Just(32u16), Just(128), Just(256)],
        buffer in 1600u32..4096,
    ) {
        let (mut shell, mut front) = running(Order::Qemu, features, size);
        let mut expected = std::collections::VecDeque::new();
        let mut number = 0;
        for step in steps {
            number += 1;
            match step {
                Step::FromGuest(length, piece) => {
                    if features & feature::INDIRECT == 0 && (length + 12).div_ceil(piece) > 32 {
                        continue;
                    }
                    front.send(0, &frame(number, length), piece);
                    prop_assert_eq!(shell.frame(), frame(number, length));
                    prop_assert!(front.ring_from_guest(0).take().is_some());
                }
                Step::ToGuest(length) => match shell.link.send(&with_header(&frame(number, length))) {
                    Ok(()) => expected.push_back(frame(number, length)),
                    Err(error) => prop_assert!(matches!(
                        error.kind(), ErrorKind::WouldBlock | ErrorKind::InvalidInput
                    ), "{}", error),
                },
                Step::Refill => {
                    shell.link.flush();
                    while let Some(got) = front.receive(0, buffer) {
                        prop_assert_eq!(Some(got[HEADER..].to_vec()), expected.pop_front());
                    }
                    prop_assert!(expected.is_empty());
                    front.refill(0, buffer);
                    shell.edge(Duration::ZERO);
                    shell.drain();
                }
                Step::Restart => {
                    let base = front.stop(&mut shell, 0);
                    while let Some(got) = front.receive(0, buffer) {
                        prop_assert_eq!(Some(got[HEADER..].to_vec()), expected.pop_front());
                    }
                    front.say(request::SET_VRING_BASE, &pair(0, base), &[]);
                    let kick = front.ring_to_guest(0).kick.try_clone().unwrap();
                    front.say_file(request::SET_VRING_KICK, 0, Some(kick.as_fd()));
                    shell.edge(Duration::from_secs(5));
                    shell.drain();
                }
            }
        }
    }
}
