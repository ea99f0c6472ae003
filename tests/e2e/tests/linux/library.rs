//! The library's own promises, on a TAP: unpublishing, limits, events and counters, idle times.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use portreeve::{
    CloseReason, EngineEvent, Event, Events, Limits, Phase, PublishError, RefuseReason, Unpublish,
    UnpublishError,
};
use portreeve_e2e::client::{
    End, ask, connect, exchange, read_text, receive, refusal, reset, try_connect, udp,
};
use portreeve_e2e::content::{self, Checker, Way};
use portreeve_e2e::library::Guest;
use portreeve_e2e::machine::eventually;
use portreeve_e2e::network::{Family, isolated};

/// Waits for an event.
fn wait_for(events: &mut Events, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        match events.next_timeout(Duration::from_millis(100)).map(|record| record.event) {
            Some(event) if wanted(&event) => return event,
            _ => {}
        }
    }
    panic!("no event: {what}");
}

/// Waits for a client's refusal.
fn wait_for_refusal(events: &mut Events, wanted: RefuseReason) {
    wait_for(events, &format!("{wanted:?}"), |event| match event {
        Event::Engine(EngineEvent::FlowRefused { reason, .. }) => *reason == wanted,
        _ => false,
    });
}

#[test]
fn unpublished_to_drain_its_connections_go_on() {
    isolated(|_| {
        let services = ["source=16777216@80", "echo@81"];
        let Some(guest) = Guest::serve(Limits::default(), &services) else { return };
        for family in Family::BOTH {
            let ports = guest.engine.publish_spec(&"0:80".parse().unwrap()).unwrap();
            let at: Vec<SocketAddr> =
                ports.iter().filter_map(|port| port.host.socket_addr()).collect();
            let to = Guest::of(&at, family);
            let mut stream = connect(to);
            let mut checker = Checker::new(Way::FromGuest);
            let mut buffer = vec![0; 64 << 10];
            let length = stream.read(&mut buffer).unwrap();
            checker.feed(&buffer[..length]);
            for port in &ports {
                guest.engine.unpublish(port.id, Unpublish::Drain).unwrap();
            }
            // Closed at once: the port is free, while its connection gets all the rest.
            let refused = try_connect(to).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            TcpListener::bind(to).unwrap();
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    length => checker.feed(&buffer[..length]),
                }
            }
            assert_eq!(checker.verdict(), "16777216 ok");
            let again = guest.engine.unpublish(ports[0].id, Unpublish::Drain);
            assert_eq!(again, Err(UnpublishError::Unknown(ports[0].id)));
        }
        assert!(guest.engine.ports().is_empty());
    });
}

#[test]
fn unpublished_to_reset_its_connections_end() {
    isolated(|_| {
        let Some(guest) = Guest::serve(Limits::default(), &["hold@80", "echo@81"]) else { return };
        for family in Family::BOTH {
            let ports = guest.engine.publish_spec(&"0:80".parse().unwrap()).unwrap();
            let at: Vec<SocketAddr> =
                ports.iter().filter_map(|port| port.host.socket_addr()).collect();
            let other = Guest::of(&guest.publish("0:81"), family);
            let mut bystander = connect(other);
            let mut stream = connect(Guest::of(&at, family));
            stream.write_all(b"x").unwrap();
            eventually("the guest has answered", || {
                let flows = guest.engine.flows();
                let mut of_port = flows
                    .iter()
                    .filter(|flow| ports.iter().any(|port| Some(port.id) == flow.publish));
                of_port.any(|flow| flow.phase == Some(Phase::Relaying))
            });
            for port in &ports {
                guest.engine.unpublish(port.id, Unpublish::Reset).unwrap();
            }
            let (_, end) = receive(&mut stream);
            assert!(matches!(end, End::Reset), "{end:?}");
            let seconds = Duration::from_secs(5);
            let ended = guest.out.find_within(seconds, |line| line.contains("hold@80 ended"));
            assert!(ended.unwrap().contains("ConnectionReset"));
            bystander.write_all(b"y").unwrap();
            bystander.read_exact(&mut [0; 1]).unwrap();
        }
    });
}

#[test]
fn a_port_at_its_limit_refuses_and_others_do_not() {
    isolated(|_| {
        let limits = Limits { max_flows_per_port: 4, max_flows: 7, ..Limits::default() };
        let Some(guest) = Guest::serve(limits, &["echo@80", "echo@81"]) else { return };
        let mut events = guest.engine.events();
        for family in Family::BOTH {
            // On one address each: a port on two addresses is two, each with its own budget.
            let ip = SocketAddr::new(family.loopback(), 0).to_string();
            let first = guest.publish(&format!("{ip}:80"))[0];
            let second = guest.publish(&format!("{ip}:81"))[0];
            let mut open: Vec<_> = (0..4).map(|_| served(first)).collect();
            let refused = guest.engine.counters().unwrap().flows_refused;
            assert_eq!(refusal(first).0, ErrorKind::ConnectionReset);
            assert_eq!(guest.engine.counters().unwrap().flows_refused, refused + 1);
            wait_for_refusal(&mut events, RefuseReason::PortLimit);
            open.extend((0..3).map(|_| served(second)));
            // Now the engine is full.
            assert_eq!(refusal(second).0, ErrorKind::ConnectionReset);
            wait_for_refusal(&mut events, RefuseReason::FlowLimit);
            // Whoever goes makes room.
            drop(open);
            eventually("all have ended", || guest.engine.flows().is_empty());
            drop(served(first));
            drop(served(second));
            eventually("all have ended", || guest.engine.flows().is_empty());
        }
    });
}

fn served(to: SocketAddr) -> std::net::TcpStream {
    let mut stream = connect(to);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    stream
}

#[test]
fn what_happens_is_told() {
    isolated(|_| {
        let Some(guest) = Guest::serve(Limits::default(), &["line@80"]) else { return };
        let mut events = guest.engine.events();
        let ports = guest.publish("0:80");
        wait_for(&mut events, "published", |event| matches!(event, Event::Published(_)));
        assert_eq!(exchange(ports[0], "hello").unwrap(), "hello\n");
        wait_for(
            &mut events,
            "opened",
            |event| matches!(event, Event::Engine(EngineEvent::FlowOpened(flow)) if flow.client.is_some()),
        );
        let closed = wait_for(&mut events, "closed", |event| {
            matches!(event, Event::Engine(EngineEvent::FlowClosed { .. }))
        });
        let Event::Engine(EngineEvent::FlowClosed { flow, reason }) = closed else { return };
        assert_eq!(reason, CloseReason::Finished);
        assert_eq!((flow.bytes_to_guest, flow.bytes_from_guest), (6, 6));
        let nobody = guest.publish("0:81");
        assert_eq!(refusal(nobody[0]).0, ErrorKind::ConnectionReset);
        wait_for_refusal(&mut events, RefuseReason::GuestRefused);
        let counters = guest.engine.counters().unwrap();
        assert_eq!(counters.flows_opened, 1);
        assert_eq!(counters.flows_closed, 1);
        assert_eq!(counters.flows_refused, 1);
        let id = guest.engine.ports()[0].id;
        guest.engine.unpublish(id, Unpublish::Drain).unwrap();
        wait_for(&mut events, "unpublished", |event| matches!(event, Event::Unpublished(_)));
    });
}

/// Nobody is left to wait for the guest's answer.
#[test]
fn a_client_that_goes_while_the_guest_is_asked_is_forgotten() {
    isolated(|_| {
        let limits = Limits { connect_timeout_ms: 20_000, ..Limits::default() };
        let Some(guest) = Guest::serve(limits, &["silent@80"]) else { return };
        let mut events = guest.engine.events();
        let ports = guest.publish("0:80");
        for family in Family::BOTH {
            let stream = connect(Guest::of(&ports, family));
            eventually("the guest is asked", || guest.engine.flows().len() == 1);
            std::thread::sleep(Duration::from_millis(300));
            let started = Instant::now();
            reset(stream);
            wait_for_refusal(&mut events, RefuseReason::ClientGone);
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
            assert!(guest.engine.flows().is_empty());
        }
    });
}

/// A client may have said all it has to say before the guest has even answered.
#[test]
fn what_is_said_while_the_guest_is_asked_is_heard() {
    isolated(|_| {
        let Some(guest) = Guest::serve(Limits::default(), &["sink@81"]) else { return };
        let ports = guest.publish("0:81");
        for family in Family::BOTH {
            for length in [0, 1, 100_000] {
                let mut stream = connect(Guest::of(&ports, family));
                content::send(&mut stream, Way::ToGuest, length).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(read_text(&mut stream).unwrap(), format!("{length} ok\n"));
            }
        }
    });
}

#[test]
fn a_publish_that_fails_leaves_nothing() {
    isolated(|network| {
        // The port below the one taken must be free.
        if !network.is_own() {
            return;
        }
        let Some(guest) = Guest::serve(Limits::default(), &[]) else { return };
        for family in Family::BOTH {
            let taken = TcpListener::bind((family.loopback(), 0)).unwrap();
            let port = taken.local_addr().unwrap().port();
            // Both of loopback, then a range that ends in the one taken.
            for spec in [format!("{port}:80"), format!("{}-{port}:80-81", port - 1)] {
                let error = guest.engine.publish_spec(&spec.parse().unwrap()).unwrap_err();
                let text = error.to_string();
                assert!(matches!(error, PublishError::Bind { .. }), "{text}");
                assert!(text.contains(&taken.local_addr().unwrap().to_string()), "{text}");
                assert!(text.contains("in use"), "{text}");
                assert!(guest.engine.ports().is_empty());
            }
            for free in Family::BOTH.into_iter().filter(|free| *free != family) {
                TcpListener::bind((free.loopback(), port)).unwrap();
                TcpListener::bind((free.loopback(), port - 1)).unwrap();
            }
        }
    });
}

#[test]
fn a_stop_resets_what_is_open() {
    isolated(|_| {
        let Some(guest) = Guest::serve(Limits::default(), &["echo@80", "flood@81"]) else {
            return;
        };
        let idle = Guest::of(&guest.publish("0:80"), Family::V4);
        let busy = Guest::of(&guest.publish("0:81"), Family::V6);
        let mut streams = [served(idle), connect(busy)];
        streams[1].read_exact(&mut [0; 1000]).unwrap();
        let handle = guest.engine.handle();
        let started = Instant::now();
        guest.engine.stop();
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        for stream in &mut streams {
            let end = content::receive(stream, Way::FromGuest);
            assert_eq!(end.unwrap_err().1.kind(), ErrorKind::ConnectionReset);
        }
        assert!(try_connect(idle).is_err());
        assert!(handle.ports().is_empty());
        let stopped = handle.publish_spec(&"0:80".parse().unwrap());
        assert!(matches!(stopped, Err(PublishError::Stopped)));
    });
}

/// Whatever way connections end, the engine keeps nothing of them.
#[test]
fn a_storm_leaves_nothing_behind() {
    isolated(|_| {
        let services = ["hush", "line@80", "source=200000@81", "hold@82", "reset-on-byte@83"];
        let Some(guest) = Guest::serve(Limits::default(), &services) else { return };
        let ports = ["0:80", "0:81", "0:82", "0:83", "0:84"].map(|spec| guest.publish(spec));
        for _ in 0..20 {
            for family in Family::BOTH {
                let [line, source, hold, reset_on_byte, nobody] =
                    ports.each_ref().map(|port| Guest::of(port, family));
                assert_eq!(exchange(line, "hello").unwrap(), "hello\n");
                // Gone with bytes under way, with none, by force, and before the guest is reached.
                connect(source).read_exact(&mut [0; 1000]).unwrap();
                reset(served_by_nobody(hold));
                drop(served_by_nobody(hold));
                reset(connect(line));
                drop(connect(source));
                connect(reset_on_byte).write_all(b"x").unwrap();
                assert_eq!(refusal(nobody).0, ErrorKind::ConnectionReset);
            }
        }
        eventually("no flow is left", || guest.engine.flows().is_empty());
        eventually("no socket is left", || guest.engine.stats().unwrap().driver.open_sockets == 0);
        let counters = guest.engine.counters().unwrap();
        assert_eq!(counters.flows_opened, counters.flows_closed);
    });
}

fn served_by_nobody(to: SocketAddr) -> std::net::TcpStream {
    let mut stream = connect(to);
    stream.write_all(&[0; 10_000]).unwrap();
    stream
}

/// RFC 4787 §4.3: a datagram in either direction keeps the mapping; none at all ends it.
#[test]
fn a_mapping_lives_as_long_as_datagrams_go_either_way() {
    isolated(|_| {
        let limits = Limits { udp_idle_secs: 1, udp_idle_one_shot_secs: 1, ..Limits::default() };
        let services = ["udp-late@80", "udp-echo@81"];
        let Some(guest) = Guest::serve(limits, &services) else { return };
        let socket = udp(Guest::of(&guest.publish("0:80/udp"), Family::V4));
        let idle = udp(Guest::of(&guest.publish("0:81/udp"), Family::V6));
        assert_eq!(ask(&idle, b"hello").unwrap(), b"hello");
        socket.send(b"go").unwrap();
        // The client says nothing more; the guest does, far longer than the idle time.
        let until = Instant::now() + Duration::from_millis(2500);
        while Instant::now() < until {
            let mut late = [0; 10];
            assert_eq!(socket.recv(&mut late).unwrap(), 4);
        }
        eventually("the idle one has ended", || guest.engine.flows().len() == 1);
        // And it may begin anew.
        assert_eq!(ask(&idle, b"again").unwrap(), b"again");
    });
}
