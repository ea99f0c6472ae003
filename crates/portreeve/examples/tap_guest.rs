//! Serves a TAP guest until Enter is pressed: `tap_guest SPEC…` makes a TAP, tells how to move it
//! into a namespace, publishes what the specifications say and prints events.
//!
//! ```sh
//! cargo run --example tap_guest -p portreeve -- 8080:80
//! ```

use std::error::Error;
use std::io::stdin;

use portreeve::{Engine, Tap, TapOptions, free_addressing};

fn main() -> Result<(), Box<dyn Error>> {
    let addressing = free_addressing();
    let tap = Tap::create(None, &TapOptions { mtu: addressing.mtu, ..TapOptions::default() })?;
    let name = tap.name().to_owned();
    let v4 = addressing.ipv4.ok_or("this example gives the guest IPv4")?;
    let mac = addressing.guest_mac.ok_or("this example names the guest's MAC")?;
    print(&format!("ip netns add guest && ip link set {name} netns guest"));
    print(&format!("ip -n guest link set {name} address {mac} up"));
    print(&format!("ip -n guest addr add {}/{} dev {name}", v4.guest, v4.prefix_len));
    print(&format!("ip -n guest route add default via {}", v4.gateway));

    let engine = Engine::builder().link(tap).addressing(addressing).start()?;
    let events = engine.events();
    for spec in std::env::args().skip(1) {
        for port in engine.publish_spec(&spec.parse()?)? {
            print(&port.to_string());
        }
    }
    std::thread::spawn(move || events.for_each(|event| print(&format!("{event:?}"))));
    stdin().read_line(&mut String::new())?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output is for whoever runs it")]
fn print(line: &str) {
    println!("{line}");
}
