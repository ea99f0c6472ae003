//! Guests that configure themselves, by the programs that guests have.
//!
//! In each the addresses that `portreeve` set are taken away first. What the client was told is
//! written down by a script of the test's, so that no file of the machine is touched.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use portreeve_e2e::calls::Caller as _;
use portreeve_e2e::client::exchange;
use portreeve_e2e::internet::Internet;
use portreeve_e2e::machine::{User, am_root, has_tool, skip};
use portreeve_e2e::network::{Family, Network, isolated};
use portreeve_e2e::run::{Run, Running, file_in, open_directory};

/// What a client has to find out.
const MTU: &str = "1400";
const SEARCH: &str = "lan.test";

/// Takes away what was set.
const FLUSH: &str = "ip -4 addr flush dev eth0 scope global; ip -6 addr flush dev eth0 scope global
    ip -4 route flush dev eth0; ip -6 route del default; ip link set eth0 mtu 1500
    mount -t tmpfs none /run; mount -t tmpfs none /var/lib";

/// A guest in which a client ran to its end, and what its script wrote.
struct Configured {
    run: Running,
    said: BTreeMap<String, String>,
    _directory: tempfile::TempDir,
}

/// Runs a client, in which `$S` is the script with this body, `$D` an empty directory.
fn configured(client: &str, script: &str) -> Configured {
    let directory = open_directory();
    let (script_file, script_path) = file_in(&directory, "script");
    let (said_file, said_path) = file_in(&directory, "said");
    let body = format!("#!/bin/sh\nexec 1>>{said_path}\n{script}\nexit 0\n");
    std::fs::write(&script_file, body).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script_file, executable).unwrap();
    let run = Run::by(User::Root).with(&["--mtu", MTU, "--dns-search", SEARCH]);
    let run = run.publish("0:80").publish("0:81/udp");
    let guest = run.guest_program();
    let place = directory.path().display();
    // What a client prints goes to standard error.
    let shell = format!(
        "exec 3>&1 1>&2; S={script_path}; D={place}; cd /; {FLUSH}\n{client}\n\
         exec \"$0\" serve hush line@80 udp-echo@81 1>&3 3>&-"
    );
    let run = run.command(&["sh", "-c", &shell, &guest]).up();
    let said = std::fs::read_to_string(said_file).unwrap_or_default();
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    let said = pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
    Configured { run, said, _directory: directory }
}

impl Configured {
    #[track_caller]
    fn said(&self, key: &str) -> &str {
        self.said.get(key).unwrap_or_else(|| panic!("no {key}: {}", self.run.said()))
    }

    /// What was said is the gateway and what goes with it, and it all works.
    fn check(&self, family: Family) {
        let gateway = self.gateway(family);
        assert_eq!(self.said("dns").split(' ').next().unwrap(), gateway.to_string());
        if self.said.contains_key("mtu") {
            assert_eq!(self.said("mtu"), MTU);
        }
        assert_eq!(self.said("search").trim_end_matches('.'), SEARCH);
        self.works(family, self.said("address").parse().unwrap());
    }

    fn gateway(&self, family: Family) -> IpAddr {
        let of = if family == Family::V4 { "v4" } else { "v6" };
        self.run.ask(&format!("name gateway {of}")).parse().unwrap()
    }

    /// Out and in by this address.
    fn works(&self, family: Family, address: IpAddr) {
        let out = SocketAddr::new(Internet::server(family, 1), 80);
        let seen = self.run.ask(&format!("tcp seen {out}"));
        let own: SocketAddr = seen.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| {
            panic!("{seen}: {}", self.run.said());
        });
        assert_eq!(own.ip(), address);
        assert_eq!(exchange(self.run.tcp(80, family), "in").unwrap(), "in\n");
        let socket = portreeve_e2e::client::udp(self.run.udp(81, family));
        assert_eq!(portreeve_e2e::client::ask(&socket, b"in").unwrap(), b"in");
        let out = SocketAddr::new(Internet::server(family, 1), 81);
        self.run.expect(&format!("udp echo {out} 3000"), "ok");
    }
}

/// Whether this can be tried here, and an internet if so.
fn ready(network: &Network, tool: &str, package: &str) -> Option<(Internet, impl Drop)> {
    if !am_root() {
        skip("clients for addresses: changing a guest's network needs root");
        return None;
    }
    if !has_tool(tool, package) {
        return None;
    }
    let internet = network.internet()?;
    let servers = internet.serve(&["hush", "peer@80", "udp-echo@81"]);
    Some((internet, servers))
}

#[test]
fn udhcpc() {
    isolated(|network| {
        let Some(_internet) = ready(network, "udhcpc", "udhcpc") else { return };
        let guest = configured(
            "udhcpc -i eth0 -f -n -q -t 20 -T 1 -O search -O mtu -s $S",
            "[ $1 = bound ] || exit 0
             ip addr add $ip/$mask dev $interface; ip route add default via $router
             echo address=$ip; echo mask=$mask; echo router=$router; echo dns=$dns
             echo search=$search; echo mtu=$mtu; echo lease=$lease",
        );
        let gateway = guest.gateway(Family::V4).to_string();
        assert_eq!(guest.said("router"), gateway);
        assert_eq!(guest.said("mask"), "24");
        assert!(guest.said("lease").parse::<u32>().unwrap() >= 60);
        assert_eq!(guest.said("mtu"), MTU);
        guest.check(Family::V4);
        guest.run.finish();
    });
}

/// dhclient(8) writes what it keeps into the directory of the test.
const DHCLIENT: &str = "-1 -lf $D/leases -pf $D/pid -cf $D/conf -sf $S eth0";

#[test]
fn dhclient_for_ipv4() {
    isolated(|network| {
        let Some(_internet) = ready(network, "dhclient", "isc-dhcp-client") else { return };
        let guest = configured(
            &format!(
                "echo 'request subnet-mask, routers, domain-name-servers, interface-mtu, \
                 domain-search, dhcp-lease-time;' >$D/conf; dhclient -4 {DHCLIENT}"
            ),
            "[ $reason = BOUND ] || exit 0
             ip addr add $new_ip_address/$new_subnet_mask dev $interface
             ip route add default via $new_routers
             echo address=$new_ip_address; echo dns=$new_domain_name_servers
             echo search=$new_domain_search; echo mtu=$new_interface_mtu",
        );
        assert_eq!(guest.said("mtu"), MTU);
        guest.check(Family::V4);
        guest.run.finish();
    });
}

/// The router and the prefix of a link are the router's to tell (RFC 4861), not DHCPv6's.
const ACCEPT_RA: &str = "cd /proc/sys/net/ipv6/conf/eth0; echo 2 >accept_ra; echo 1 >autoconf
    echo 3 >router_solicitations; cd /
    ip link set eth0 down; ip link set eth0 addrgenmode eui64; ip link set eth0 up";

/// Waits for the kernel to have what is looked for.
fn wait_for(what: &str) -> String {
    format!("for i in $(seq 200); do {what} && break; sleep 0.1; done; {what}")
}

#[test]
fn dhclient_for_ipv6() {
    isolated(|network| {
        let Some(_internet) = ready(network, "dhclient", "isc-dhcp-client") else { return };
        let up = wait_for("ip -6 route show default proto ra | grep -q .");
        let guest = configured(
            &format!(
                "echo 'request dhcp6.name-servers, dhcp6.domain-search;' >$D/conf
                 {ACCEPT_RA}; echo 0 >/proc/sys/net/ipv6/conf/eth0/autoconf; {up}
                 ip -6 addr flush dev eth0 scope global; dhclient -6 {DHCLIENT}"
            ),
            "[ $reason = BOUND6 ] || exit 0
             ip addr add $new_ip6_address/64 dev $interface nodad
             echo address=$new_ip6_address; echo dns=$new_dhcp6_name_servers
             echo search=$new_dhcp6_domain_search",
        );
        guest.check(Family::V6);
        guest.run.finish();
    });
}

#[test]
fn dhcpcd() {
    isolated(|network| {
        let Some(_internet) = ready(network, "dhcpcd", "dhcpcd-base") else { return };
        let guest = configured(
            "mkdir -p /var/lib/dhcpcd /run/dhcpcd
             dhcpcd -4 -1 -t 30 -o domain_search -o interface_mtu -c $S eth0",
            "[ $reason = BOUND ] || exit 0
             echo address=$new_ip_address; echo dns=$new_domain_name_servers
             echo search=$new_domain_search; echo mtu=$new_interface_mtu",
        );
        assert_eq!(guest.said("mtu"), MTU);
        guest.check(Family::V4);
        guest.run.finish();
    });
}

/// RFC 4862 and RFC 8106, by the kernel.
#[test]
fn the_kernel_by_router_advertisements() {
    isolated(|network| {
        let Some(_internet) = ready(network, "ip", "iproute2") else { return };
        let address = "ip -6 addr show dev eth0 scope global -tentative | grep -q inet6";
        let guest = configured(
            &format!(
                "{ACCEPT_RA}; {}; {}
                 ip -6 -o addr show dev eth0 scope global | \
                 sed -n 's/.*inet6 \\([^/]*\\).*/address=\\1/p' >$D/said
                 echo mtu=$(cat /proc/sys/net/ipv6/conf/eth0/mtu) >>$D/said",
                wait_for(address),
                wait_for("ip -6 route show default proto ra | grep -q ."),
            ),
            "",
        );
        assert_eq!(guest.said("mtu"), MTU);
        let address: Ipv6Addr = guest.said("address").parse().unwrap();
        let IpAddr::V6(gateway) = guest.gateway(Family::V6) else { panic!("not IPv6") };
        assert_eq!(address.segments()[..4], gateway.segments()[..4]);
        // RFC 4291 appendix A: made from the hardware address.
        assert_eq!(address.octets()[11..13], [0xff, 0xfe]);
        guest.works(Family::V6, address.into());
        guest.run.finish();
    });
}
