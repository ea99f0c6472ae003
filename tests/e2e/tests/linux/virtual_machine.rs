//! Virtual machines: another kernel, another network card, QEMU's own sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use portreeve_e2e::calls::Caller as _;
use portreeve_e2e::client::{ask, connect, download, exchange, udp, upload};
use portreeve_e2e::content::{self, Way};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::serve::Serve;
use portreeve_e2e::vm::{Image, Machine};

const SERVICES: [&str; 5] = ["sink@80", "source=20000000@81", "line@82", "echo@83", "udp-echo@53"];
const BULK: u64 = 20_000_000;

fn up(link: &str) -> Serve {
    let options = "-p 0:80 -p 0:81 -p 0:82 -p 0:83 -p 0:53/udp --name vm1 --add-host db.test:10.0.0.7 \
                   --allow-host";
    let options: Vec<_> = options.split_whitespace().chain(link.split_whitespace()).collect();
    Serve::up(&options, "53/udp")
}

/// What a machine is told, and what it can do.
#[expect(clippy::print_stderr, reason = "how fast it was informs, and judges nothing")]
fn is_served(serve: &Serve, machine: &Machine) {
    let lease = machine.hear("lease ");
    let wanted = "lease 10.213.77.2/24 router 10.213.77.1 dns 10.213.77.1 host vm1";
    assert_eq!(lease.trim(), wanted);
    let address = machine.hear("address ");
    assert!(address.contains("inet6 fd37:a94c:6e21:4d:"), "SLAAC: {address}");
    machine.up();
    let started = Instant::now();
    assert_eq!(upload(serve.published("80/tcp", Family::V4), BULK), format!("{BULK} ok"));
    let (up, started) = (started.elapsed(), Instant::now());
    assert_eq!(download(serve.published("81/tcp", Family::V6)), format!("{BULK} ok"));
    eprintln!("{BULK} bytes to the guest in {up:?}, from it in {:?}", started.elapsed());
    for length in [1, 1472, 9000] {
        let datagram = content::bytes(Way::ToGuest, length);
        let client = udp(serve.published("53/udp", Family::V4));
        assert_eq!(ask(&client, &datagram).unwrap(), datagram);
    }
    machine.expect("name look db.test", "10.0.0.7");
    let port = host_service();
    machine.expect(&format!("tcp upload 10.213.77.1:{port} 1000000"), "1000000 ok");
}

/// A service of the test's own host that checks what it gets: a client's bytes, the guest being one.
fn host_service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let checker = content::receive(&mut stream, Way::ToGuest).unwrap();
        stream.write_all(format!("{}\n", checker.verdict()).as_bytes()).unwrap();
    });
    port
}

/// A connection of the guest that is there now.
fn old_client(serve: &Serve) -> TcpStream {
    let mut client = connect(serve.published("83/tcp", Family::V4));
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    client
}

/// The guest of that connection is gone. Where nothing tells so by itself, a byte for it does.
fn is_reset(mut client: TcpStream) {
    // Whichever of the two hears of it hears of it alone.
    let error = client.write_all(b"x").and_then(|()| client.read(&mut [0; 1])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn over_a_stream_socket() {
    // Before the test's network is one of its own: a kernel may have to be fetched.
    let Some(image) = Image::get() else { return };
    isolated(|_| {
        let serve = up("--stream {}/s");
        let path = serve.path("s");
        let netdev =
            format!("stream,id=net,server=off,addr.type=unix,addr.path={}", path.display());
        let machine = image.boot(&netdev, &SERVICES);
        is_served(&serve, &machine);

        // The VMM is killed and started anew.
        let client = old_client(&serve);
        drop(machine);
        is_reset(client);
        let mut machine = image.boot(&netdev, &SERVICES);
        machine.up();
        let line = serve.published("82/tcp", Family::V4);
        assert_eq!(exchange(line, "hello").unwrap(), "hello\n");

        // The guest is started anew, which its VMM tells nobody; its program's end is in order.
        let mut client = old_client(&serve);
        machine.reboot();
        machine.up();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(exchange(line, "hello").unwrap(), "hello\n");
        serve.stop();
    });
}

#[test]
fn over_a_datagram_socket() {
    // Before the test's network is one of its own: a kernel may have to be fetched.
    let Some(image) = Image::get() else { return };
    isolated(|_| {
        let serve = up("--dgram {}/s,{}/qemu");
        let netdev = format!(
            "dgram,id=net,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            serve.path("qemu").display(),
            serve.path("s").display(),
        );
        let machine = image.boot(&netdev, &SERVICES);
        is_served(&serve, &machine);
        let client = old_client(&serve);
        drop(machine);
        is_reset(client);
        serve.hear("the guest is gone: it closed its socket");
        let machine = image.boot(&netdev, &SERVICES);
        machine.up();
        let line = serve.published("82/tcp", Family::V4);
        assert_eq!(exchange(line, "hello").unwrap(), "hello\n");
        serve.stop();
    });
}

/// Here it is the engine that is started anew: with `server=on` QEMU takes the next one at once.
#[test]
fn an_engine_that_is_replaced_finds_its_machine() {
    // Before the test's network is one of its own: a kernel may have to be fetched.
    let Some(image) = Image::get() else { return };
    isolated(|_| {
        let directory = portreeve_e2e::run::open_directory();
        let path = directory.path().join("qemu");
        let netdev = format!("stream,id=net,server=on,addr.type=unix,addr.path={}", path.display());
        let machine = image.boot(&netdev, &["line@82"]);
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let link = format!("--stream-connect {}", path.display());
        let serve = up(&link);
        machine.up();
        let hello = |serve: &Serve| exchange(serve.published("82/tcp", Family::V4), "hello");
        assert_eq!(hello(&serve).unwrap(), "hello\n");
        drop(serve);
        let serve = up(&link);
        assert_eq!(hello(&serve).unwrap(), "hello\n");
        serve.stop();
    });
}

#[test]
fn over_shared_memory() {
    // Before the test's network is one of its own: a kernel may have to be fetched.
    let Some(image) = Image::get() else { return };
    isolated(|_| {
        let serve = up("--vhost-user {}/s");
        let card = format!("socket,id=card,path={}", serve.path("s").display());
        let machine = image.boot_sharing(&card, 1, &SERVICES);
        is_served(&serve, &machine);

        // The VMM is killed and started anew.
        let client = old_client(&serve);
        drop(machine);
        is_reset(client);
        serve.hear("the guest is gone: it closed the connection");
        let mut machine = image.boot_sharing(&card, 1, &SERVICES);
        machine.up();
        let line = serve.published("82/tcp", Family::V4);
        assert_eq!(exchange(line, "hello").unwrap(), "hello\n");

        // The guest is started anew: its rings are others, its VMM is the same.
        let mut client = old_client(&serve);
        machine.reboot();
        machine.up();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(exchange(line, "hello").unwrap(), "hello\n");
        assert_eq!(upload(serve.published("80/tcp", Family::V4), BULK), format!("{BULK} ok"));
        serve.stop();
    });
}

/// With `reconnect=` QEMU finds the next engine, and with `server=on` the engine finds QEMU; the
/// rings go on where they were.
#[test]
fn an_engine_that_is_replaced_goes_on_in_the_same_memory() {
    // Before the test's network is one of its own: a kernel may have to be fetched.
    let Some(image) = Image::get() else { return };
    isolated(|_| {
        let directory = portreeve_e2e::run::open_directory();
        for (option, chardev, queues) in
            [("--vhost-user", "reconnect=1", 1), ("--vhost-user-connect", "server=on", 2)]
        {
            let path = directory.path().join(option.trim_matches('-'));
            let link = format!("{option} {} --queue-pairs {queues}", path.display());
            let boot = || {
                let card = format!("socket,id=card,path={},{chardev}", path.display());
                image.boot_sharing(&card, queues, &SERVICES)
            };
            let (machine, serve) = if queues == 1 {
                let serve = up(&link);
                (boot(), serve)
            } else {
                let machine = boot();
                while !path.exists() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                (machine, up(&link))
            };
            machine.up();
            let works = |serve: &Serve| {
                let line = serve.published("82/tcp", Family::V4);
                assert_eq!(exchange(line, "hello").unwrap(), "hello\n");
                let bulk = download(serve.published("81/tcp", Family::V4));
                assert_eq!(bulk, format!("{BULK} ok"));
            };
            works(&serve);
            drop(serve);
            let serve = up(&link);
            works(&serve);
            serve.stop();
        }
    });
}
