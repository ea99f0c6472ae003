//! Why a frame or a datagram went no further.
//!
//! Owns the vocabulary of drops: a drop is a value with a reason and a counter, never an error and
//! never silent. The list is the whole list; whoever drops adds to it.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident => $label:literal,)+) => {
        /// Why something from or for the guest was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl DropReason {
            /// Every reason, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable name used in metrics and logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame is shorter than an Ethernet header.
    FrameTooShort => "frame_too_short",
    /// The frame is longer than anything a guest may send.
    FrameTooLong => "frame_too_long",
    /// The source hardware address is not the guest's.
    SourceMac => "source_mac",
    /// The source IP address is not the guest's.
    SourceAddress => "source_address",
    /// Neither ARP nor IP.
    EtherType => "ethertype",
    /// The address family is switched off.
    FamilyDisabled => "family_disabled",
    /// An ARP packet that is malformed or asks for another protocol.
    ArpMalformed => "arp_malformed",
    /// An IP header that is cut off or contradicts itself.
    PacketMalformed => "packet_malformed",
    /// The IPv4 header checksum does not fit.
    HeaderChecksum => "header_checksum",
    /// An IPv6 extension header that is not accepted.
    ExtensionHeader => "extension_header",
    /// A TCP or UDP checksum does not fit.
    TransportChecksum => "transport_checksum",
    /// A TCP header that is malformed.
    SegmentMalformed => "segment_malformed",
    /// A UDP header that is malformed.
    DatagramMalformed => "datagram_malformed",
    /// An ICMP message that is malformed or of a kind nobody here speaks.
    IcmpMalformed => "icmp_malformed",
    /// An ICMP message of a type without a meaning here.
    IcmpIgnored => "icmp_ignored",
    /// An upper-layer protocol other than TCP, UDP or ICMP.
    Protocol => "protocol",
    /// Multicast or broadcast that nobody listens to.
    Multicast => "multicast",
    /// A fragment of something that is never fragmented here (TCP).
    FragmentUnexpected => "fragment_unexpected",
    /// Fragments that overlap. RFC 5722.
    FragmentOverlap => "fragment_overlap",
    /// A fragment beyond the largest datagram or of an impossible length.
    FragmentMalformed => "fragment_malformed",
    /// More unfinished datagrams or bytes than the limit allows.
    FragmentLimit => "fragment_limit",
    /// A datagram whose missing fragments did not come in time.
    FragmentTimeout => "fragment_timeout",
    /// Data beyond the window that was advertised to the guest.
    BeyondWindow => "beyond_window",
    /// A segment for no flow; it was answered with a reset unless it was one.
    NoFlow => "no_flow",
    /// A connection or datagram to somewhere that policy or configuration does not allow.
    EgressDenied => "egress_denied",
    /// A packet whose hop limit was used up at the gateway; it was answered as such.
    HopLimit => "hop_limit",
    /// A datagram from outside that the filtering of a mapping keeps out. RFC 4787 §5.
    Filtered => "filtered",
    /// A mapping that was idle made room for a newer one.
    MappingEvicted => "mapping_evicted",
    /// A datagram or echo message of the host for which there is no mapping any more.
    NoMapping => "no_mapping",
    /// A DHCP or DHCPv6 message that is malformed.
    DhcpMalformed => "dhcp_malformed",
    /// A DHCP or DHCPv6 message that is not for this server, or not from its guest.
    DhcpIgnored => "dhcp_ignored",
    /// The queue of datagrams for the guest is full.
    DatagramQueueFull => "datagram_queue_full",
    /// The queue of answers made by the engine itself is full.
    ControlQueueFull => "control_queue_full",
    /// A datagram for a published port found no room for another flow.
    FlowLimit => "flow_limit",
    /// A datagram from a client for a port that is no longer published.
    NotPublished => "not_published",
    /// The stack of one flow failed; the flow was reset.
    StackFault => "stack_fault",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_unique_and_metric_safe() {
        let labels: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), DropReason::ALL.len());
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
