//! The gateway's DHCPv6 server (RFC 8415): one address, for the guest, and its name server.
//!
//! Owns which message is answered and with what. There are no temporary addresses and no prefixes
//! to give; a guest that makes addresses of its own needs nothing from here.

use std::net::{Ipv6Addr, SocketAddr};

use portreeve_types::Ipv6Link;
use portreeve_wire::dhcp6::{
    DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT, Dhcp6Association, Dhcp6Message, Dhcp6Type, Dhcp6Writer,
    option, status,
};
use portreeve_wire::domain_list;

use super::lease::{LeaseChange, LeaseProtocol};
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::limits::MAX_DUID;

/// A message whose options have been checked, as far as they matter here.
struct Client<'a> {
    message: Dhcp6Message<'a>,
    /// Who it says it is.
    id: Option<&'a [u8]>,
    /// The server that is meant.
    server: Option<&'a [u8]>,
    /// What it wants addresses or prefixes for, with the option's code.
    associations: Vec<(u16, Dhcp6Association<'a>)>,
}

impl<'a> Client<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let message = Dhcp6Message::parse(message)?;
        let id = message.options.get(option::CLIENT_ID);
        // RFC 8415 §11.1: a type of two bytes and at most 128 more.
        if id.is_some_and(|id| !(3..=MAX_DUID).contains(&id.len())) {
            return None;
        }
        let wanted = |code: &u16| matches!(*code, option::IA_NA | option::IA_TA | option::IA_PD);
        let associations = message
            .options
            .iter()
            .filter(|(code, _)| wanted(code))
            .take(MAX_ASSOCIATIONS)
            .map(|(code, value)| Some((code, Dhcp6Association::parse(code, value)?)))
            .collect::<Option<_>>()?;
        let server = message.options.get(option::SERVER_ID);
        Some(Self { message, id, server, associations })
    }

    /// Whether RFC 8415 §16 lets a server with this identifier look at the message at all.
    fn is_for(&self, own: &[u8]) -> bool {
        let (client, server) = (self.id.is_some(), self.server);
        match self.message.kind {
            Dhcp6Type::Solicit | Dhcp6Type::Confirm | Dhcp6Type::Rebind => {
                client && server.is_none()
            }
            Dhcp6Type::Request | Dhcp6Type::Renew | Dhcp6Type::Release | Dhcp6Type::Decline => {
                client && server == Some(own)
            }
            Dhcp6Type::InformationRequest => {
                self.associations.is_empty() && server.is_none_or(|server| server == own)
            }
            Dhcp6Type::Advertise | Dhcp6Type::Reply | Dhcp6Type::Reconfigure => false,
        }
    }

    fn asks_for(&self, wanted: u16) -> bool {
        let list = self.message.options.get(option::REQUEST).unwrap_or(&[]);
        list.chunks_exact(2).any(|code| code == wanted.to_be_bytes())
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.associations.iter().flat_map(|(_, ia)| ia.addresses())
    }
}

impl Engine {
    /// A message to the server's port.
    pub(crate) fn dhcp6_from_guest(&mut self, mac: [u8; 6], source: Ipv6Addr, message: &[u8]) {
        let Some(link) = self.config.addressing.ipv6 else {
            return self.drop(DropReason::FamilyDisabled);
        };
        let Some(client) = Client::read(message) else {
            return self.drop(DropReason::DhcpMalformed);
        };
        let own = self.dhcp6_identifier();
        if !client.is_for(&own) {
            return self.drop(DropReason::DhcpIgnored);
        }
        // Who speaks DHCPv6 was told so by an advertisement.
        self.wants_adverts();
        let Some(reply) = self.dhcp6_answer(&link, &client, mac, &own) else {
            return self.drop(DropReason::DhcpIgnored);
        };
        let from = SocketAddr::new(link.gateway_link_local.into(), DHCP6_SERVER_PORT);
        let to = SocketAddr::new(source.into(), DHCP6_CLIENT_PORT);
        self.configuration_answer(mac, (from, to), &reply.finish());
    }

    fn dhcp6_answer(
        &mut self,
        link: &Ipv6Link,
        client: &Client<'_>,
        mac: [u8; 6],
        own: &[u8],
    ) -> Option<Dhcp6Writer> {
        let kind = client.message.kind;
        let rapid = kind == Dhcp6Type::Solicit
            && client.message.options.get(option::RAPID_COMMIT).is_some();
        let offer = kind == Dhcp6Type::Solicit && !rapid;
        let answer = if offer { Dhcp6Type::Advertise } else { Dhcp6Type::Reply };
        let mut out = Dhcp6Writer::new(answer, client.message.transaction);
        if let Some(id) = client.id {
            out.put(option::CLIENT_ID, id);
        }
        out.put(option::SERVER_ID, own);
        match kind {
            Dhcp6Type::Confirm => self.dhcp6_confirm(client, &mut out)?,
            Dhcp6Type::Release => self.dhcp6_end(link, client, LeaseChange::Released, &mut out),
            Dhcp6Type::Decline => self.dhcp6_end(link, client, LeaseChange::Declined, &mut out),
            Dhcp6Type::Solicit
            | Dhcp6Type::Request
            | Dhcp6Type::Renew
            | Dhcp6Type::Rebind
            | Dhcp6Type::InformationRequest => {
                if rapid {
                    out.put(option::RAPID_COMMIT, &[]);
                }
                if offer {
                    // RFC 8415 §18.2.1: nobody need wait for a better offer.
                    out.put(option::PREFERENCE, &[255]);
                }
                let given = self.dhcp6_associations(link, client, &mut out);
                if given && !offer {
                    self.learn_guest_mac(mac);
                    let id = client.id.unwrap_or_default();
                    self.lease_given(LeaseProtocol::Dhcp6, link.guest.into(), id);
                }
            }
            Dhcp6Type::Advertise | Dhcp6Type::Reply | Dhcp6Type::Reconfigure => return None,
        }
        self.dhcp6_options(link, client, &mut out);
        Some(out)
    }

    /// Answers every association; whether the address was given to one.
    fn dhcp6_associations(
        &self,
        link: &Ipv6Link,
        client: &Client<'_>,
        out: &mut Dhcp6Writer,
    ) -> bool {
        let (whole, renew, rebind) = self.lease_times(6);
        let extends = matches!(client.message.kind, Dhcp6Type::Renew | Dhcp6Type::Rebind);
        let mut given = false;
        for (code, ia) in &client.associations {
            if *code == option::IA_NA && !std::mem::replace(&mut given, true) {
                out.addresses(ia.id, renew, rebind, |out| {
                    out.address(link.guest, whole);
                    // RFC 8415 §18.3.4: what the client holds wrongly it must let go of.
                    let others = ia.addresses().filter(|&other| other != link.guest && extends);
                    others.take(MAX_ADDRESSES).for_each(|other| out.address(other, 0));
                });
            } else if *code == option::IA_PD {
                refuse(out, *code, ia, status::NO_PREFIX, "no prefixes here");
            } else {
                refuse(out, *code, ia, status::NO_ADDRESSES, "one address, for the first");
            }
        }
        given
    }

    /// RFC 8415 §18.3.3: whether all addresses belong on this link; `None` when there are none.
    fn dhcp6_confirm(&self, client: &Client<'_>, out: &mut Dhcp6Writer) -> Option<()> {
        client.addresses().next()?;
        if client.addresses().all(|address| self.on_link_v6(address)) {
            out.status(status::SUCCESS, "");
        } else {
            out.status(status::NOT_ON_LINK, "this link has another prefix");
        }
        Some(())
    }

    /// RFC 8415 §18.3.7, §18.3.8.
    fn dhcp6_end(
        &mut self,
        link: &Ipv6Link,
        client: &Client<'_>,
        change: LeaseChange,
        out: &mut Dhcp6Writer,
    ) {
        let id = client.id.unwrap_or_default();
        out.status(status::SUCCESS, "");
        for (code, ia) in &client.associations {
            let own = *code == option::IA_NA && ia.addresses().any(|other| other == link.guest);
            if !own || !self.lease_ended(LeaseProtocol::Dhcp6, link.guest.into(), id, change) {
                refuse(out, *code, ia, status::NO_BINDING, "not known here");
            }
        }
    }

    fn dhcp6_options(&self, link: &Ipv6Link, client: &Client<'_>, out: &mut Dhcp6Writer) {
        let announce = &self.config.announce;
        if announce.dns && client.asks_for(option::DNS) {
            out.put(option::DNS, &link.gateway.octets());
        }
        let list = domain_list::encode(announce.search.iter().map(String::as_str));
        if !list.is_empty() && client.asks_for(option::DOMAIN_LIST) {
            out.put(option::DOMAIN_LIST, &list);
        }
        if client.message.kind == Dhcp6Type::InformationRequest
            && client.asks_for(option::REFRESH_TIME)
        {
            // RFC 8415 §7.6: IRT_MINIMUM.
            out.put(option::REFRESH_TIME, &announce.lease_secs.max(600).to_be_bytes());
        }
    }

    /// DUID-LL of the gateway's hardware address. RFC 8415 §11.4.
    fn dhcp6_identifier(&self) -> [u8; 10] {
        let [a, b, c, d, e, f] = self.config.addressing.gateway_mac.0;
        [0, 3, 0, 1, a, b, c, d, e, f]
    }
}

/// Answers an association with a status and nothing else.
fn refuse(out: &mut Dhcp6Writer, code: u16, ia: &Dhcp6Association<'_>, why: u16, words: &str) {
    out.nest(code, |out| {
        out.bytes(&ia.id);
        if code != option::IA_TA {
            // T1 and T2, of which there is nothing to say.
            out.bytes(&[0; 8]);
        }
        out.status(why, words);
    });
}

/// Associations answered in one message, and addresses taken back in one: with the largest
/// identifier and search list, what fits the smallest link (RFC 8200 §5) and no more.
const MAX_ASSOCIATIONS: usize = 4;
const MAX_ADDRESSES: usize = 8;
