//! What the virtual gateway answers by itself: ARP, neighbour discovery and echo.
//!
//! Owns the gateway's presence on the link. It answers for its own addresses only, whatever else
//! the engine carries.

pub(crate) mod arp;
pub(crate) mod echo;
pub(crate) mod names;
pub(crate) mod ndp;
pub(crate) mod neighbor;
