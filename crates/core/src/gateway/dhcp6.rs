//! The gateway's DHCPv6 server (RFC 8415): one address, for the guest, and its name server.
//!
//! Owns which message is answered and with what. There are no temporary addresses and no prefixes
//! to give; a guest that makes addresses of its own needs nothing from here.

mod message;

use std::net::{Ipv6Addr, SocketAddr};

use dhcproto::v6::{
    CLIENT_PORT, DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, IATA, MessageType, OptionCode,
    SERVER_PORT, Status, StatusCode, UnknownOption,
};
use portreeve_types::Ipv6Link;
use portreeve_wire::domain_list;

use self::message::{Association, Reply, Request};
use super::lease::{LeaseChange, LeaseProtocol};
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::limits::MAX_DUID;

/// A message whose options have been checked, as far as they matter here.
struct Client<'a> {
    request: Request<'a>,
    /// Who it says it is.
    id: Option<&'a [u8]>,
    /// The server that is meant.
    server: Option<&'a [u8]>,
    /// What it wants addresses or prefixes for.
    associations: Vec<Association>,
}

impl<'a> Client<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let request = Request::parse(message)?;
        let id = request.option(OptionCode::ClientId);
        // RFC 8415 §11.1: a type of two bytes and at most 128 more.
        if id.is_some_and(|id| !(3..=MAX_DUID).contains(&id.len())) {
            return None;
        }
        let associations = request.associations(MAX_ASSOCIATIONS)?;
        let server = request.option(OptionCode::ServerId);
        Some(Self { request, id, server, associations })
    }

    /// Whether RFC 8415 §16 lets a server with this identifier look at the message at all.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind is a client's")]
    fn is_for(&self, own: &[u8]) -> bool {
        let (client, server) = (self.id.is_some(), self.server);
        match self.request.kind {
            MessageType::Solicit | MessageType::Confirm | MessageType::Rebind => {
                client && server.is_none()
            }
            MessageType::Request
            | MessageType::Renew
            | MessageType::Release
            | MessageType::Decline => client && server == Some(own),
            MessageType::InformationRequest => {
                self.associations.is_empty() && server.is_none_or(|server| server == own)
            }
            _ => false,
        }
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.associations.iter().flat_map(|ia| ia.addresses.iter().copied())
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
        let from = SocketAddr::new(link.gateway_link_local.into(), SERVER_PORT);
        let to = SocketAddr::new(source.into(), CLIENT_PORT);
        self.configuration_answer(mac, (from, to), &reply.finish());
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind is a client's")]
    fn dhcp6_answer(
        &mut self,
        link: &Ipv6Link,
        client: &Client<'_>,
        mac: [u8; 6],
        own: &[u8],
    ) -> Option<Reply> {
        let kind = client.request.kind;
        let rapid = kind == MessageType::Solicit
            && client.request.option(OptionCode::RapidCommit).is_some();
        let offer = kind == MessageType::Solicit && !rapid;
        let answer = if offer { MessageType::Advertise } else { MessageType::Reply };
        let mut out = Reply::new(&client.request, answer);
        if let Some(id) = client.id {
            out.put(&DhcpOption::ClientId(id.to_vec()));
        }
        out.put(&DhcpOption::ServerId(own.to_vec()));
        match kind {
            MessageType::Confirm => self.dhcp6_confirm(client, &mut out)?,
            MessageType::Release => self.dhcp6_end(link, client, LeaseChange::Released, &mut out),
            MessageType::Decline => self.dhcp6_end(link, client, LeaseChange::Declined, &mut out),
            MessageType::Solicit
            | MessageType::Request
            | MessageType::Renew
            | MessageType::Rebind
            | MessageType::InformationRequest => {
                if rapid {
                    out.put(&DhcpOption::RapidCommit);
                }
                if offer {
                    // RFC 8415 §18.2.1: nobody need wait for a better offer.
                    out.put(&DhcpOption::Preference(255));
                }
                let given = self.dhcp6_associations(link, client, &mut out);
                if given && !offer {
                    self.learn_guest_mac(mac);
                    let id = client.id.unwrap_or_default();
                    self.lease_given(LeaseProtocol::Dhcp6, link.guest.into(), id);
                }
            }
            _ => return None,
        }
        self.dhcp6_options(link, client, &mut out);
        Some(out)
    }

    /// Answers every association; whether the address was given to one.
    fn dhcp6_associations(&self, link: &Ipv6Link, client: &Client<'_>, out: &mut Reply) -> bool {
        let (whole, renew, rebind) = self.lease_times(6);
        let extends = matches!(client.request.kind, MessageType::Renew | MessageType::Rebind);
        let mut given = false;
        for ia in &client.associations {
            if ia.code == OptionCode::IANA && !std::mem::replace(&mut given, true) {
                // RFC 8415 §18.3.4: what the client holds wrongly it must let go of.
                let others = ia.addresses.iter().filter(|&&other| other != link.guest && extends);
                let others = others.take(MAX_ADDRESSES).map(|&other| address(other, 0));
                let opts = [address(link.guest, whole)].into_iter().chain(others).collect();
                out.put(&DhcpOption::IANA(IANA { id: ia.id, t1: renew, t2: rebind, opts }));
            } else if ia.code == OptionCode::IAPD {
                out.put(&refusal(ia, Status::NoPrefixAvail, "no prefixes here"));
            } else {
                out.put(&refusal(ia, Status::NoAddrsAvail, "one address, for the first"));
            }
        }
        given
    }

    /// RFC 8415 §18.3.3: whether all addresses belong on this link; `None` when there are none.
    fn dhcp6_confirm(&self, client: &Client<'_>, out: &mut Reply) -> Option<()> {
        client.addresses().next()?;
        if client.addresses().all(|address| self.on_link_v6(address)) {
            out.put(&status(Status::Success, ""));
        } else {
            out.put(&status(Status::NotOnLink, "this link has another prefix"));
        }
        Some(())
    }

    /// RFC 8415 §18.3.7, §18.3.8.
    fn dhcp6_end(
        &mut self,
        link: &Ipv6Link,
        client: &Client<'_>,
        change: LeaseChange,
        out: &mut Reply,
    ) {
        let id = client.id.unwrap_or_default();
        out.put(&status(Status::Success, ""));
        for ia in &client.associations {
            let own = ia.code == OptionCode::IANA && ia.addresses.contains(&link.guest);
            if !own || !self.lease_ended(LeaseProtocol::Dhcp6, link.guest.into(), id, change) {
                out.put(&refusal(ia, Status::NoBinding, "not known here"));
            }
        }
    }

    fn dhcp6_options(&self, link: &Ipv6Link, client: &Client<'_>, out: &mut Reply) {
        let announce = &self.config.announce;
        if announce.dns && client.request.asks_for(OptionCode::DomainNameServers) {
            out.put(&DhcpOption::DomainNameServers(vec![link.gateway]));
        }
        let list = domain_list::encode(announce.search.iter().map(String::as_str));
        if !list.is_empty() && client.request.asks_for(OptionCode::DomainSearchList) {
            // Not the codec's own variant, which compresses: RFC 8415 §10 has names stand whole.
            let list = UnknownOption::new(OptionCode::DomainSearchList, list);
            out.put(&DhcpOption::Unknown(list));
        }
        if client.request.kind == MessageType::InformationRequest
            && client.request.asks_for(OptionCode::InformationRefreshTime)
        {
            // RFC 8415 §7.6: IRT_MINIMUM.
            let least = announce.lease_secs.max(600);
            out.put(&DhcpOption::InformationRefreshTime(least));
        }
    }

    /// DUID-LL of the gateway's hardware address. RFC 8415 §11.4.
    fn dhcp6_identifier(&self) -> [u8; 10] {
        let [a, b, c, d, e, f] = self.config.addressing.gateway_mac.0;
        [0, 3, 0, 1, a, b, c, d, e, f]
    }
}

/// An address that is preferred and valid for `lifetime` seconds.
fn address(addr: Ipv6Addr, lifetime: u32) -> DhcpOption {
    let opts = DhcpOptions::new();
    DhcpOption::IAAddr(IAAddr { addr, preferred_life: lifetime, valid_life: lifetime, opts })
}

fn status(status: Status, words: &str) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode { status, msg: words.to_owned() })
}

/// Answers an association with a status and nothing else: of T1 and T2 there is nothing to say.
fn refusal(ia: &Association, why: Status, words: &str) -> DhcpOption {
    let (id, opts) = (ia.id, [status(why, words)].into_iter().collect());
    if ia.code == OptionCode::IATA {
        DhcpOption::IATA(IATA { id, opts })
    } else if ia.code == OptionCode::IAPD {
        DhcpOption::IAPD(IAPD { id, t1: 0, t2: 0, opts })
    } else {
        DhcpOption::IANA(IANA { id, t1: 0, t2: 0, opts })
    }
}

/// Associations answered in one message, and addresses taken back in one: with the largest
/// identifier and search list, what fits the smallest link (RFC 8200 §5) and no more.
const MAX_ASSOCIATIONS: usize = 4;
const MAX_ADDRESSES: usize = 8;
