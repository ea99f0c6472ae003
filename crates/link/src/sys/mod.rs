//! System calls that have no safe wrapper elsewhere, with the argument why each is sound.
//!
//! Owns all `unsafe` of this crate; decides nothing.

pub(crate) mod tun;

#[cfg(test)]
pub(crate) mod test_interface;
