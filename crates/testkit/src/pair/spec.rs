//! How a simulation is made, and the plain client in it.

use portreeve_core::{Config, LinkOffloads};
use portreeve_types::PublishId;

use crate::app::App;
use crate::guest::GuestSpec;
use crate::host::stream::ClientSpec;
use crate::link::LinkSpec;

/// How a pair is made.
#[derive(Clone, Debug)]
pub struct PairSpec {
    /// The engine's configuration; its `link` is set from the guest's card.
    pub config: Config,
    /// The guest.
    pub guest: GuestSpec,
    /// Frames for the guest.
    pub to_guest: LinkSpec,
    /// Frames from the guest.
    pub from_guest: LinkSpec,
    /// Everything that is left to chance.
    pub seed: u64,
}

impl Default for PairSpec {
    fn default() -> Self {
        Self {
            config: Config::default(),
            guest: GuestSpec::default(),
            to_guest: LinkSpec::PERFECT,
            from_guest: LinkSpec::PERFECT,
            seed: 1,
        }
    }
}

impl PairSpec {
    /// With every offload, both ways.
    #[must_use]
    pub fn offloaded(mut self) -> Self {
        self.guest.offers = LinkOffloads { checksum: true, tso4: true, tso6: true, uso: true };
        self.guest.super_segments = true;
        self
    }

    /// With links that lose, double and reorder.
    #[must_use]
    pub const fn rough(mut self) -> Self {
        self.to_guest = LinkSpec::ROUGH;
        self.from_guest = LinkSpec::ROUGH;
        self
    }

    /// With another seed.
    #[must_use]
    pub const fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// A client with buffers of 64 KiB, from an address that no guest can take for its own.
pub fn client_spec(publish: PublishId, app: App, v6: bool) -> ClientSpec {
    let (address, local) = if v6 {
        (
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 0).into(),
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 80).into(),
        )
    } else {
        (([192, 0, 2, 7], 0).into(), ([192, 0, 2, 1], 80).into())
    };
    ClientSpec {
        publish,
        address: Some(address),
        local: Some(local),
        send_buffer: 65_536,
        receive_buffer: 65_536,
        app,
    }
}
