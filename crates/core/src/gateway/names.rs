//! The gateway's name server: what joins `portreeve-dns` to flows.

use std::net::IpAddr;
use std::sync::Arc;

use portreeve_wire::FlowKey;

use crate::engine::Engine;
use crate::flow::FlowId;

impl Engine {
    pub(crate) fn serves_names(&self) -> bool {
        false
    }
    pub(crate) fn name_of(&self, _address: IpAddr) -> Option<Arc<str>> {
        None
    }
    pub(crate) fn names_datagram(&mut self, _key: &FlowKey, _payload: &[u8]) {}
    pub(crate) fn tcp_serve_names(&mut self, _id: FlowId) {}
}
