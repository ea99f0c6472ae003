//! The gateway's DHCP server (RFC 2131, RFC 2132): one address, for the guest.
//!
//! Owns which message is answered and with what. It is the only server on the link and knows the
//! one address there is to give, so it contradicts at once where the guest remembers another.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};

use portreeve_types::Ipv4Link;
use portreeve_wire::dhcp4::{
    DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT, Dhcp4Reply, Dhcp4Request, Dhcp4Type, option,
};
use portreeve_wire::domain_list;
use portreeve_wire::ethernet::BROADCAST;
use portreeve_wire::packet::IPV4_HEADER_LEN;
use portreeve_wire::udp::UDP_HEADER_LEN;

use super::lease::{LeaseChange, LeaseProtocol};
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::limits::MAX_CLIENT_ID;

/// A message whose options have been checked, as far as they matter here.
struct Client<'a> {
    request: Dhcp4Request<'a>,
    /// The server that is meant.
    server: Option<Ipv4Addr>,
    /// The address that the client would like, or speaks of.
    wanted: Option<Ipv4Addr>,
    /// Who it says it is.
    id: Option<Cow<'a, [u8]>>,
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

impl<'a> Client<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let request = Dhcp4Request::parse(message)?;
        let id = request.option(option::CLIENT_ID);
        if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_CLIENT_ID) {
            return None;
        }
        let most = match request.option(option::MAX_SIZE).as_deref() {
            None => LEAST_PACKET,
            // RFC 2132 §9.10: less than 576 is not legal, and means no more than that.
            Some(&[high, low]) => u16::from_be_bytes([high, low]).max(LEAST_PACKET),
            Some(_) => return None,
        };
        Some(Self {
            server: request.address(option::SERVER_ID)?,
            wanted: request.address(option::REQUESTED_ADDRESS)?,
            id,
            most,
            request,
        })
    }

    /// `None` for a request that fits none of the states. RFC 2131 §4.3.2.
    fn asks(&self) -> Option<Asks> {
        let held = self.request.client_address;
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
            Some(id) => id.to_vec(),
            None => [&[1][..], &self.request.hardware].concat(),
        }
    }
}

impl Engine {
    /// A message to the server's port.
    pub(crate) fn dhcp4_from_guest(&mut self, mac: [u8; 6], source: Ipv4Addr, message: &[u8]) {
        let Some(link) = self.config.addressing.ipv4 else {
            return self.drop(DropReason::FamilyDisabled);
        };
        let Some(client) = Client::read(message) else {
            return self.drop(DropReason::DhcpMalformed);
        };
        // There is one guest and nothing between it and here: no relay, no other card's frames.
        if client.request.hardware != mac || !client.request.relay.is_unspecified() {
            return self.drop(DropReason::DhcpIgnored);
        }
        let other_server = client.server.is_some_and(|server| server != link.gateway);
        match client.request.kind {
            Dhcp4Type::Discover if client.request.option(option::RAPID_COMMIT).is_some() => {
                self.dhcp4_acknowledge(&link, &client);
            }
            Dhcp4Type::Discover => self.dhcp4_send(&link, &client, Dhcp4Type::Offer),
            Dhcp4Type::Request => self.dhcp4_request(&link, &client),
            Dhcp4Type::Inform => self.dhcp4_inform(&link, &client, source),
            Dhcp4Type::Decline | Dhcp4Type::Release if other_server => {
                self.drop(DropReason::DhcpIgnored);
            }
            Dhcp4Type::Decline => {
                self.dhcp4_end(&link, &client, client.wanted, LeaseChange::Declined);
            }
            Dhcp4Type::Release => {
                let held = Some(client.request.client_address);
                self.dhcp4_end(&link, &client, held, LeaseChange::Released);
            }
            Dhcp4Type::Offer | Dhcp4Type::Ack | Dhcp4Type::Nak => {
                self.drop(DropReason::DhcpIgnored);
            }
        }
    }

    fn dhcp4_request(&mut self, link: &Ipv4Link, client: &Client<'_>) {
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
            self.dhcp4_send(link, client, Dhcp4Type::Nak);
        }
    }

    fn dhcp4_acknowledge(&mut self, link: &Ipv4Link, client: &Client<'_>) {
        self.learn_guest_mac(client.request.hardware);
        self.lease_given(LeaseProtocol::Dhcp4, link.guest.into(), &client.key());
        self.dhcp4_send(link, client, Dhcp4Type::Ack);
    }

    /// A guest with an address asks for the rest. RFC 2131 §4.3.5: no lease, and sent to the
    /// address it has.
    fn dhcp4_inform(&mut self, link: &Ipv4Link, client: &Client<'_>, source: Ipv4Addr) {
        let held = client.request.client_address;
        let held = if held.is_unspecified() { source } else { held };
        if held != link.guest {
            return self.drop(DropReason::DhcpIgnored);
        }
        let mut reply = self.dhcp4_reply(client, Dhcp4Type::Ack, Ipv4Addr::UNSPECIFIED);
        reply.put(option::SERVER_ID, &link.gateway.octets());
        self.dhcp4_options(link, client, &mut reply);
        self.dhcp4_emit(link, (held, client.request.hardware), &reply.finish());
    }

    fn dhcp4_end(
        &mut self,
        link: &Ipv4Link,
        client: &Client<'_>,
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
    fn dhcp4_send(&mut self, link: &Ipv4Link, client: &Client<'_>, kind: Dhcp4Type) {
        let refused = kind == Dhcp4Type::Nak;
        let yours = if refused { Ipv4Addr::UNSPECIFIED } else { link.guest };
        let mut reply = self.dhcp4_reply(client, kind, yours);
        reply.put(option::SERVER_ID, &link.gateway.octets());
        if refused {
            reply.put(option::MESSAGE, b"this link has another address for you");
            put_client_id(client, &mut reply);
        } else {
            let (whole, renew, rebind) = self.lease_times(7);
            reply.put(option::LEASE_TIME, &whole.to_be_bytes());
            reply.put(option::RENEWAL_TIME, &renew.to_be_bytes());
            reply.put(option::REBINDING_TIME, &rebind.to_be_bytes());
            // RFC 4039 §4: an acknowledgement of a DHCPDISCOVER says that it is one.
            if kind == Dhcp4Type::Ack && client.request.kind == Dhcp4Type::Discover {
                reply.put(option::RAPID_COMMIT, &[]);
            }
            self.dhcp4_options(link, client, &mut reply);
        }
        let has_address = client.request.client_address == link.guest;
        let to = if refused || (client.request.broadcast && !has_address) {
            (Ipv4Addr::BROADCAST, BROADCAST)
        } else {
            (link.guest, client.request.hardware)
        };
        self.dhcp4_emit(link, to, &reply.finish());
    }

    fn dhcp4_reply(&self, client: &Client<'_>, kind: Dhcp4Type, yours: Ipv4Addr) -> Dhcp4Reply {
        let packet = usize::from(client.most.min(self.config.addressing.mtu));
        let most = packet - IPV4_HEADER_LEN - UDP_HEADER_LEN;
        Dhcp4Reply::new(&client.request, kind, yours, most)
    }

    /// The mask, and what the client would like to know in the order it says (RFC 2132 §9.8).
    fn dhcp4_options(&self, link: &Ipv4Link, client: &Client<'_>, reply: &mut Dhcp4Reply) {
        put_client_id(client, reply);
        let wishes = client.request.option(option::PARAMETER_LIST);
        let wishes = wishes.as_deref().unwrap_or(&UNASKED);
        let mut seen = [false; 256];
        // Nobody can use an address without its mask, and not everybody knows to ask.
        let codes = [option::SUBNET_MASK].into_iter().chain(wishes.iter().copied());
        let mut values: Vec<_> = codes
            .filter(|&code| !std::mem::replace(&mut seen[usize::from(code)], true))
            .filter_map(|code| Some((code, self.dhcp4_value(link, code)?)))
            .collect();
        // What a small client cannot take must not cost it its router.
        let size = |values: &[(u8, Vec<u8>)]| -> usize {
            values.iter().map(|(_, value)| Dhcp4Reply::option_len(value.len())).sum()
        };
        while size(&values) > reply.room()
            && let Some(longest) = (0..values.len()).max_by_key(|&at| values[at].1.len())
        {
            values.remove(longest);
        }
        for (code, value) in values {
            reply.put(code, &value);
        }
    }

    fn dhcp4_value(&self, link: &Ipv4Link, code: u8) -> Option<Vec<u8>> {
        let announce = &self.config.announce;
        let host = u32::MAX.checked_shr(u32::from(link.prefix_len)).unwrap_or(0);
        match code {
            option::SUBNET_MASK => Some((!host).to_be_bytes().to_vec()),
            option::ROUTER => Some(link.gateway.octets().to_vec()),
            option::DNS => announce.dns.then(|| link.gateway.octets().to_vec()),
            option::HOST_NAME => announce.hostname.as_ref().map(|name| name.as_bytes().to_vec()),
            option::DOMAIN_NAME => {
                let first = announce.search.first()?;
                Some(first.trim_end_matches('.').as_bytes().to_vec())
            }
            option::INTERFACE_MTU => Some(self.config.addressing.mtu.to_be_bytes().to_vec()),
            // RFC 3021 §2.2: a link of two has no broadcast address.
            option::BROADCAST if link.prefix_len < 31 => {
                Some((link.guest.to_bits() | host).to_be_bytes().to_vec())
            }
            option::DOMAIN_SEARCH => {
                let list = domain_list::encode(announce.search.iter().map(String::as_str));
                Some(list).filter(|list| !list.is_empty())
            }
            option::CLASSLESS_ROUTES => Some(routes(link)),
            _ => None,
        }
    }

    fn dhcp4_emit(&mut self, link: &Ipv4Link, to: (Ipv4Addr, [u8; 6]), message: &[u8]) {
        let from = SocketAddr::new(link.gateway.into(), DHCP4_SERVER_PORT);
        let client = SocketAddr::new(to.0.into(), DHCP4_CLIENT_PORT);
        self.configuration_answer(to.1, (from, client), message);
    }
}

/// RFC 6842 §3: the identifier comes back, so that the client knows which of its own is meant.
fn put_client_id(client: &Client<'_>, reply: &mut Dhcp4Reply) {
    if let Some(id) = &client.id {
        reply.put(option::CLIENT_ID, id);
    }
}

/// The link itself, then everything through the gateway. RFC 3442: a client that takes this option
/// ignores the router option, so the default route stands here as well.
fn routes(link: &Ipv4Link) -> Vec<u8> {
    let host = u32::MAX.checked_shr(u32::from(link.prefix_len)).unwrap_or(0);
    let network = (link.guest.to_bits() & !host).to_be_bytes();
    let significant = usize::from(link.prefix_len.div_ceil(8));
    let mut routes = vec![link.prefix_len];
    routes.extend_from_slice(&network[..significant]);
    routes.extend_from_slice(&Ipv4Addr::UNSPECIFIED.octets());
    routes.push(0);
    routes.extend_from_slice(&link.gateway.octets());
    routes
}

/// What a client is told that does not say what it would like.
const UNASKED: [u8; 5] =
    [option::ROUTER, option::DNS, option::DOMAIN_NAME, option::INTERFACE_MTU, option::BROADCAST];

/// The packet that every client takes. RFC 2131 §2.
const LEAST_PACKET: u16 = 576;
