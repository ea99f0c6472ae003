//! The contract of published ports and of the guest's own connections, with the Linux kernel as guest.
//!
//! One file per topic. Every test has a network namespace of its own where it may (see
//! `portreeve_e2e::network`), runs the real command or the library, and ends by itself.

#![expect(clippy::unwrap_used, reason = "what a test's own helpers cannot do fails the test")]

mod accept;
mod auto;
mod bind;
mod close;
mod command;
mod commands;
mod configuration;
mod control;
mod control_clients;
mod control_guest;
mod control_ports;
mod control_sight;
mod crowd;
mod dhcp_clients;
mod dns_gateway;
mod family;
mod host_protection;
mod library;
mod listen;
mod odd_guest;
mod outbound_icmp;
mod outbound_refused;
mod outbound_tcp;
mod outbound_udp;
mod parity;
mod reset;
mod serve;
mod source;
mod tail;
mod terminal;
mod top;
mod transfer;
mod udp;
mod virtual_machine;
mod web_page;
