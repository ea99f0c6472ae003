//! What is run inside a guest to look around: prints one fact per line.
//!
//! `--inspect network|user|descriptors|foreground|port-80|--wait-for=FILE`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    match arguments.first().map(String::as_str) {
        Some("network") => network(),
        Some("user") => user(),
        Some("descriptors") => descriptors(),
        Some("foreground") => foreground(),
        Some("port-80") => port_80(),
        Some(what) if what.starts_with("--wait-for=") => {
            return wait_for(Path::new(what.trim_start_matches("--wait-for=")));
        }
        other => panic!("inspect what? {other:?}"),
    }
    ExitCode::SUCCESS
}

fn network() {
    let dumps = [
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
    ];
    for request in dumps {
        dump(request, &mut |answer| print_message(&answer));
    }
}

fn print_message(message: &RouteNetlinkMessage) {
    if let RouteNetlinkMessage::NewLink(link) = message {
        let (mut name, mut mtu, mut queue, mut mac) = (String::new(), 0, 0, String::new());
        for attribute in &link.attributes {
            if let LinkAttribute::IfName(value) = attribute {
                name.clone_from(value);
            } else if let LinkAttribute::Mtu(value) = attribute {
                mtu = *value;
            } else if let LinkAttribute::TxQueueLen(value) = attribute {
                queue = *value;
            } else if let LinkAttribute::Address(value) = attribute {
                mac = hexadecimal(value);
            }
        }
        let up = if link.header.flags.contains(LinkFlags::Up) { "up" } else { "down" };
        println!("link {name} {up} mtu {mtu} queue {queue} mac {mac}");
    } else if let RouteNetlinkMessage::NewAddress(address) = message {
        let flags = address.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Flags(flags) = attribute { Some(*flags) } else { None }
        });
        for attribute in &address.attributes {
            if let AddressAttribute::Address(ip) = attribute {
                let index = address.header.index;
                println!("address {index} {ip}/{} {flags:?}", address.header.prefix_len);
            }
        }
    } else if let RouteNetlinkMessage::NewRoute(route) = message {
        if route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast {
            for attribute in &route.attributes {
                if let RouteAttribute::Gateway(RouteAddress::Inet(gateway)) = attribute {
                    println!("default via {gateway}");
                } else if let RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) = attribute {
                    println!("default via {gateway}");
                }
            }
        }
    } else if let RouteNetlinkMessage::NewNeighbour(neighbour) = message {
        let (mut ip, mut mac) = (String::new(), String::new());
        for attribute in &neighbour.attributes {
            if let NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) = attribute {
                ip = address.to_string();
            } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) =
                attribute
            {
                ip = address.to_string();
            } else if let NeighbourAttribute::LinkLayerAddress(value) = attribute {
                mac = hexadecimal(value);
            }
        }
        println!("neighbour {ip} {mac} {:?}", neighbour.header.state);
    }
}

fn dump(request: RouteNetlinkMessage, print: &mut dyn FnMut(RouteNetlinkMessage)) {
    let mut socket = Socket::new(NETLINK_ROUTE).expect("netlink");
    socket.bind_auto().expect("netlink");
    socket.connect(&SocketAddr::new(0, 0)).expect("netlink");
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).expect("netlink");
    loop {
        let (datagram, _) = socket.recv_from_full().expect("netlink");
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).expect("netlink");
            // netlink(7): messages are aligned to 4 bytes.
            let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length..];
            if let NetlinkPayload::InnerMessage(inner) = message.payload {
                print(inner);
            } else {
                return;
            }
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn user() {
    println!("uid {}", rustix::process::getuid().as_raw());
    println!("gid {}", rustix::process::getgid().as_raw());
    println!("pid {}", std::process::id());
    println!("hostname {}", rustix::system::uname().nodename().to_string_lossy());
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    for line in status.lines() {
        let wanted = ["CapEff:", "CapPrm:", "SigBlk:", "SigIgn:"];
        if wanted.iter().any(|name| line.starts_with(name)) {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    println!("self {}", std::fs::read_link("/proc/self").expect("/proc").display());
}

fn descriptors() {
    let open = std::fs::read_dir("/proc/self/fd").expect("/proc");
    // The one the listing itself uses is gone again when it is asked about.
    for entry in open.flatten() {
        if let Ok(target) = std::fs::read_link(entry.path())
            && entry.path().file_name() > Some("2".as_ref())
            && !target.starts_with("/proc")
        {
            println!("open {} {}", entry.path().display(), target.display());
        }
    }
}

fn foreground() {
    let group = rustix::termios::tcgetpgrp(std::io::stdin());
    let own = rustix::process::getpgrp();
    let leader = own == rustix::process::getpid();
    println!("leader={leader} foreground={}", group.is_ok_and(|group| group == own));
}

fn port_80() {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
    let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80));
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 80));
    println!("ipv4 {} ipv6 {}", v4.is_ok(), v6.is_ok());
}

fn wait_for(sign: &Path) -> ExitCode {
    println!("ready");
    while !sign.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("saw-it");
    ExitCode::from(5)
}
