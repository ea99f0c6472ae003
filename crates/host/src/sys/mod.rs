//! System calls that have no safe wrapper elsewhere, and small readings of addresses.
//!
//! Owns all `unsafe` of this crate, each with its argument; decides nothing.

mod address;
mod control;
mod error_queue;
mod message;
mod option;

pub(crate) use address::{canonical, family, inet_addr, is_inet, local_addr};
pub(crate) use control::SendControl;
pub(crate) use error_queue::next_queued_error;
pub(crate) use message::{MESSAGES, Outgoing, Received, receive_many, send_many};
pub(crate) use option::{
    bind_interface, bind_like, defer_port_choice, drop_incoming, filter_echo_replies,
    forbid_fragments_v4, is_over, join_received, make_nonblocking, path_mtu, peer_credentials,
    refuse_foreign_groups, set_datagram_options, set_hop_limit, set_stream_options, tell_arrival,
    unsent,
};
