//! The gateway's DHCP server (RFC 2131, RFC 2132): one address, for the guest.
//!
//! Owns which message is answered and with what. It is the only server on the link and knows the
//! one address there is to give, so it contradicts at once where the guest remembers another.

mod message;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use dhcproto::Name;
use dhcproto::v4::{CLIENT_PORT, DhcpOption, MessageType, OptionCode, SERVER_PORT};
use ipnet::Ipv4Net;
use portreeve_types::Ipv4Link;
use portreeve_wire::ethernet::BROADCAST;
use portreeve_wire::packet::IPV4_HEADER_LEN;
use portreeve_wire::udp::UDP_HEADER_LEN;

use self::message::{Reply, Request};
use super::lease::{LeaseChange, LeaseProtocol};
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::limits::MAX_CLIENT_ID;

/// A message whose options have been checked, as far as they matter here.
struct Client {
    request: Request,
    /// The server that is meant.
    server: Option<Ipv4Addr>,
    /// The address that the client would like, or speaks of.
    wanted: Option<Ipv4Addr>,
    /// Who it says it is.
    id: Option<Vec<u8>>,
    /// The largest packet it takes.
    most: u16,
}

/// What a DHCPREQUEST asks. RFC 2131 §4.3.2.
enum Asks {
    /// To have what `server` offered.
    Offered { server: Ipv4Addr, address: Ipv4Addr },
    /// Whether an address from before a reboot still holds.
    Remembered(Ipv4Addr),
    /// To keep the address it uses, from its server (renewing) or from any (rebinding).
    Kept(Ipv4Addr),
}

impl Client {
    fn read(message: &[u8]) -> Option<Self> {
        let request = Request::parse(message)?;
        let id = request.option(OptionCode::ClientIdentifier).map(<[u8]>::to_vec);
        if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_CLIENT_ID) {
            return None;
        }
        let most = match request.option(OptionCode::MaxMessageSize) {
            None => LEAST_PACKET,
            // RFC 2132 §9.10: less than 576 is not legal, and means no more than that.
            Some(&[high, low]) => u16::from_be_bytes([high, low]).max(LEAST_PACKET),
            Some(_) => return None,
        };
        Some(Self {
            server: request.address(OptionCode::ServerIdentifier)?,
            wanted: request.address(OptionCode::RequestedIpAddress)?,
            id,
            most,
            request,
        })
    }

    /// `None` for a request that fits none of the states. RFC 2131 §4.3.2.
    fn asks(&self) -> Option<Asks> {
        let held = self.request.fixed.ciaddr();
        match (self.server, self.wanted) {
            (Some(server), Some(address)) => Some(Asks::Offered { server, address }),
            (None, Some(address)) if held.is_unspecified() => Some(Asks::Remembered(address)),
            (_, _) if !held.is_unspecified() => Some(Asks::Kept(held)),
            (_, _) => None,
        }
    }

    /// What a lease is kept under. RFC 2131 §4.2.
    fn key(&self) -> Vec<u8> {
        match &self.id {
            Some(id) => id.clone(),
            None => [&[1][..], &self.request.hardware].concat(),
        }
    }
}

impl Engine {
    /// A message to the server's port.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind is a client's")]
    pub(crate) fn dhcp4_from_guest(&mut self, mac: [u8; 6], source: Ipv4Addr, message: &[u8]) {
        let Some(link) = self.config.addressing.ipv4 else {
            return self.drop(DropReason::FamilyDisabled);
        };
        let Some(client) = Client::read(message) else {
            return self.drop(DropReason::DhcpMalformed);
        };
        // There is one guest and nothing between it and here: no relay, no other card's frames.
        if client.request.hardware != mac || !client.request.fixed.giaddr().is_unspecified() {
            return self.drop(DropReason::DhcpIgnored);
        }
        let other_server = client.server.is_some_and(|server| server != link.gateway);
        match client.request.kind {
            MessageType::Discover if client.request.option(OptionCode::RapidCommit).is_some() => {
                self.dhcp4_acknowledge(&link, &client);
            }
            MessageType::Discover => self.dhcp4_send(&link, &client, MessageType::Offer),
            MessageType::Request => self.dhcp4_request(&link, &client),
            MessageType::Inform => self.dhcp4_inform(&link, &client, source),
            MessageType::Decline | MessageType::Release if other_server => {
                self.drop(DropReason::DhcpIgnored);
            }
            MessageType::Decline => {
                self.dhcp4_end(&link, &client, client.wanted, LeaseChange::Declined);
            }
            MessageType::Release => {
                let held = Some(client.request.fixed.ciaddr());
                self.dhcp4_end(&link, &client, held, LeaseChange::Released);
            }
            _ => self.drop(DropReason::DhcpIgnored),
        }
    }

    fn dhcp4_request(&mut self, link: &Ipv4Link, client: &Client) {
        let address = match client.asks() {
            // RFC 2131 §3.1 (4): the client has chosen another server's offer.
            Some(Asks::Offered { server, .. }) if server != link.gateway => {
                return self.drop(DropReason::DhcpIgnored);
            }
            // RFC 2131 §4.3.2 has a server be silent about a client it does not know, so that
            // several servers may disagree. Here is one, and silence would cost a minute.
            Some(Asks::Offered { address, .. } | Asks::Remembered(address)) => address,
            Some(Asks::Kept(address)) => address,
            None => return self.drop(DropReason::DhcpMalformed),
        };
        if address == link.guest {
            self.dhcp4_acknowledge(link, client);
        } else {
            self.dhcp4_send(link, client, MessageType::Nak);
        }
    }

    fn dhcp4_acknowledge(&mut self, link: &Ipv4Link, client: &Client) {
        self.learn_guest_mac(client.request.hardware);
        self.lease_given(LeaseProtocol::Dhcp4, link.guest.into(), &client.key());
        self.dhcp4_send(link, client, MessageType::Ack);
    }

    /// A guest with an address asks for the rest. RFC 2131 §4.3.5: no lease, and sent to the
    /// address it has.
    fn dhcp4_inform(&mut self, link: &Ipv4Link, client: &Client, source: Ipv4Addr) {
        let held = client.request.fixed.ciaddr();
        let held = if held.is_unspecified() { source } else { held };
        if held != link.guest {
            return self.drop(DropReason::DhcpIgnored);
        }
        let mut reply = self.dhcp4_reply(client, MessageType::Ack, Ipv4Addr::UNSPECIFIED);
        reply.put(&DhcpOption::ServerIdentifier(link.gateway));
        self.dhcp4_options(link, client, &mut reply);
        self.dhcp4_emit(link, (held, client.request.hardware), &reply.finish());
    }

    fn dhcp4_end(
        &mut self,
        link: &Ipv4Link,
        client: &Client,
        address: Option<Ipv4Addr>,
        change: LeaseChange,
    ) {
        let own = address == Some(link.guest);
        let guest = link.guest.into();
        if !own || !self.lease_ended(LeaseProtocol::Dhcp4, guest, &client.key(), change) {
            self.drop(DropReason::DhcpIgnored);
        }
    }

    /// Sends an offer, an acknowledgement of a lease or a refusal, as RFC 2131 §4.1 has it travel.
    fn dhcp4_send(&mut self, link: &Ipv4Link, client: &Client, kind: MessageType) {
        let refused = kind == MessageType::Nak;
        let yours = if refused { Ipv4Addr::UNSPECIFIED } else { link.guest };
        let mut reply = self.dhcp4_reply(client, kind, yours);
        reply.put(&DhcpOption::ServerIdentifier(link.gateway));
        if refused {
            reply.put(&DhcpOption::Message("this link has another address for you".into()));
            put_client_id(client, &mut reply);
        } else {
            let (whole, renew, rebind) = self.lease_times(7);
            reply.put(&DhcpOption::AddressLeaseTime(whole));
            reply.put(&DhcpOption::Renewal(renew));
            reply.put(&DhcpOption::Rebinding(rebind));
            // RFC 4039 §4: an acknowledgement of a DHCPDISCOVER says that it is one.
            if kind == MessageType::Ack && client.request.kind == MessageType::Discover {
                reply.put(&DhcpOption::RapidCommit);
            }
            self.dhcp4_options(link, client, &mut reply);
        }
        let has_address = client.request.fixed.ciaddr() == link.guest;
        let to = if refused || (client.request.fixed.flags().broadcast() && !has_address) {
            (Ipv4Addr::BROADCAST, BROADCAST)
        } else {
            (link.guest, client.request.hardware)
        };
        self.dhcp4_emit(link, to, &reply.finish());
    }

    fn dhcp4_reply(&self, client: &Client, kind: MessageType, yours: Ipv4Addr) -> Reply {
        let packet = usize::from(client.most.min(self.config.addressing.mtu));
        let most = packet - IPV4_HEADER_LEN - UDP_HEADER_LEN;
        Reply::new(&client.request, kind, yours, most)
    }

    /// The mask, and what the client would like to know in the order it says (RFC 2132 §9.8).
    fn dhcp4_options(&self, link: &Ipv4Link, client: &Client, reply: &mut Reply) {
        put_client_id(client, reply);
        let list = client.request.option(OptionCode::ParameterRequestList);
        let wishes: Vec<OptionCode> = match list {
            Some(list) => list.iter().map(|&code| code.into()).collect(),
            None => UNASKED.to_vec(),
        };
        let mut seen = BTreeSet::new();
        // Nobody can use an address without its mask, and not everybody knows to ask.
        let codes = [OptionCode::SubnetMask].into_iter().chain(wishes);
        let codes = codes.filter(|&code| seen.insert(code));
        reply.put_all(codes.filter_map(|code| self.dhcp4_option(link, code)));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other option is known here")]
    fn dhcp4_option(&self, link: &Ipv4Link, code: OptionCode) -> Option<DhcpOption> {
        let announce = &self.config.announce;
        let net = Ipv4Net::new(link.guest, link.prefix_len).ok()?;
        Some(match code {
            OptionCode::SubnetMask => DhcpOption::SubnetMask(net.netmask()),
            OptionCode::Router => DhcpOption::Router(vec![link.gateway]),
            OptionCode::DomainNameServer if announce.dns => {
                DhcpOption::DomainNameServer(vec![link.gateway])
            }
            OptionCode::Hostname => DhcpOption::Hostname(announce.hostname.clone()?),
            OptionCode::DomainName => {
                let first = announce.search.first()?;
                DhcpOption::DomainName(first.trim_end_matches('.').to_owned())
            }
            OptionCode::InterfaceMtu => DhcpOption::InterfaceMtu(self.config.addressing.mtu),
            // RFC 3021 §2.2: a link of two has no broadcast address.
            OptionCode::BroadcastAddr if link.prefix_len < 31 => {
                DhcpOption::BroadcastAddr(net.broadcast())
            }
            OptionCode::DomainSearch => DhcpOption::DomainSearch(names(&announce.search)?),
            // The link itself, then everything through the gateway. RFC 3442: a client that takes
            // this option ignores the router option, so the default route stands here as well.
            OptionCode::ClasslessStaticRoute => DhcpOption::ClasslessStaticRoute(vec![
                (net.trunc(), Ipv4Addr::UNSPECIFIED),
                (Ipv4Net::default(), link.gateway),
            ]),
            _ => return None,
        })
    }

    fn dhcp4_emit(&mut self, link: &Ipv4Link, to: (Ipv4Addr, [u8; 6]), message: &[u8]) {
        let from = SocketAddr::new(link.gateway.into(), SERVER_PORT);
        let client = SocketAddr::new(to.0.into(), CLIENT_PORT);
        self.configuration_answer(to.1, (from, client), message);
    }
}

/// RFC 6842 §3: the identifier comes back, so that the client knows which of its own is meant.
fn put_client_id(client: &Client, reply: &mut Reply) {
    if let Some(id) = &client.id {
        reply.put(&DhcpOption::ClientIdentifier(id.clone()));
    }
}

/// Names for a search list; `None` when there is none. Their dots separate labels of any bytes: the
/// codec's reader of text has ideas of its own about underscores.
fn names(search: &[String]) -> Option<Vec<Name>> {
    let names = search.iter().filter_map(|name| {
        let name = name.strip_suffix('.').unwrap_or(name);
        Name::from_labels(name.split('.').map(str::as_bytes)).ok()
    });
    Some(names.collect::<Vec<_>>()).filter(|names| !names.is_empty())
}

/// What a client is told that does not say what it would like.
const UNASKED: [OptionCode; 5] = [
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::InterfaceMtu,
    OptionCode::BroadcastAddr,
];

/// The packet that every client takes. RFC 2131 §2.
const LEAST_PACKET: u16 = 576;
